import { sql } from '@headroom/postgres';
import { eventually } from '@headroom/testing';
import { bodyOf, openOrderShop, placeRequest, type Death, type OrderShop } from '../test/order-shop';

jest.setTimeout(120_000);

/**
 * A process dies around every single call that it makes to its database or another system, one run per call; another one
 * takes over. Whatever was on the way must come to the same end.
 */
let shop: OrderShop;
beforeAll(async () => {
  shop = await openOrderShop({ paymentTimeoutMs: 150 }); // short, since many runs wait for it; an early one is a failure more
});
afterAll(() => shop.close());

/** One run: gives the process that may die, and the one that takes over; returns false when nobody died. */
type Run = (death: Death) => Promise<boolean>;

async function everyDeath(run: Run): Promise<number> {
  let deaths = 0;
  for (const when of ['before', 'after'] as const)
    for (let at = 1; await run({ at, when }); at += 1) deaths += 1;
  return deaths;
}

const unfinished = async () =>
  (await shop.test.db.rows(sql('test.sagas')`select 1 from order_sagas`)).length > 0;

/** Moves time on until the process has died, or its work is done. */
const untilDeadOrDone = (process: { dead(): boolean }, started: () => boolean) =>
  eventually(async () => {
    if (process.dead()) return;
    shop.clock.advance(500);
    if (!started() || (await unfinished())) throw new Error('still at work');
  });

it.each([
  ['tok_ok', 'confirmed'],
  ['tok_timeout_charged', 'confirmed'],
  ['tok_declined', 'cancelled'],
])('places and pays an order exactly once wherever a process dies (%s)', async (paymentToken, status) => {
  const deaths = await everyDeath(async (death) => {
    const productId = shop.addProduct({ available: 7 });
    const request = placeRequest([{ productId, quantity: 2 }], { paymentToken });
    const dying = shop.start({ death });
    let answered = false;
    void dying.checkout.place(request).then(() => (answered = true));
    await untilDeadOrDone(dying, () => answered);
    const survivor = shop.start();
    const response = await eventually(() => {
      shop.clock.advance(1_000);
      return survivor.checkout.place(request);
    });
    await shop.settle();

    const orders = await shop.test.db.rows<{ id: string }>(
      sql('test.orders')`select id from orders where user_id = ${request.userId}`,
    );
    expect(orders).toEqual([{ id: bodyOf(response).id }]);
    const order = await shop.order(bodyOf(response).id);
    expect(order.status).toBe(status);
    const versions = (await shop.events(order.id)).map((event) => event.aggregateversion);
    expect(versions).toEqual(Array.from({ length: Number(order.version) }, (_, index) => index + 1));
    expect(shop.payment.charges.filter((charge) => charge.orderId === order.id)).toHaveLength(1);
    expect(shop.catalog.products.get(productId)!.available).toBe(status === 'confirmed' ? 5 : 7);
    const died = dying.dead();
    await dying.stop();
    await survivor.stop();
    return died;
  });
  expect(deaths).toBeGreaterThan(15);
});

it('cancels and refunds a confirmed order exactly once wherever a process dies', async () => {
  const deaths = await everyDeath(async (death) => {
    const productId = shop.addProduct({ available: 7 });
    const request = placeRequest([{ productId, quantity: 2 }]);
    const survivor = shop.start();
    const { id } = bodyOf(await survivor.checkout.place(request));
    await shop.settle();
    await survivor.stop();

    const cancellation = { ...request, key: `cancel-${id}`, orderId: id, by: 'customer' as const };
    const dying = shop.start({ death });
    let answered = false;
    void dying.checkout.cancel(cancellation).then(() => (answered = true));
    await untilDeadOrDone(dying, () => answered);
    const successor = shop.start();
    const response = await successor.checkout.cancel(cancellation);
    expect(bodyOf(response)).toMatchObject({ status: 'cancelled', paymentStatus: 'refund_pending' });
    await shop.settle();

    expect(await shop.order(id)).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'refunded',
      cancelReason: 'customer',
      version: 6n,
    });
    expect((await shop.events(id)).map((event) => event.aggregateversion)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(shop.payment.refunds.filter((refund) => refund.orderId === id)).toHaveLength(1);
    expect(shop.catalog.products.get(productId)!.available).toBe(7);
    const died = dying.dead();
    await dying.stop();
    await successor.stop();
    return died;
  });
  expect(deaths).toBeGreaterThan(10);
});
