import type { StoredResponse } from '@headroom/contracts';
import { sql, type Queryable, type Statement } from '@headroom/postgres';
import { Fault, uuidv7, uuidv7TimeMs } from '@headroom/resilience';
import { eventually } from '@headroom/testing';
import { bodyOf, openOrderShop, placeRequest, type OrderShop } from '../test/order-shop';
import { CLAIM_LEASE_MS } from './checkout';
import { deleteExpiredKeys, findOrder } from './repository';

jest.setTimeout(60_000);

let shop: OrderShop;
beforeAll(async () => {
  shop = await openOrderShop();
});
afterAll(() => shop.close());
afterEach(() => shop.stopAll());
beforeEach(() => {
  shop.catalog.down = shop.catalog.loseAnswers = shop.payment.down = shop.payment.loseAnswers = false;
  shop.catalog.beforeHold = () => undefined;
});

const ordersOf = async (userId: string) =>
  shop.test.db.rows<{ id: string }>(sql('test.orders')`select id from orders where user_id = ${userId}`);

it('places one order when the answer to its claim is lost, or the claim itself', async () => {
  const lost = new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { cause: new Error('connection lost') });
  for (const hasEffect of [true, false]) {
    let armed = true;
    const flaky = shop.start({
      database: (db) => ({
        ...db,
        execute: async (statement) => {
          if (!armed || statement.name !== 'key.claim') return db.execute(statement);
          armed = false;
          if (hasEffect) await db.execute(statement);
          throw lost;
        },
      }),
    });
    const request = placeRequest([{ productId: shop.addProduct(), quantity: 1 }]);
    const response = await flaky.checkout.place(request);
    expect([response.status, armed]).toEqual([201, false]);
    expect(await flaky.checkout.place(request)).toEqual({ ...response, replayed: true });
    expect(await ordersOf(request.userId)).toHaveLength(1);
    await flaky.stop();
  }
});

it('asks the database no more often than it must for an order: 18 times from the checkout to the confirmation', async () => {
  let roundTrips = 0;
  const counted = <Q extends Queryable>(queryable: Q): Q => ({
    ...queryable,
    rows: <Row>(statement: Statement) => ((roundTrips += 1), queryable.rows<Row>(statement)),
    row: <Row>(statement: Statement) => ((roundTrips += 1), queryable.row<Row>(statement)),
    execute: (statement: Statement) => ((roundTrips += 1), queryable.execute(statement)),
  });
  const service = shop.start({
    jobs: false,
    database: (db) => ({
      ...counted(db),
      transaction: (work, options) => {
        roundTrips += 2; // begin and commit
        return db.transaction((tx) => work(counted(tx)), options);
      },
    }),
  });
  const response = await service.checkout.place(
    placeRequest([{ productId: shop.addProduct(), quantity: 1 }]),
  );
  const placed = roundTrips;
  const { id } = bodyOf(response);
  await service.sagas.step(id, 5_000);
  await eventually(async () => expect((await shop.order(id)).status).toBe('confirmed'));
  expect([placed, roundTrips - placed]).toEqual([6, 12]);
  await service.stop();
});

it('answers a checkout with 201, its location and the pending order, and confirms it', async () => {
  const { checkout } = shop.start();
  const productId = shop.addProduct({ available: 5 });
  const response = await checkout.place(placeRequest([{ productId, quantity: 2 }]));
  const body = bodyOf(response);
  expect(response).toMatchObject({ status: 201, replayed: false, location: `/v1/orders/${body.id}` });
  expect(response.positions).toEqual([{ subject: `order/${body.id}`, version: 1n }]);
  expect(body).toMatchObject({
    status: 'pending',
    paymentStatus: 'pending',
    cancelReason: null,
    total: { amountMinor: 3_998, currency: 'EUR' },
  });
  await shop.settle();
  expect(await shop.order(body.id)).toMatchObject({
    status: 'confirmed',
    paymentStatus: 'paid',
    version: 3n,
  });
  const events = await shop.events(body.id);
  expect(events.map((event) => `${event.type}@${event.aggregateversion}`)).toEqual([
    'headroom.order.placed@1',
    'headroom.order.paid@2',
    'headroom.order.confirmed@3',
  ]);
  expect(JSON.stringify(events)).not.toMatch(/tok_ok|St James/);
  expect(shop.catalog.products.get(productId)!.available).toBe(3);
});

it('replays the first response byte for byte, also after the order has moved on', async () => {
  const { checkout } = shop.start();
  const request = placeRequest([{ productId: shop.addProduct(), quantity: 1 }]);
  const first = await checkout.place(request);
  await shop.settle();
  const again = await checkout.place({ ...request, requestId: 'request-2' });
  expect(again).toEqual({ ...first, replayed: true });
  expect(await ordersOf(request.userId)).toHaveLength(1);
});

it('keeps OUT_OF_STOCK, PRODUCT_UNAVAILABLE and CURRENCY_MIXED with their first request id', async () => {
  const { checkout } = shop.start();
  const scarce = shop.addProduct({ available: 1 });
  const dollars = shop.addProduct({ currency: 'USD' });
  const unknown = uuidv7();
  const cases = [
    { lines: [{ productId: scarce, quantity: 2 }], status: 409, code: 'OUT_OF_STOCK', ids: [scarce] },
    {
      lines: [{ productId: unknown, quantity: 1 }],
      status: 422,
      code: 'PRODUCT_UNAVAILABLE',
      ids: [unknown],
    },
    {
      lines: [
        { productId: scarce, quantity: 1 },
        { productId: dollars, quantity: 1 },
      ],
      status: 422,
      code: 'CURRENCY_MIXED',
      ids: undefined,
    },
  ];
  for (const { lines, status, code, ids } of cases) {
    const request = placeRequest(lines);
    const first = await checkout.place(request);
    expect(first).toMatchObject({ status, contentType: expect.stringContaining('application/problem+json') });
    expect(bodyOf(first)).toMatchObject({ code, status, requestId: 'request-1' });
    expect(bodyOf(first)['productIds']).toEqual(ids);
    shop.catalog.products.get(scarce)!.available = 10; // the answer stands although the reason has gone
    const again = await checkout.place({ ...request, requestId: 'request-2' });
    expect(again).toEqual({ ...first, replayed: true });
    shop.catalog.products.get(scarce)!.available = 1;
    expect(await ordersOf(request.userId)).toEqual([]);
  }
});

it('refuses a key that comes with another body, and keeps keys of users apart', async () => {
  const { checkout } = shop.start();
  const productId = shop.addProduct();
  const request = placeRequest([{ productId, quantity: 1 }]);
  await checkout.place(request);
  const other = placeRequest([{ productId, quantity: 2 }], { userId: request.userId, key: request.key });
  await expect(checkout.place(other)).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  const stranger = await checkout.place({ ...request, userId: uuidv7() });
  expect(stranger).toMatchObject({ status: 201, replayed: false });
});

/** Lets checkouts come as far as their hold and no further until `leave` is called. */
function stopAtHold(): { entered: Promise<void>; leave: () => void } {
  const entered = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  shop.catalog.beforeHold = () => {
    entered.resolve();
    return left.promise;
  };
  return { entered: entered.promise, leave: left.resolve };
}

it('lets one of many simultaneous requests with a key place the order, the others wait or replay it', async () => {
  const processes = [shop.start(), shop.start()];
  const productId = shop.addProduct({ available: 50 });
  const request = placeRequest([{ productId, quantity: 1 }]);
  const outcomes = await Promise.all(
    Array.from({ length: 24 }, (_, index) =>
      processes[index % 2]!.checkout.place(request).catch((error: { code: string }) => error.code),
    ),
  );
  const responses = outcomes.filter((outcome) => typeof outcome !== 'string');
  expect(outcomes.filter((outcome) => typeof outcome === 'string')).toEqual(
    Array(24 - responses.length).fill('IDEMPOTENCY_IN_FLIGHT'),
  );
  expect(responses.filter((response) => !response.replayed)).toHaveLength(1);
  expect(new Set(responses.map((response) => response.body.toString('hex'))).size).toBe(1);
  expect(await ordersOf(request.userId)).toHaveLength(1);
  await shop.settle();
  expect(shop.catalog.products.get(productId)!.available).toBe(49);
});

it('tells when to come back while the first request is still running', async () => {
  const { checkout } = shop.start();
  const request = placeRequest([{ productId: shop.addProduct(), quantity: 1 }]);
  const { entered, leave } = stopAtHold();
  const first = checkout.place(request);
  await entered;
  await expect(checkout.place(request)).rejects.toMatchObject({
    code: 'IDEMPOTENCY_IN_FLIGHT',
    retryAfterSeconds: CLAIM_LEASE_MS / 1_000,
  });
  leave();
  expect(await first).toMatchObject({ status: 201 });
});

it('lets a call that the channel sends again wait for the earlier try and get its answer', async () => {
  const { checkout } = shop.start();
  const request = placeRequest([{ productId: shop.addProduct(), quantity: 1 }]);
  const { entered, leave } = stopAtHold();
  const first = checkout.place(request);
  await entered;
  const answers: StoredResponse[] = [];
  const again = checkout.place({ ...request, isRetry: true }).then((answer) => answers.push(answer));
  leave();
  const { body } = await first;
  await eventually(() => {
    shop.clock.advance(50);
    expect(answers).toHaveLength(1);
  });
  await again;
  expect(answers[0]).toMatchObject({ status: 201, replayed: true, body });
});

it('keeps nothing when the catalog is away: the same key works as soon as it is back', async () => {
  const { checkout } = shop.start();
  const productId = shop.addProduct({ available: 3 });
  const request = placeRequest([{ productId, quantity: 3 }]);
  shop.catalog.down = true;
  await expect(checkout.place(request)).rejects.toMatchObject({
    kind: 'unavailable',
    code: 'DEPENDENCY_UNAVAILABLE',
  });
  shop.catalog.down = false;
  expect(await checkout.place(request)).toMatchObject({ status: 201, replayed: false });
});

it('finds its own hold again when the answer to it was lost, so that the last units are not held twice', async () => {
  const { checkout } = shop.start();
  const productId = shop.addProduct({ available: 3 });
  const request = placeRequest([{ productId, quantity: 3 }]);
  shop.catalog.loseAnswers = true;
  await expect(checkout.place(request)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  expect(shop.catalog.products.get(productId)!.available).toBe(0);
  shop.catalog.loseAnswers = false;
  expect(await checkout.place(request)).toMatchObject({ status: 201 });
});

it('lets a key be used for another body when nothing was kept, and gives the first hold back', async () => {
  const { checkout } = shop.start();
  const productId = shop.addProduct({ available: 3 });
  const request = placeRequest([{ productId, quantity: 3 }]);
  shop.catalog.loseAnswers = true;
  await expect(checkout.place(request)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  shop.catalog.loseAnswers = false;
  const other = placeRequest([{ productId, quantity: 2 }], { userId: request.userId, key: request.key });
  expect(bodyOf(await checkout.place(other))).toMatchObject({ items: [{ quantity: 2 }] });
  expect(shop.catalog.products.get(productId)!.available).toBe(1);
});

it('resumes the claim of a dead process under the same order id, at the latest 10 s later', async () => {
  const productId = shop.addProduct({ available: 2 });
  const request = placeRequest([{ productId, quantity: 2 }]);
  // claim, hold, and then death with the order not written
  const dying = shop.start({ death: { at: 2, when: 'after' }, jobs: false });
  void dying.checkout.place(request);
  await dying.death;
  const [heldId] = [...shop.catalog.holds.keys()].slice(-1);
  const { checkout } = shop.start();
  await expect(checkout.place(request)).rejects.toMatchObject({ code: 'IDEMPOTENCY_IN_FLIGHT' });
  shop.clock.advance(9_999);
  const response = await checkout.place(request);
  expect(bodyOf(response).id).toBe(heldId);
  expect(shop.catalog.products.get(productId)!.available).toBe(0);
});

it('begins anew under another order id when the hold of a dead claim has ended', async () => {
  const productId = shop.addProduct({ available: 2 });
  const request = placeRequest([{ productId, quantity: 2 }]);
  const dying = shop.start({ death: { at: 2, when: 'after' }, jobs: false });
  void dying.checkout.place(request);
  await dying.death;
  const [heldId] = [...shop.catalog.holds.keys()].slice(-1);
  shop.catalog.expireHold(heldId!);
  shop.clock.advance(CLAIM_LEASE_MS);
  const response = await shop.start().checkout.place(request);
  expect(response.status).toBe(201);
  expect(bodyOf(response).id).not.toBe(heldId);
  await shop.settle();
  expect(await shop.order(bodyOf(response).id)).toMatchObject({ status: 'confirmed' });
});

it('does not let a zombie win: an attempt that comes back late writes nothing and answers as its successor did', async () => {
  const productId = shop.addProduct({ available: 10 });
  const request = placeRequest([{ productId, quantity: 1 }]);
  let enter: () => void;
  let wake: () => void;
  const entered = new Promise<void>((resolve) => (enter = resolve));
  const woken = new Promise<void>((resolve) => (wake = resolve));
  shop.catalog.beforeHold = () => {
    enter();
    return woken;
  };
  const zombie = shop.start().checkout.place(request);
  await entered;
  shop.catalog.beforeHold = () => undefined;
  shop.clock.advance(CLAIM_LEASE_MS);
  const winner = await shop.start().checkout.place(request);
  wake!();
  expect(await zombie).toEqual({ ...winner, replayed: true });
  expect(await ordersOf(request.userId)).toHaveLength(1);
  expect(await shop.events(bodyOf(winner).id)).not.toHaveLength(0);
  await shop.settle();
  expect(shop.catalog.products.get(productId)!.available).toBe(9);
  expect(shop.payment.charges.filter((charge) => charge.orderId === bodyOf(winner).id)).toHaveLength(1);
});

it('forgets a key after 24 hours, by itself and by the clean-up', async () => {
  const { checkout } = shop.start();
  const request = placeRequest([{ productId: shop.addProduct(), quantity: 1 }]);
  const first = await checkout.place(request);
  shop.clock.advance(24 * 3_600_000 - 1);
  expect(await checkout.place(request)).toEqual({ ...first, replayed: true });
  shop.clock.advance(1);
  const later = await checkout.place(request);
  expect(bodyOf(later).id).not.toBe(bodyOf(first).id);

  shop.clock.advance(24 * 3_600_000);
  while ((await deleteExpiredKeys(shop.test.db, shop.clock.now(), 3)) === 3);
  const left = await shop.test.db.rows(sql('test.keys')`select 1 from idempotency_keys`);
  expect(left).toEqual([]);
});

it('orders what is in the cart and empties it with the 201, but keeps what was put in meanwhile', async () => {
  const { checkout, carts } = shop.start();
  const userId = uuidv7();
  const [a, b, c] = [shop.addProduct(), shop.addProduct(), shop.addProduct()] as [string, string, string];
  await carts.put(userId, { productId: a, quantity: 2 }, undefined);
  shop.clock.advance(1);
  await carts.put(userId, { productId: b, quantity: 1 }, undefined);
  shop.catalog.beforeHold = async () => {
    await carts.put(userId, { productId: c, quantity: 1 }, undefined);
    await carts.put(userId, { productId: a, quantity: 5 }, undefined);
  };
  const request = placeRequest('cart', { userId });
  const response = await checkout.place(request);
  expect(bodyOf(response)['items']).toMatchObject([
    { productId: a, quantity: 2 },
    { productId: b, quantity: 1 },
  ]);
  const cart = await carts.get(userId);
  expect(cart.items.map((item) => [item.productId, item.quantity])).toEqual([
    [a, 3],
    [c, 1],
  ]);
  shop.catalog.beforeHold = () => undefined;
  expect(await checkout.place(placeRequest('cart', { userId }))).toMatchObject({ status: 201 });
  expect(await carts.get(userId)).toMatchObject({ items: [], total: { amountMinor: 0n, currency: 'EUR' } });
  await expect(checkout.place(placeRequest('cart', { userId }))).rejects.toMatchObject({
    kind: 'conflict',
    code: 'CART_EMPTY',
  });
  expect(await checkout.place(request)).toEqual({ ...response, replayed: true });
});

it('orders the cart as it is now when the first try died and the cart has changed since', async () => {
  const { carts } = shop.start({ jobs: false });
  const userId = uuidv7();
  const productId = shop.addProduct({ available: 4 });
  await carts.put(userId, { productId, quantity: 1 }, undefined);
  const request = placeRequest('cart', { userId });
  const dying = shop.start({ death: { at: 2, when: 'after' }, jobs: false });
  void dying.checkout.place(request);
  await dying.death;
  await carts.put(userId, { productId, quantity: 3 }, undefined);
  shop.clock.advance(CLAIM_LEASE_MS);
  const response = await shop.start().checkout.place(request);
  expect(bodyOf(response)['items']).toMatchObject([{ quantity: 3 }]);
  expect(shop.catalog.products.get(productId)!.available).toBe(1); // the hold of the first try went back
});

it('makes the partition of a month that has none', async () => {
  const { checkout } = shop.start();
  shop.clock.advance(200 * 24 * 3_600_000);
  const response = await checkout.place(placeRequest([{ productId: shop.addProduct(), quantity: 1 }]));
  const order = await findOrder(shop.test.db, bodyOf(response).id);
  expect(uuidv7TimeMs(order!.id)).toBe(shop.clock.now());
});
