import { sql, type Statement } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { openOrderShop, type OrderShop } from '../test/order-shop';
import { makePartitionOf, makePartitionsAhead } from './jobs';
import { place, type Order } from './order';
import {
  deleteExpiredKeys,
  findOrder,
  findOrderStatement,
  insertClaim,
  insertOrder,
  isMissingPartition,
  listChangedOrders,
  updateOrder,
} from './repository';

jest.setTimeout(60_000);

let shop: OrderShop;
beforeAll(async () => {
  shop = await openOrderShop();
});
afterAll(() => shop.close());

/** An order placed at that moment. */
function orderAt(atMs: number, userId = uuidv7()): Order {
  return place({
    id: uuidv7(atMs),
    userId,
    currency: 'EUR',
    items: [{ productId: uuidv7(), sku: 'A', name: 'A', quantity: 2, unitPriceMinor: 2n ** 53n + 1n }],
    shippingAddress: {
      name: 'A',
      line1: 'B',
      line2: '',
      postalCode: '1',
      city: 'C',
      region: '',
      country: 'DE',
    },
    atMs,
  }).order;
}

const plan = async (statement: Statement): Promise<string> => {
  const rows = await shop.test.db.rows<{ 'QUERY PLAN': string }>({
    ...statement,
    text: `explain ${statement.text}`,
  });
  return rows.map((row) => row['QUERY PLAN']).join('\n');
};

it('gives back an order exactly as it was written', async () => {
  const order = orderAt(shop.clock.now());
  await insertOrder(shop.test.db, order);
  expect(await findOrder(shop.test.db, order.id)).toEqual(order);
});

it('puts an order into the month of its id, to the millisecond', async () => {
  const february = Date.UTC(2026, 1, 1);
  const tableOf = async (order: Order) => {
    await insertOrder(shop.test.db, order);
    const row = await shop.test.db.row<{ name: string }>(
      sql('test.table')`select tableoid::regclass::text as name from orders where id = ${order.id}`,
    );
    return row?.name;
  };
  expect(await tableOf(orderAt(february - 1))).toBe('orders_2026_01');
  expect(await tableOf(orderAt(february))).toBe('orders_2026_02');
});

it('looks an order up in the partition of its month alone', async () => {
  const text = await plan(findOrderStatement(uuidv7(Date.UTC(2026, 1, 10))));
  expect(text).toContain('orders_2026_02_pkey');
  expect(text).not.toMatch(/orders_2026_0[13]/);
});

it('makes the partitions of this month and the next two, in any number of processes at once', async () => {
  const now = Date.UTC(2031, 10, 30);
  const made = await Promise.all([1, 2, 3].map(() => makePartitionsAhead(shop.test.db, now)));
  expect(made.reduce((sum, each) => sum + each, 0)).toBe(3);
  for (const month of [10, 11, 12]) await insertOrder(shop.test.db, orderAt(Date.UTC(2031, month, 1)));
  expect(await makePartitionsAhead(shop.test.db, now)).toBe(0);
});

it('refuses an order of a month without partition, and takes it once the partition is made, also of a past month', async () => {
  const order = orderAt(Date.UTC(2019, 3, 30, 23, 59, 59, 999));
  const refusal = await insertOrder(shop.test.db, order).catch((error: unknown) => error);
  expect(isMissingPartition(refusal)).toBe(true);
  expect(await makePartitionOf(shop.test.db, Date.UTC(2019, 3, 1))).toBe(true);
  await insertOrder(shop.test.db, order);
  expect(isMissingPartition(new Error('no partition of relation'))).toBe(false);
});

it('keeps history from before this system by the year, and that of the last century together', async () => {
  const tableOf = async (atMs: number) => {
    const order = orderAt(atMs);
    await makePartitionOf(shop.test.db, atMs);
    await insertOrder(shop.test.db, order);
    const row = await shop.test.db.row<{ name: string }>(
      sql('test.table')`select tableoid::regclass::text as name from orders where id = ${order.id}`,
    );
    return row?.name;
  };
  expect(await tableOf(0)).toBe('orders_1970');
  expect(await tableOf(Date.UTC(2000, 0, 1) - 1)).toBe('orders_1970');
  expect(await tableOf(Date.UTC(2000, 0, 1))).toBe('orders_2000');
  expect(await tableOf(Date.UTC(2025, 0, 1))).toBe('orders_2025');
  expect(await tableOf(Date.UTC(2026, 0, 1) - 1)).toBe('orders_2025');
  expect(await tableOf(Date.UTC(2026, 0, 1))).toBe('orders_2026_01');
});

it('writes a new state only over the version that it was decided from', async () => {
  const order = orderAt(shop.clock.now());
  await insertOrder(shop.test.db, order);
  const next: Order = { ...order, paymentStatus: 'paid', version: 2n };
  expect(await updateOrder(shop.test.db, 1n, next)).toBe(true);
  expect(await updateOrder(shop.test.db, 1n, { ...next, paymentStatus: 'declined' })).toBe(false);
  expect(await findOrder(shop.test.db, order.id)).toMatchObject({ paymentStatus: 'paid' });
});

it("lists a user's changed orders over all months, newest first, without gap or repetition between pages", async () => {
  const userId = uuidv7();
  const orders = Array.from({ length: 7 }, (_, index) =>
    orderAt(Date.UTC(2026, index % 3, 1 + index), userId),
  );
  for (const order of orders) await insertOrder(shop.test.db, order);
  await insertOrder(shop.test.db, orderAt(shop.clock.now()));
  const newestFirst = orders.map((order) => order.id).sort((a, b) => (a < b ? 1 : -1));
  const listed: string[] = [];
  for (let afterId: string | undefined; ; afterId = listed.at(-1)) {
    const page = await listChangedOrders(shop.test.db, { userId, sinceMs: 0, afterId, limit: 3 });
    listed.push(...page.map((order) => order.id));
    if (page.length < 3) break;
  }
  expect(listed).toEqual(newestFirst);
  const sinceMs = Date.UTC(2026, 1, 1);
  const recent = await listChangedOrders(shop.test.db, { userId, sinceMs, afterId: undefined, limit: 10 });
  expect(recent.map((order) => order.id)).toEqual(
    newestFirst.filter((id) => orders.find((order) => order.id === id)!.updatedAtMs >= sinceMs),
  );
});

it("reads a user's orders and due sagas by index", async () => {
  await shop.test.db.execute(sql('test.fill')`
    insert into orders (id, user_id, status, payment_status, items, currency, total_minor, shipping_address, version, updated_at)
    select (substr(uuid_floor('2026-02-01'::timestamptz + n * interval '1 minute')::text, 1, 14) || '7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
      ('00000000-0000-7000-8000-' || lpad(to_hex(n / 100), 12, '0'))::uuid, 'confirmed', 'paid', '[]', 'EUR', 1, '{}', 3,
      '2026-02-01'::timestamptz + n * interval '1 minute'
    from generate_series(1, 20000) n`);
  await shop.test.db.execute(sql('test.fill-sagas')`
    insert into order_sagas (order_id, step, due_at, deadline_at)
    select gen_random_uuid(), 'settle', '2040-01-01'::timestamptz + n * interval '1 second', '2040-01-01'
    from generate_series(1, 20000) n`);
  await shop.test.db.execute(sql('test.analyze')`analyze orders; analyze order_sagas`);
  const userId = '00000000-0000-7000-8000-000000000005';
  const list = await plan(sql('test.list')`
    select * from orders where user_id = ${userId} order by id desc limit 20`);
  const changed = await plan(sql('test.changed')`
    select * from orders where user_id = ${userId} and updated_at >= ${new Date(Date.UTC(2026, 1, 14))}
    order by id desc limit 20`);
  const due = await plan(sql('test.due')`
    select order_id from order_sagas where due_at <= ${new Date(Date.UTC(2040, 0, 1))}
      and lease_until <= ${new Date(Date.UTC(2040, 0, 1))} order by due_at limit 64 for update skip locked`);
  for (const text of [list, changed, due]) expect(text).not.toContain('Seq Scan on orders_2026_02');
  expect(list).toMatch(/orders_2026_02_user_id_id_idx/);
  expect(due).toMatch(/order_sagas_due/);
  expect(due).not.toContain('Seq Scan');
  await shop.test.db.execute(sql('test.clear')`delete from order_sagas`);
});

it('deletes expired keys in batches and no others', async () => {
  const now = shop.clock.now();
  for (let index = 0; index < 12; index += 1)
    await insertClaim(shop.test.db, {
      userId: uuidv7(),
      scope: 'POST /v1/orders',
      key: `key-${index}`,
      orderId: uuidv7(),
      attempt: 1,
      fingerprint: Buffer.alloc(32),
      cartVersion: null,
      leaseUntilMs: now,
      expiresAtMs: index < 7 ? now : now + 1,
    });
  expect(await deleteExpiredKeys(shop.test.db, now, 5)).toBe(5);
  expect(await deleteExpiredKeys(shop.test.db, now, 5)).toBe(2);
  expect(await deleteExpiredKeys(shop.test.db, now, 5)).toBe(0);
  expect(await deleteExpiredKeys(shop.test.db, now + 1, 100)).toBe(5);
});
