import { isFinal, orderJson, type orderV1, type StoredResponse } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import { withCallContext, type Principal } from '@headroom/rpc';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { afterLast, LIST_QUERY, listOf, walkedList, walkTo } from '../cursors';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { EVENT_STREAM_TYPE } from '../event-streams';
import { fingerprint, idempotencyKey } from '../idempotency';
import { AdminOrder, adminOrderJson, COUNTRIES, Id, Order } from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';
import { invalid } from '../validation';
import { pathId } from './accounts';
import { tellPositions } from './catalog';

const MOST_LINES = 1_000;
const MOST_UNITS = 9_999;
/** The view answers in milliseconds or is not worth waiting for: the owner answers alone then. */
const VIEW_TIMEOUT_MS = 2_000;
const strict = { additionalProperties: false };
const line = (example: string, maxLength = 200) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: '\\S',
    errorText: 'more than blanks',
    examples: [example],
  });

const storedReply = {
  schema: Order,
  headers: { 'Idempotent-Replayed': '`true` when this is the stored answer of an earlier request' },
};
const placeReply = {
  ...storedReply,
  status: 201,
  description: 'The order, pending payment',
  headers: { ...storedReply.headers, Location: 'The order' },
};
const cancelReply = {
  ...storedReply,
  status: 200,
  description: 'Cancelled; a refund follows where there was a charge',
  also: { 202: 'A payment is under way: the order ends cancelled, and refunded if it was charged' },
};

/** Checkout and the life of orders. */
export const orderEndpoints = [
  endpoint({
    method: 'POST',
    path: '/v1/orders',
    tag: 'Cart and orders',
    summary: 'Place an order',
    description:
      'Of the products named, or of the cart, at the prices of the catalog. Answers once the units are held; payment follows, see the events of the order.',
    access: 'user',
    cache: 'none',
    idempotent: true,
    body: Type.Object(
      {
        items: Type.Optional(
          Type.Array(
            Type.Object(
              {
                productId: Id,
                quantity: Type.Integer({ minimum: 1, maximum: MOST_UNITS, examples: [2] }),
              },
              strict,
            ),
            {
              minItems: 1,
              description: 'At most 1,000 products and 9,999 units of each, equal products taken together',
            },
          ),
        ),
        fromCart: Type.Optional(
          Type.Literal(true, { description: 'Instead of `items`; the cart is empty afterwards' }),
        ),
        shippingAddress: Type.Object(
          {
            name: line('Ada Lovelace'),
            line1: line('12 St James Square'),
            line2: Type.Optional(line('Second floor')),
            postalCode: line('SW1Y 4JH', 32),
            city: line('London'),
            region: Type.Optional(line('Greater London')),
            country: Type.Enum([...COUNTRIES], { description: 'ISO 3166-1 alpha-2', examples: ['GB'] }),
          },
          strict,
        ),
        payment: Type.Object(
          {
            method: Type.Literal('card'),
            token: Type.String({ minLength: 1, maxLength: 200, examples: ['tok_ok'] }),
          },
          strict,
        ),
      },
      strict,
    ),
    reply: placeReply,
    faults: ['OUT_OF_STOCK', 'PRODUCT_UNAVAILABLE', 'CURRENCY_MIXED', 'CART_EMPTY'],
    async handle({ deps, body, request, reply }) {
      if ((body.items === undefined) === (body.fromCart === undefined))
        throw invalid('items', 'or fromCart is required, and not both');
      const { shippingAddress, payment } = body;
      const stored = await deps.order.placeOrder({
        ...claim(request),
        items: merged(body.items ?? []),
        fromCart: body.fromCart ?? false,
        shippingAddress: { line2: '', region: '', ...shippingAddress },
        paymentToken: payment.token,
      });
      return answer(deps, reply, stored);
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/orders',
    tag: 'Cart and orders',
    summary: 'The own orders, newest first',
    access: 'user',
    cache: 'private',
    query: { ...LIST_QUERY, ...FIELDS_QUERY },
    reply: { status: 200, schema: listOf(Order), description: 'Orders, as last written' },
    async handle({ deps, query, principal }) {
      const list = deps.cursors.read(query, ['/v1/orders', principal.userId]);
      const found = await walkTo(
        list,
        (afterId) => ownOrders(deps, { limit: list.limit, afterId, includeTotal: list.includeTotal }),
        (reply) => reply.next,
      );
      return {
        items: found.reply?.orders.map(orderJson) ?? [],
        page: list.info(found.reply?.next ?? '', {
          total: found.first.total,
          isEstimate: found.first.totalIsEstimate,
        }),
      };
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/orders/:id',
    tag: 'Cart and orders',
    summary: 'One of the own orders',
    access: 'user',
    cache: 'private',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: Order, description: 'The order, as last written' },
    async handle({ deps, params }) {
      return orderJson(await deps.order.getOrder({ orderId: pathId(params.id), asAdmin: false }));
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/orders/:id/events',
    tag: 'Cart and orders',
    summary: 'Follow an order',
    description:
      'Server-sent events named `order`: the state now, then each later one; a slow reader may miss states in between, never the last. `id` is the version of the order: sent back as `Last-Event-ID`, only what is newer comes. A comment every 15 s keeps the connection alive. The stream ends when the order can no longer change.',
    access: 'user',
    cache: 'none',
    streams: true,
    reply: {
      status: 200,
      schema: Type.String({ examples: ['event: order\nid: 2\ndata: {"id":"..."}\n\n'] }),
      contentType: EVENT_STREAM_TYPE,
      description: 'A stream of states of the order',
      also: { 204: 'The state named by Last-Event-ID is the last one' },
    },
    async handle({ deps, params, principal, request, reply }) {
      const order = await deps.order.getOrder({ orderId: pathId(params.id), asAdmin: false });
      const seen = lastEventId(request);
      if (isFinal(order) && seen === order.version) return void reply.code(204);
      if (request.method === 'HEAD') return void reply.type(EVENT_STREAM_TYPE);
      await follow({
        deps,
        principal,
        request,
        reply,
        orderId: order.id,
        // An id from the future is nobody's: it must not hold back the states that exist.
        afterVersion: seen <= order.version ? seen : 0n,
      });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/orders/:id/cancel',
    tag: 'Cart and orders',
    summary: 'Cancel one of the own orders',
    access: 'user',
    cache: 'none',
    idempotent: true,
    reply: cancelReply,
    faults: ['ORDER_NOT_CANCELLABLE'],
    async handle({ deps, params, request, reply }) {
      const orderId = pathId(params.id);
      return answer(
        deps,
        reply,
        await deps.order.cancelOrder({ ...claim(request), orderId, asAdmin: false }),
      );
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/orders',
    tag: 'Admin: orders',
    summary: "Everybody's orders, newest first",
    access: 'admin',
    cache: 'none',
    consistent: true,
    query: { ...LIST_QUERY, ...FIELDS_QUERY },
    reply: { status: 200, schema: listOf(AdminOrder), description: 'Orders, imported history among them' },
    async handle({ deps, query, request }) {
      const list = deps.cursors.read(query, ['/v1/admin/orders']);
      const positions = deps.consistency.read(request.headers['consistency-token']?.toString(), ['order']);
      const { limit, includeTotal } = list;
      return walkedList(
        list,
        (afterId) => deps.adminQuery.listAllOrders({ limit, afterId, includeTotal, positions }),
        ({ orders, more }) => afterLast(orders, more),
        ({ orders }) => orders.map(adminOrderJson),
      );
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/orders/:id',
    tag: 'Admin: orders',
    summary: "Anybody's order",
    access: 'admin',
    cache: 'none',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: AdminOrder, description: 'The order, as last written' },
    async handle({ deps, params }) {
      return adminOrderJson(await deps.order.getOrder({ orderId: pathId(params.id), asAdmin: true }));
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/orders/:id/cancel',
    tag: 'Admin: orders',
    summary: "Cancel anybody's order",
    access: 'admin',
    cache: 'none',
    idempotent: true,
    reply: cancelReply,
    faults: ['ORDER_NOT_CANCELLABLE'],
    async handle({ deps, params, request, reply }) {
      const orderId = pathId(params.id);
      return answer(deps, reply, await deps.order.cancelOrder({ ...claim(request), orderId, asAdmin: true }));
    },
  }),
];

/** What ties a request to the one effect it may have. */
const claim = (request: FastifyRequest) => ({
  idempotencyKey: idempotencyKey(request.headers['idempotency-key']),
  fingerprint: fingerprint(request.url.split('?')[0]!, request.body),
  requestId: request.id,
});

/** One line per product, in the order in which they were named first. */
function merged(items: ReadonlyArray<{ productId: string; quantity: number }>): orderV1.RequestedItem[] {
  const lines = new Map<string, number>();
  for (const [index, { productId, quantity }] of items.entries()) {
    const sum = (lines.get(productId) ?? 0) + quantity;
    if (sum > MOST_UNITS)
      throw invalid(`items[${index}].quantity`, `makes more than ${MOST_UNITS} units of this product`);
    lines.set(productId, sum);
    if (lines.size > MOST_LINES) throw invalid('items', `must not name more than ${MOST_LINES} products`);
  }
  return [...lines].map(([productId, quantity]) => ({ productId, quantity }));
}

/** The bytes that the order service keeps for this key, untouched: a replay equals the first answer. */
function answer(deps: Deps, reply: FastifyReply, stored: StoredResponse): Buffer {
  reply.code(stored.status).type(stored.contentType);
  if (stored.location !== '') reply.header('location', stored.location);
  if (stored.replayed) reply.header('idempotent-replayed', 'true');
  if (stored.status < 300) tellPositions(deps, reply, stored.positions);
  return Buffer.from(stored.body);
}

/**
 * A page of the caller's orders as last written: the view, and over it the owner's orders that changed since the moment
 * up to which the view is complete. Each side gives a full page, which is enough: whatever belongs on the merged page
 * stands on the first page of one of them. Without the view the owner answers alone.
 */
async function ownOrders(
  { order, query, logger }: Pick<Deps, 'order' | 'query' | 'logger'>,
  { limit, afterId, includeTotal }: { limit: number; afterId: string; includeTotal: boolean },
) {
  const view = await query
    .listOrders({ limit, afterId, page: 0 }, { timeoutMs: VIEW_TIMEOUT_MS })
    .catch((error: unknown) => {
      if (!(error instanceof Fault) || !['unavailable', 'timeout', 'overloaded'].includes(error.kind))
        throw error;
      logger.warn('the view of orders is away: the owner answers alone', { reason: error.message });
      return { orders: [], more: false, watermarkMs: 0n };
    });
  const recent = await order.listRecentOrders({
    sinceMs: view.watermarkMs,
    limit: limit + 1,
    afterId,
    includeTotal,
  });
  const newest = new Map<string, orderV1.Order>();
  for (const each of [...view.orders, ...recent.orders]) {
    const known = newest.get(each.id);
    if (!known || each.version > known.version) newest.set(each.id, each);
  }
  const merged = [...newest.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  const orders = merged.slice(0, limit);
  const more = merged.length > limit || view.more;
  return {
    orders,
    next: more ? (orders.at(-1)?.id ?? '') : '',
    total: recent.total,
    totalIsEstimate: recent.totalIsEstimate,
  };
}

const lastEventId = (request: FastifyRequest): bigint => {
  const header = request.headers['last-event-id'];
  return typeof header === 'string' && /^\d{1,18}$/.test(header) ? BigInt(header) : 0n;
};

/** How long to wait before a broken watch of an order is taken up again. */
const REOPEN_MS = 500;

/**
 * Sends the states of an order until the last one. The watch behind it may break and is taken up again where it was, so
 * that a restart of the order service goes unnoticed; the stream ends with the session or the access token.
 */
async function follow(options: {
  deps: Deps;
  principal: Principal;
  request: FastifyRequest;
  reply: FastifyReply;
  orderId: string;
  afterVersion: bigint;
}): Promise<void> {
  const { deps, principal, request, reply, orderId } = options;
  const expiresAt = principal.expiresAtSeconds * 1_000;
  const token = request.headers.authorization?.replace(/^Bearer +/i, '').trim();
  const mayGoOn = async () => deps.clock.now() < expiresAt && (await deps.sessions.isActive(principal));
  const onOpen = () => (request.answeredAt = performance.now());
  let seen = options.afterVersion;
  // The stream outlives the request's deadline: its calls get the time that the token has.
  await withCallContext({ deadlineAt: expiresAt, requestId: request.id, accessToken: token }, () =>
    deps.streams.serve(reply, { mayGoOn, onOpen }, async ({ signal, send }) => {
      while (!signal.aborted) {
        try {
          for await (const order of deps.order.watchOrder({ orderId, afterVersion: seen }, { signal })) {
            if (order.version <= seen) continue;
            await send({ event: 'order', id: String(order.version), data: JSON.stringify(orderJson(order)) });
            seen = order.version;
            if (isFinal(order)) return;
          }
        } catch (error) {
          const gone =
            error instanceof Fault && ['unauthenticated', 'not_found', 'forbidden'].includes(error.kind);
          if (gone) return;
          deps.logger.warn('the watch of an order broke', { err: error, orderId });
        }
        await deps.clock.sleep(REOPEN_MS, signal);
      }
    }),
  );
}
