import { sql } from '@headroom/postgres';
import { eventually } from '@headroom/testing';
import {
  bodyOf,
  openOrderShop,
  PAYMENT_TIMEOUT_SECONDS,
  placeRequest,
  type OrderProcess,
  type OrderShop,
} from '../test/order-shop';
import { takeDueSagas, takeSaga } from './repository';

jest.setTimeout(60_000);

let shop: OrderShop;
let service: OrderProcess;
let productId: string;
beforeAll(async () => {
  shop = await openOrderShop();
});
afterAll(() => shop.close());
beforeEach(() => {
  Object.assign(shop.catalog, { down: false, loseAnswers: false });
  Object.assign(shop.payment, { down: false, loseAnswers: false, beforeAnswer: () => undefined });
  service = shop.start();
  productId = shop.addProduct({ available: 10 });
});
afterEach(() => shop.stopAll());

const available = () => shop.catalog.products.get(productId)!.available;
const chargesOf = (orderId: string) => shop.payment.charges.filter((charge) => charge.orderId === orderId);
const refundsOf = (orderId: string) => shop.payment.refunds.filter((refund) => refund.orderId === orderId);
const typesOf = async (orderId: string) =>
  (await shop.events(orderId)).map((event) => event.type.replace('headroom.order.', ''));

/** Places an order for 3 units with this token; gives its id and who ordered. */
async function order(paymentToken: string): Promise<{ id: string; userId: string }> {
  const request = placeRequest([{ productId, quantity: 3 }], { paymentToken });
  const response = await service.checkout.place(request);
  expect(response.status).toBe(201);
  return { id: bodyOf(response).id, userId: request.userId };
}

const cancelRequest = (placed: { id: string; userId: string }, by: 'customer' | 'admin' = 'customer') => ({
  ...placeRequest('cart', { userId: placed.userId }),
  orderId: placed.id,
  by,
});

it('confirms at once, without waiting for a look at the clock', async () => {
  const { id } = await order('tok_ok');
  await eventually(async () => expect(await shop.order(id)).toMatchObject({ status: 'confirmed' }));
});

it.each(['tok_ok', 'tok_slow', 'tok_error', 'tok_timeout_charged'])(
  'ends confirmed with one charge (%s)',
  async (token) => {
    const { id } = await order(token);
    await shop.settle();
    expect(await shop.order(id)).toMatchObject({ status: 'confirmed', paymentStatus: 'paid' });
    expect(chargesOf(id)).toMatchObject([
      { idempotencyKey: `charge:${id}`, amountMinor: 5_997, currency: 'EUR', status: 'succeeded' },
    ]);
    expect(available()).toBe(7);
  },
);

it('asks the provider about a charge that was not answered before it sends it again', async () => {
  shop.payment.requests = [];
  await order('tok_timeout_charged');
  await shop.settle();
  expect(shop.payment.requests).toEqual(['POST /v1/charges', 'GET /v1/charges']);
});

it('cancels a declined order and gives its units back before it says so', async () => {
  const { id } = await order('tok_declined');
  await eventually(async () => {
    if ((await shop.order(id)).status === 'cancelled') return expect(available()).toBe(10);
    throw new Error('not yet');
  });
  expect(await shop.order(id)).toMatchObject({
    paymentStatus: 'declined',
    cancelReason: 'payment_declined',
    version: 3n,
  });
  expect(await typesOf(id)).toEqual(['placed', 'payment-declined', 'cancelled']);
});

it('cancels an order whose card the provider will never take', async () => {
  const { id } = await order('tok_invalid');
  await shop.settle();
  expect(await shop.order(id)).toMatchObject({ paymentStatus: 'failed', cancelReason: 'payment_failed' });
  expect(available()).toBe(10);
});

it('lets an order expire when the provider stays away, not a moment earlier', async () => {
  const { id } = await order('tok_down');
  shop.payment.down = true;
  const placedAt = shop.clock.now();
  await eventually(async () => {
    shop.clock.advance(10_000);
    const { status, cancelReason, paymentStatus } = await shop.order(id);
    if (status === 'pending') throw new Error('not yet');
    expect({ status, cancelReason, paymentStatus }).toEqual({
      status: 'cancelled',
      cancelReason: 'expired',
      paymentStatus: 'failed',
    });
  }, 20_000);
  expect(shop.clock.now() - placedAt).toBeGreaterThanOrEqual(PAYMENT_TIMEOUT_SECONDS * 1_000);
  expect(available()).toBe(10);
  shop.payment.down = false;
  await shop.settle();
  expect(chargesOf(id)).toEqual([]);
  expect(await typesOf(id)).toEqual(['placed', 'cancelled']);
});

it('refunds a charge that comes to light after the order has expired', async () => {
  shop.payment.beforeAnswer = () => {
    shop.payment.down = true; // the charge took place, and from here on nobody hears from the provider
    return new Promise(() => undefined);
  };
  const { id } = await order('tok_ok');
  await eventually(async () => {
    shop.clock.advance(10_000);
    expect(await shop.order(id)).toMatchObject({ status: 'cancelled', cancelReason: 'expired' });
  }, 20_000);
  expect(refundsOf(id)).toEqual([]);
  shop.payment.down = false;
  await shop.settle();
  expect(chargesOf(id)).toHaveLength(1);
  expect(refundsOf(id)).toMatchObject([{ idempotencyKey: `refund:${id}`, amountMinor: 5_997 }]);
  expect(await shop.order(id)).toMatchObject({ paymentStatus: 'failed' });
});

it('gives the money back when the hold was lost before it could be confirmed', async () => {
  shop.payment.beforeAnswer = (orderId) => shop.catalog.expireHold(orderId);
  const { id } = await order('tok_ok');
  await shop.settle();
  expect(await shop.order(id)).toMatchObject({
    status: 'cancelled',
    cancelReason: 'payment_failed',
    paymentStatus: 'refunded',
  });
  expect(refundsOf(id)).toHaveLength(1);
  expect(available()).toBe(10);
});

it('goes on as soon as the catalog is back, however long it was away', async () => {
  shop.payment.beforeAnswer = () => void (shop.catalog.down = true);
  const { id } = await order('tok_ok');
  await eventually(async () => {
    shop.clock.advance(2_000);
    expect(shop.catalog.calls['confirmHold']).toBeGreaterThan(3);
    expect(await shop.order(id)).toMatchObject({ status: 'pending', paymentStatus: 'paid' });
  });
  shop.catalog.down = false;
  await shop.settle();
  expect(await shop.order(id)).toMatchObject({ status: 'confirmed' });
});

it.each(['customer', 'admin'] as const)(
  'cancels a confirmed order for the %s: units back with the answer, refund right after, replayed as stored',
  async (by) => {
    const placed = await order('tok_ok');
    await shop.settle();
    expect(available()).toBe(7);
    const request = cancelRequest(placed, by);
    const response = await service.checkout.cancel(request);
    expect(response).toMatchObject({ status: 200, replayed: false });
    expect(response.positions).toEqual([{ subject: `order/${placed.id}`, version: 5n }]);
    expect(bodyOf(response)).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'refund_pending',
      cancelReason: by,
    });
    expect(available()).toBe(10);
    await shop.settle();
    expect(await shop.order(placed.id)).toMatchObject({ paymentStatus: 'refunded', version: 6n });
    expect(refundsOf(placed.id)).toHaveLength(1);
    expect(await typesOf(placed.id)).toEqual([
      ...['placed', 'paid', 'confirmed', 'cancelled', 'refund-requested', 'refunded'],
    ]);
    expect(await service.checkout.cancel(request)).toEqual({ ...response, replayed: true });
    await expect(
      service.checkout.cancel({ ...request, fingerprint: Buffer.alloc(32, 7) }),
    ).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
    await expect(service.checkout.cancel(cancelRequest(placed, by))).rejects.toMatchObject({
      kind: 'conflict',
      code: 'ORDER_NOT_CANCELLABLE',
    });
  },
);

it('answers a cancellation although the catalog is away, and gives the units back later', async () => {
  const placed = await order('tok_ok');
  await shop.settle();
  shop.catalog.down = true;
  expect(await service.checkout.cancel(cancelRequest(placed))).toMatchObject({ status: 200 });
  expect(refundsOf(placed.id)).toEqual([]);
  shop.catalog.down = false;
  await shop.settle();
  expect(available()).toBe(10);
  expect(await shop.order(placed.id)).toMatchObject({ paymentStatus: 'refunded' });
});

it('retries a refund until the provider takes it, and refunds once', async () => {
  const placed = await order('tok_ok');
  await shop.settle();
  shop.payment.loseAnswers = true;
  await service.checkout.cancel(cancelRequest(placed));
  await eventually(() => {
    shop.clock.advance(2_000);
    expect(shop.payment.requests.filter((each) => each === 'POST /v1/refunds').length).toBeGreaterThan(2);
  });
  expect(await shop.order(placed.id)).toMatchObject({ paymentStatus: 'refund_pending' });
  shop.payment.loseAnswers = false;
  await shop.settle();
  expect(await shop.order(placed.id)).toMatchObject({ paymentStatus: 'refunded' });
  expect(refundsOf(placed.id)).toHaveLength(1);
});

it('cancels without a charge when the payment had not begun', async () => {
  const sleepy = shop.start({ jobs: false });
  const request = placeRequest([{ productId, quantity: 3 }]);
  await service.sagas.close();
  const placed = { id: bodyOf(await sleepy.checkout.place(request)).id, userId: request.userId };
  const response = await sleepy.checkout.cancel(cancelRequest(placed));
  expect(response).toMatchObject({ status: 202 });
  expect(bodyOf(response)).toMatchObject({ status: 'pending', paymentStatus: 'pending', cancelReason: null });
  sleepy.sagas.start();
  await shop.settle();
  expect(await shop.order(placed.id)).toMatchObject({
    status: 'cancelled',
    paymentStatus: 'pending',
    cancelReason: 'customer',
  });
  expect(chargesOf(placed.id)).toEqual([]);
  expect(available()).toBe(10);
});

it('cancels and refunds when the charge was under way', async () => {
  let proceed: () => void;
  let begun: () => void;
  const charging = new Promise<void>((resolve) => (begun = resolve));
  const answered = new Promise<void>((resolve) => (proceed = resolve));
  shop.payment.beforeAnswer = () => {
    begun();
    return answered;
  };
  const placed = await order('tok_ok');
  await charging;
  expect(await service.checkout.cancel(cancelRequest(placed, 'admin'))).toMatchObject({ status: 202 });
  expect(await service.checkout.cancel(cancelRequest(placed))).toMatchObject({ status: 202 });
  proceed!();
  await shop.settle();
  expect(await shop.order(placed.id)).toMatchObject({
    status: 'cancelled',
    paymentStatus: 'refunded',
    cancelReason: 'admin',
  });
  expect(await typesOf(placed.id)).toEqual(['placed', 'paid', 'cancelled', 'refund-requested', 'refunded']);
  expect(available()).toBe(10);
});

it('cancels at the latest when the payment time is over, and refunds what turns out to be charged', async () => {
  shop.payment.beforeAnswer = () => {
    shop.payment.down = true;
    return new Promise(() => undefined);
  };
  const placed = await order('tok_ok');
  await eventually(() => expect(shop.payment.down).toBe(true));
  await service.checkout.cancel(cancelRequest(placed));
  await eventually(async () => {
    shop.clock.advance(10_000);
    expect(await shop.order(placed.id)).toMatchObject({ status: 'cancelled', cancelReason: 'customer' });
  }, 20_000);
  shop.payment.down = false;
  await shop.settle();
  expect(await shop.order(placed.id)).toMatchObject({ paymentStatus: 'refunded' });
  expect(refundsOf(placed.id)).toHaveLength(1);
});

it("does not tell another user's order from one that does not exist", async () => {
  const placed = await order('tok_ok');
  const stranger = cancelRequest({ ...placed, userId: placed.id });
  await expect(service.checkout.cancel(stranger)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await service.checkout.cancel({ ...stranger, by: 'admin' })).toMatchObject({
    status: expect.any(Number),
  });
  await shop.settle();
});

it('gives each due row to one worker only, and to another when its lease has run out', async () => {
  await service.sagas.close();
  const sleepy = shop.start({ jobs: false });
  const ids = await Promise.all(
    Array.from(
      { length: 3 },
      async () => bodyOf(await sleepy.checkout.place(placeRequest([{ productId, quantity: 1 }]))).id,
    ),
  );
  const take = () => takeDueSagas(shop.test.db, { nowMs: shop.clock.now(), leaseMs: 30_000, limit: 2 });
  const taken = (await Promise.all([take(), take(), take()])).flat();
  expect(taken.map((saga) => saga.orderId).sort()).toEqual([...ids].sort());
  expect(await takeSaga(shop.test.db, ids[0]!, { nowMs: shop.clock.now(), leaseMs: 1 })).toBeUndefined();
  shop.clock.advance(30_000);
  expect(await take()).toMatchObject([
    { epoch: 2n, attempt: 2 },
    { epoch: 2n, attempt: 2 },
  ]);
  shop.clock.advance(30_000);
  sleepy.sagas.start();
  await shop.settle();
});

it('does not let a worker whose lease has run out write its outcome', async () => {
  let proceed: () => void;
  let begun: () => void;
  const charging = new Promise<void>((resolve) => (begun = resolve));
  const answered = new Promise<void>((resolve) => (proceed = resolve));
  shop.payment.beforeAnswer = () => {
    begun();
    return answered;
  };
  const frozen = await order('tok_ok');
  await charging;
  shop.clock.advance(30_001);
  const successor = shop.start();
  await eventually(async () =>
    expect(await shop.order(frozen.id)).toMatchObject({ status: 'confirmed', version: 3n }),
  );
  proceed!();
  await service.stop();
  await successor.stop();
  expect(await typesOf(frozen.id)).toEqual(['placed', 'paid', 'confirmed']);
});

it('keeps no card token once the payment is decided', async () => {
  const { id } = await order('tok_down');
  shop.payment.down = true;
  const tokens = () =>
    shop.test.db.rows(sql('test.tokens')`select payment_token from order_sagas where order_id = ${id}`);
  expect(await tokens()).toEqual([{ payment_token: 'tok_down' }]);
  await eventually(async () => {
    shop.clock.advance(10_000);
    expect(await tokens()).toEqual([{ payment_token: null }]);
  }, 20_000);
  shop.payment.down = false;
  await shop.settle();
});
