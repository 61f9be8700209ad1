import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { inParallel, moved, paymentRecords, range, sharedSystem, shopClient, type Order } from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);

const BUYERS = 200;
const UNITS = 20;
const CONCURRENCY = 64;

test('200 buyers racing for the last 20 units buy exactly 20, and the money agrees', async () => {
  const { accessToken: adminToken } = await shop.signIn(system.admin.email, system.admin.password);
  const product = await shop.product(adminToken, { priceMinor: 2_500, onHand: UNITS });
  const buyers = await inParallel(range(BUYERS), 8, () => shop.customer());

  const attempts = buyers.flatMap((buyer) => range(2).map(() => ({ buyer, key: randomUUID() })));
  const began = Date.now();
  const answers = await inParallel(attempts, CONCURRENCY, async ({ buyer, key }) => ({
    buyer,
    key,
    answer: await shop.checkout(buyer.token, [{ productId: product.id, quantity: 1 }], { key }),
  }));
  const seconds = (Date.now() - began) / 1_000;
  const placed = answers.filter(({ answer }) => answer.status === 201);
  const refused = answers.filter(({ answer }) => answer.status !== 201);
  for (const { answer } of refused) expect([answer.status, answer.body.code]).toEqual([409, 'OUT_OF_STOCK']);
  expect(placed).toHaveLength(UNITS);

  const orders = await inParallel(placed, 8, ({ buyer, answer }) =>
    shop.settled(buyer.token, answer.body.id),
  );
  expect(orders.every(({ status }) => status === 'confirmed')).toBe(true);
  expect(new Set(orders.map(({ id }) => id)).size).toBe(UNITS);
  // What a client was told must be all that there is: no order without its 201.
  const histories = await inParallel(buyers, 16, async ({ token }) => {
    const { body } = await shop.request<{ items: Order[] }>('GET', '/v1/orders', { token });
    return body.items.length;
  });
  expect(histories.reduce((sum, count) => sum + count, 0)).toBe(UNITS);

  const ids = new Set(orders.map(({ id }) => id));
  const { charges, refunds } = await paymentRecords(system.payment);
  const ofThese = (records: typeof charges) => records.filter(({ orderId }) => ids.has(orderId));
  const confirmed = orders.reduce((sum, { total }) => sum + total.amountMinor, 0);
  expect(ofThese(charges)).toHaveLength(UNITS);
  expect(moved(ofThese(charges)) - moved(ofThese(refunds))).toBe(confirmed);
  expect(confirmed).toBe(UNITS * 2_500);

  await eventually(async () => {
    const { body } = await shop.request('GET', `/v1/admin/products/${product.id}/stock`, {
      token: adminToken,
    });
    expect(body).toEqual({ onHand: 0, available: 0, held: 0 });
  });
  const { body: ledger } = await shop.request<{ items: Array<{ delta: number; reason: string }> }>(
    'GET',
    `/v1/admin/products/${product.id}/stock/ledger?limit=100`,
    { token: adminToken },
  );
  expect(ledger.items.reduce((sum, { delta }) => sum + delta, 0)).toBe(0);
  expect(ledger.items.filter(({ delta }) => delta < 0).reduce((sum, { delta }) => sum - delta, 0)).toBe(
    UNITS,
  );
  console.log(
    `${attempts.length} checkouts of ${BUYERS} buyers at concurrency ${CONCURRENCY} in ${seconds.toFixed(1)} s: ` +
      `sold ${placed.length} of ${UNITS}, orders ${ids.size} = keys with 201, charges - refunds ${confirmed} = confirmed totals`,
  );
});
