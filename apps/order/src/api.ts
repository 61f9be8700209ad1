import { fault, guestCartsV1, orderV1 } from '@headroom/contracts';
import type { Database } from '@headroom/postgres';
import { isUuidv7, type FieldError } from '@headroom/resilience';
import { currentCall, implement, type GrpcService, type ServerCall } from '@headroom/rpc';
import { MOST_LINES, MOST_QUANTITY, type Carts } from './cart';
import type { Checkout } from './checkout';
import { orderMessage } from './events';
import type { GuestCarts } from './guest-cart';
import type { Order, ShippingAddress } from './order';
import { countOrders, findOrder, listChangedOrders, oldestUnpublishedMs, type CartLine } from './repository';
import type { OrderWatch } from './watch';

/** Rows of a list without a limit, and the most of one. */
const LIST_LIMIT = { default: 100, most: 500 };
/** How much earlier than asked `ListRecentOrders` looks: more than clocks differ and a transaction lasts. */
const RECENT_MARGIN_MS = 30_000;

/** The service's methods: each checks the form of its request and the caller's right, then hands over. */
export function orderService(deps: {
  db: Database;
  carts: Carts;
  guestCarts: GuestCarts;
  checkout: Checkout;
  watch: OrderWatch;
}): GrpcService {
  const { db, carts, guestCarts, checkout, watch } = deps;

  /** The order if the caller may see it. */
  const visibleOrder = async (
    request: { orderId: string; asAdmin: boolean },
    call: ServerCall,
  ): Promise<Order> => {
    const { userId } = request.asAdmin ? await call.admin() : await call.principal();
    const order = isUuidv7(request.orderId) ? await findOrder(db, request.orderId) : undefined;
    if (!order || (!request.asAdmin && order.userId !== userId)) throw noSuchOrder();
    return order;
  };

  return implement('headroom.order.v1.OrderService', orderV1.OrderServiceService, {
    async getCart({ cartToken }, call) {
      if (isGuest()) return guestCarts.get(cartToken);
      return carts.get((await call.principal()).userId);
    },
    async putCartItem({ productId, quantity, ifVersion, cartToken }, call) {
      const owner = isGuest() ? undefined : await call.principal();
      requireProductId(productId);
      if (!isQuantity(quantity)) throw invalid([{ path: 'quantity', message: QUANTITY_MESSAGE }]);
      return owner
        ? carts.put(owner.userId, { productId, quantity }, ifVersion)
        : guestCarts.put(cartToken, { productId, quantity }, ifVersion);
    },
    async removeCartItem({ productId, ifVersion, cartToken }, call) {
      const owner = isGuest() ? undefined : await call.principal();
      requireProductId(productId);
      return owner
        ? carts.remove(owner.userId, productId, ifVersion)
        : guestCarts.remove(cartToken, productId, ifVersion);
    },

    async placeOrder(request, call) {
      const { userId } = await call.principal();
      const keyed = keyedRequest(request);
      const { errors, ...parsed } = parsePlaceOrder(request);
      if (errors.length > 0) throw invalid(errors);
      return checkout.place({ userId, ...keyed, ...parsed, isRetry: call.isRetry });
    },
    async cancelOrder(request, call) {
      const { userId } = request.asAdmin ? await call.admin() : await call.principal();
      const keyed = keyedRequest(request);
      if (!isUuidv7(request.orderId)) throw noSuchOrder();
      const by = request.asAdmin ? 'admin' : 'customer';
      return checkout.cancel({ userId, ...keyed, orderId: request.orderId, by });
    },

    async getOrder(request, call) {
      return orderMessage(await visibleOrder(request, call));
    },
    async listRecentOrders({ sinceMs, limit, afterId, includeTotal }, call) {
      const { userId } = await call.principal();
      if (afterId !== '' && !isUuidv7(afterId))
        throw invalid([{ path: 'afterId', message: 'must be the id of an order' }]);
      // A view is as fresh as what was published: what still waits here may be older than the view's watermark.
      const unpublishedMs = await oldestUnpublishedMs(db);
      const freshMs = Math.min(Number(sinceMs), unpublishedMs ?? Number.POSITIVE_INFINITY);
      const orders = await listChangedOrders(db, {
        userId,
        sinceMs: Math.max(0, freshMs - RECENT_MARGIN_MS),
        afterId: afterId === '' ? undefined : afterId,
        limit: limit > 0 ? Math.min(limit, LIST_LIMIT.most) : LIST_LIMIT.default,
      });
      return { orders: orders.map(orderMessage), ...(includeTotal ? await countOrders(db, userId) : {}) };
    },
    async *watchOrder({ orderId, afterVersion }, call) {
      const order = await visibleOrder({ orderId, asAdmin: false }, call);
      for await (const state of watch.follow(order, afterVersion, call.signal)) yield orderMessage(state);
    },
  });
}

/** What becomes of a guest's cart when the guest signs in. */
export function guestCartService(deps: { guestCarts: GuestCarts }): GrpcService {
  return implement('headroom.order.v1.GuestCartService', guestCartsV1.GuestCartServiceService, {
    async mergeGuestCart({ cartToken }, call) {
      const { userId } = await call.principal();
      return { mergedLines: await deps.guestCarts.merge(cartToken, userId) };
    },
  });
}

/** True for a caller without an access token; one that does not verify is refused, not taken for a guest. */
const isGuest = (): boolean => currentCall()?.accessToken === undefined;

/** The form of the key, which every repeated request must bring in the same way. */
function keyedRequest(request: { idempotencyKey: string; fingerprint: Buffer; requestId: string }) {
  const { idempotencyKey: key, fingerprint } = request;
  if (key === '') throw fault('IDEMPOTENCY_KEY_REQUIRED');
  if (!/^[\x21-\x7e]{1,255}$/.test(key))
    throw fault('IDEMPOTENCY_KEY_INVALID', { detail: 'the key must be 1 to 255 visible ASCII characters' });
  if (fingerprint.length !== 32)
    throw invalid([{ path: 'fingerprint', message: 'must be the 32 bytes of a SHA-256' }]);
  return { key, fingerprint, requestId: request.requestId || (currentCall()?.requestId ?? '') };
}

const QUANTITY_MESSAGE = `must be a whole number from 1 to ${MOST_QUANTITY}`;

const isQuantity = (value: number): boolean =>
  Number.isInteger(value) && value >= 1 && value <= MOST_QUANTITY;

/**
 * Reads a checkout: equal products are merged into the first of them, and everything that is wrong is listed at once, by
 * its path in the JSON body.
 */
export function parsePlaceOrder(
  request: Pick<orderV1.PlaceOrderRequest, 'items' | 'fromCart' | 'shippingAddress' | 'paymentToken'>,
): {
  lines: CartLine[] | 'cart';
  shippingAddress: ShippingAddress;
  paymentToken: string;
  errors: FieldError[];
} {
  const errors: FieldError[] = [];
  const merged = new Map<string, CartLine>();
  if (request.fromCart && request.items.length > 0)
    errors.push({ path: 'fromCart', message: 'cannot stand beside items' });
  if (!request.fromCart && request.items.length === 0)
    errors.push({ path: 'items', message: `must hold 1 to ${MOST_LINES} products` });
  request.items.forEach(({ productId, quantity }, index) => {
    if (!isUuidv7(productId))
      errors.push({ path: `items[${index}].productId`, message: 'must be the id of a product' });
    const before = merged.get(productId)?.quantity ?? 0;
    if (!isQuantity(quantity)) errors.push({ path: `items[${index}].quantity`, message: QUANTITY_MESSAGE });
    else if (before + quantity > MOST_QUANTITY)
      errors.push({
        path: `items[${index}].quantity`,
        message: `makes more than ${MOST_QUANTITY} of one product`,
      });
    merged.set(productId, { productId, quantity: before + quantity });
  });
  if (merged.size > MOST_LINES)
    errors.push({ path: 'items', message: `must hold at most ${MOST_LINES} different products` });
  const address = request.shippingAddress;
  if (!address) errors.push({ path: 'shippingAddress', message: 'is required' });
  else {
    for (const [member, { least, most }] of Object.entries(ADDRESS_LENGTHS)) {
      const { length } = address[member as keyof typeof ADDRESS_LENGTHS].trim();
      if (length < least || length > most)
        errors.push({
          path: `shippingAddress.${member}`,
          message: `must have ${least} to ${most} characters`,
        });
    }
    if (!COUNTRIES.has(address.country))
      errors.push({
        path: 'shippingAddress.country',
        message: 'must be a country code of ISO 3166-1 alpha-2, such as DE',
      });
  }
  if (!/^[\x21-\x7e]{1,255}$/.test(request.paymentToken))
    errors.push({ path: 'payment.token', message: 'must be 1 to 255 visible ASCII characters' });
  return {
    lines: request.fromCart ? 'cart' : [...merged.values()],
    shippingAddress: address ?? {
      name: '',
      line1: '',
      line2: '',
      postalCode: '',
      city: '',
      region: '',
      country: '',
    },
    paymentToken: request.paymentToken,
    errors,
  };
}

const ADDRESS_LENGTHS = {
  name: { least: 1, most: 200 },
  line1: { least: 1, most: 200 },
  line2: { least: 0, most: 200 },
  postalCode: { least: 1, most: 20 },
  city: { least: 1, most: 100 },
  region: { least: 0, most: 100 },
} as const;

/** ISO 3166-1 alpha-2, officially assigned. */
const COUNTRIES = new Set(
  (
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ ' +
    'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO ' +
    'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE ' +
    'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO ' +
    'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW ' +
    'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM ' +
    'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW'
  ).split(' '),
);

function requireProductId(productId: string): void {
  if (!isUuidv7(productId)) throw fault('NOT_FOUND', { detail: 'there is no such product' });
}

const invalid = (errors: FieldError[]) =>
  fault('VALIDATION_FAILED', { detail: 'the request is not valid', errors });

const noSuchOrder = () => fault('NOT_FOUND', { detail: 'there is no such order' });
