import { guestCartsV1, orderV1 } from '@headroom/contracts';
import { sql } from '@headroom/postgres';
import type { Fault } from '@headroom/resilience';
import { uuidv7 } from '@headroom/resilience';
import { createRpcClient, serveGrpc, unauthenticated, withCallContext, type RpcClient } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { createHash } from 'node:crypto';
import { bodyOf, openOrderShop, type OrderProcess, type OrderShop } from '../test/order-shop';
import { guestCartService, orderService, parsePlaceOrder } from './api';

jest.setTimeout(60_000);

let shop: OrderShop;
let service: OrderProcess;
let server: { port: number; close(): Promise<void> };
let client: RpcClient<typeof orderV1.OrderServiceService>;
let guests: RpcClient<typeof guestCartsV1.GuestCartServiceService>;

beforeAll(async () => {
  shop = await openOrderShop();
  service = shop.start();
  server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [orderService(service), guestCartService(service)],
    // Verifying tokens is the rpc library's business: here a token is the user's id, with `admin:` before it for an admin.
    verifyToken: async (token) => {
      if (token === 'forged') throw unauthenticated('the access token is not valid');
      return {
        userId: token.replace('admin:', ''),
        sessionId: '',
        role: token.startsWith('admin:') ? 'admin' : 'customer',
        tier: 'free',
        issuedAtSeconds: 0,
        expiresAtSeconds: 0,
      };
    },
    logger: silentLogger,
    graceMs: 200,
  });
  const address = `127.0.0.1:${server.port}`;
  client = createRpcClient(orderV1.OrderServiceService, { address });
  guests = createRpcClient(guestCartsV1.GuestCartServiceService, { address });
});
afterAll(async () => {
  await service.watch.close();
  client.close();
  guests.close();
  await server.close();
  await shop.close();
});

const as = <T>(accessToken: string | undefined, work: () => Promise<T>): Promise<T> =>
  withCallContext({ deadlineAt: Date.now() + 10_000, requestId: 'request-1', accessToken }, work);

const ADDRESS = {
  name: 'Ada Lovelace',
  line1: '12 St James Square',
  line2: '',
  postalCode: 'SW1Y 4JH',
  city: 'London',
  region: '',
  country: 'GB',
};
const placing = (items: orderV1.RequestedItem[], rest: Partial<orderV1.PlaceOrderRequest> = {}) => ({
  idempotencyKey: uuidv7(),
  fingerprint: createHash('sha256').update(JSON.stringify(items)).digest(),
  items,
  fromCart: false,
  shippingAddress: ADDRESS,
  paymentToken: 'tok_ok',
  requestId: 'request-1',
  ...rest,
});
const placeAs = async (userId: string, quantity = 1, paymentToken = 'tok_ok') =>
  bodyOf(
    await as(userId, () =>
      client.placeOrder(placing([{ productId: shop.addProduct(), quantity }], { paymentToken })),
    ),
  ).id;

it('asks for an access token on every method but those of carts, and for the role admin where another acts', async () => {
  const orderId = uuidv7();
  const request = { orderId, asAdmin: false };
  const calls: Array<() => Promise<unknown>> = [
    () => guests.mergeGuestCart({ cartToken: '' }),
    () => client.placeOrder(placing([])),
    () => client.cancelOrder({ ...placing([]), ...request }),
    () => client.getOrder(request),
    () => client.listRecentOrders({ sinceMs: 0n, limit: 0, afterId: '' }),
    () => client.watchOrder({ orderId, afterVersion: 0n })[Symbol.asyncIterator]().next(),
  ];
  for (const call of calls)
    await expect(as(undefined, call)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  const adminRequest = { ...request, asAdmin: true };
  const adminCalls: Array<() => Promise<unknown>> = [
    () => client.getOrder(adminRequest),
    () => client.cancelOrder({ ...placing([]), ...adminRequest }),
  ];
  for (const call of adminCalls)
    await expect(as(uuidv7(), call)).rejects.toMatchObject({ code: 'FORBIDDEN' });
});

it('serves a guest by token, ignores the token beside a session, and refuses a session that does not verify', async () => {
  const productId = shop.addProduct();
  const { cartToken, ...cart } = await as(undefined, () => client.putCartItem({ productId, quantity: 2 }));
  expect(cartToken).toMatch(/^[\w-]{43}$/);
  expect(cart).toMatchObject({ version: 1n, items: [{ productId, quantity: 2 }] });
  const request = { cartToken: cartToken! };
  expect(await as(undefined, () => client.getCart(request))).toMatchObject(cart);
  const user = uuidv7();
  expect((await as(user, () => client.getCart(request))).items).toEqual([]);
  await as(user, () => client.removeCartItem({ productId, ...request }));
  const own = await as(user, () => client.putCartItem({ productId, quantity: 5, ...request }));
  expect(own.cartToken).toBeUndefined();
  expect((await as(undefined, () => client.getCart(request))).items).toMatchObject([{ quantity: 2 }]);
  await expect(as('forged', () => client.getCart(request))).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
  });
  expect(await as(user, () => guests.mergeGuestCart(request))).toEqual({ mergedLines: 1 });
  expect((await as(user, () => client.getCart({}))).items).toMatchObject([{ quantity: 7 }]);
});

it("shows an order to its owner and to an admin; another user's is not found, nor is a malformed id", async () => {
  const owner = uuidv7();
  const orderId = await placeAs(owner);
  const mine = await as(owner, () => client.getOrder({ orderId, asAdmin: false }));
  expect(mine).toMatchObject({ id: orderId, userId: owner });
  expect(await as(`admin:${uuidv7()}`, () => client.getOrder({ orderId, asAdmin: true }))).toMatchObject({
    id: orderId,
  });
  for (const attempt of [
    () => as(uuidv7(), () => client.getOrder({ orderId, asAdmin: false })),
    () => as(`admin:${uuidv7()}`, () => client.getOrder({ orderId, asAdmin: false })),
    () => as(owner, () => client.getOrder({ orderId: uuidv7(), asAdmin: false })),
    () => as(owner, () => client.getOrder({ orderId: 'x', asAdmin: false })),
  ])
    await expect(attempt()).rejects.toMatchObject({ kind: 'not_found', code: 'NOT_FOUND' });
});

it('lists everything that is wrong with a checkout by its path in the body', async () => {
  const productId = uuidv7();
  const wrong = placing(
    [
      { productId: 'x', quantity: 1 },
      { productId, quantity: 0 },
      { productId, quantity: 9_999 },
      { productId, quantity: 1 },
    ],
    {
      fromCart: true,
      paymentToken: '',
      shippingAddress: { ...ADDRESS, name: ' ', city: 'x'.repeat(101), country: 'XX' },
    },
  );
  const error = await as(uuidv7(), () => client.placeOrder(wrong)).catch(
    (caught: unknown) => caught as Fault,
  );
  expect(error).toMatchObject({ kind: 'invalid', code: 'VALIDATION_FAILED' });
  expect((error as Fault).errors?.map((each) => each.path)).toEqual([
    'fromCart',
    'items[0].productId',
    'items[1].quantity',
    'items[3].quantity',
    'shippingAddress.name',
    'shippingAddress.city',
    'shippingAddress.country',
    'payment.token',
  ]);
  for (const [idempotencyKey, code] of [
    ['', 'IDEMPOTENCY_KEY_REQUIRED'],
    ['a b', 'IDEMPOTENCY_KEY_INVALID'],
    ['x'.repeat(256), 'IDEMPOTENCY_KEY_INVALID'],
  ] as const)
    await expect(as(uuidv7(), () => client.placeOrder({ ...wrong, idempotencyKey }))).rejects.toMatchObject({
      code,
    });
});

it('merges equal products, and counts lines after merging', () => {
  const [a, b] = [uuidv7(), uuidv7()] as [string, string];
  const items = [
    { productId: a, quantity: 1 },
    { productId: b, quantity: 2 },
    { productId: a, quantity: 3 },
  ];
  expect(parsePlaceOrder(placing(items))).toMatchObject({
    errors: [],
    lines: [
      { productId: a, quantity: 4 },
      { productId: b, quantity: 2 },
    ],
  });
  const many = Array.from({ length: 1_000 }, () => ({ productId: uuidv7(), quantity: 1 }));
  expect(parsePlaceOrder(placing([...many, ...many])).errors).toEqual([]);
  const tooMany = [...many, { productId: uuidv7(), quantity: 1 }];
  expect(parsePlaceOrder(placing(tooMany)).errors.map((each) => each.path)).toEqual(['items']);
  expect(parsePlaceOrder(placing([])).errors.map((each) => each.path)).toEqual(['items']);
});

it('carries a cart from the first product to the order', async () => {
  const user = uuidv7();
  const productId = shop.addProduct();
  await as(user, () => client.putCartItem({ productId, quantity: 2 }));
  expect(await as(user, () => client.getCart({}))).toMatchObject({ version: 1n, items: [{ productId }] });
  const request = placing([], { fromCart: true });
  expect(await as(user, () => client.placeOrder(request))).toMatchObject({ status: 201 });
  expect(await as(user, () => client.removeCartItem({ productId, ifVersion: 2n }))).toMatchObject({
    items: [],
  });
  await expect(as(user, () => client.putCartItem({ productId, quantity: 10_000 }))).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'quantity' }],
  });
  await expect(as(user, () => client.putCartItem({ productId: 'x', quantity: 1 }))).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

it('lists what a view may lack: what changed lately, and whatever was not published yet', async () => {
  const user = uuidv7();
  const old = await placeAs(user);
  await shop.settle();
  const list = (sinceMs: number) =>
    as(user, () => client.listRecentOrders({ sinceMs: BigInt(sinceMs), limit: 0, afterId: '' })).then(
      ({ orders }) => orders.map((order) => order.id),
    );
  await shop.test.db.execute(sql('test.published')`delete from outbox`);
  shop.clock.advance(3_600_000);
  const recent = await placeAs(user);
  await shop.settle();
  await shop.test.db.execute(sql('test.published')`delete from outbox`);
  expect(await list(0)).toEqual([recent, old]);
  expect(await list(shop.clock.now() - 600_000)).toEqual([recent]);
  // The event of the old order still waits: the view cannot know it, however fresh it is otherwise.
  const { updatedAtMs } = await shop.order(old);
  await shop.test.db.execute(sql('test.unpublished')`
    insert into outbox (shard, topic, key, event, created_at) values (0, 't', ${old}, '{}', ${new Date(updatedAtMs)})`);
  expect(await list(shop.clock.now() - 600_000)).toEqual([recent, old]);
  await shop.test.db.execute(sql('test.published')`delete from outbox`);
  const page = await as(user, () => client.listRecentOrders({ sinceMs: 0n, limit: 1, afterId: recent }));
  expect(page.orders.map((order) => order.id)).toEqual([old]);
  expect(await as(uuidv7(), () => client.listRecentOrders({ sinceMs: 0n, limit: 0, afterId: '' }))).toEqual({
    orders: [],
  });
});

/** All states that a watcher is sent, as `status@version`. */
const watched = (userId: string, orderId: string, afterVersion = 0n): Promise<string[]> =>
  as(userId, async () => {
    const seen: string[] = [];
    for await (const order of client.watchOrder({ orderId, afterVersion }))
      seen.push(`${order.status}@${order.version}`);
    return seen;
  });

it('sends a watcher the state now, then later ones, and ends with the last', async () => {
  const user = uuidv7();
  let proceed: () => void;
  const answered = new Promise<void>((resolve) => (proceed = resolve));
  shop.payment.beforeAnswer = () => answered;
  const orderId = await placeAs(user);
  const watching = watched(user, orderId);
  const alsoWatching = watched(user, orderId, 1n);
  await eventually(() => expect(shop.payment.requests.at(-1)).toBe('POST /v1/charges'));
  proceed!();
  const seen = await watching;
  expect(seen.at(0)).toBe('pending@1');
  expect(seen.at(-1)).toBe('confirmed@3');
  expect((await alsoWatching).at(-1)).toBe('confirmed@3');
  shop.payment.beforeAnswer = () => undefined;
});

it('sends a state that another process wrote', async () => {
  const user = uuidv7();
  shop.payment.down = true;
  const orderId = await placeAs(user, 1, 'tok_slow');
  const watching = watched(user, orderId, 1n);
  await service.sagas.close();
  shop.payment.down = false;
  const other = shop.start();
  await shop.settle();
  expect((await watching).at(-1)).toBe('confirmed@3');
  await other.stop();
});

it('sends nothing and ends at once when the watcher has seen the last state', async () => {
  const user = uuidv7();
  const other = shop.start();
  const orderId = await placeAs(user);
  await shop.settle();
  expect(await watched(user, orderId, 3n)).toEqual([]);
  expect(await watched(user, orderId, 2n)).toEqual(['confirmed@3']);
  await expect(watched(uuidv7(), orderId)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await other.stop();
});
