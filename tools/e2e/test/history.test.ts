import { eventually } from '@headroom/testing';
import { randomInt, randomUUID } from 'node:crypto';
import { importFile, ndjson, sharedSystem, shopClient, type components, type Job, type Order } from '../src';

type AdminOrder = components['schemas']['AdminOrder'];
type Sales = components['schemas']['Sales'];
interface Report {
  from: string;
  to: string;
  asOf: string;
  items: Sales[];
}

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const importOrders = (content: string) =>
  importFile(shop, adminToken, { to: 'order-imports', type: 'application/x-ndjson', content });
const ordersOf = async (token: string) =>
  (await shop.request<{ items: Order[] }>('GET', '/v1/orders', { token })).body.items;
const eur = (amountMinor: number) => ({ amountMinor, currency: 'EUR' });
const report = async (query: string) => {
  const { status, body, text } = await shop.request<Report>(
    'GET',
    `/v1/admin/reports/sales?${query}&limit=100`,
    {
      token: adminToken,
    },
  );
  if (status !== 200) throw new Error(`the report answered ${status}: ${text}`);
  return body;
};
const errorsOf = ({ errors }: Job) => errors.map(({ line, code }) => [line, code]);

test('history becomes confirmed orders of their own date, once, and all reports agree about them', async () => {
  // A month that is this test's alone.
  const month = `${randomInt(1971, 2004)}-0${randomInt(1, 10)}`;
  const range = `from=${month}-01&to=${month}-28`;
  const [owner, board, bowl, gone, hit, other] = await Promise.all([
    shop.customer(),
    shop.product(adminToken, { category: 'history/boards', onHand: 5 }),
    shop.product(adminToken, { category: 'history/bowls' }),
    shop.product(adminToken, { category: 'history/boards' }),
    shop.product(adminToken),
    shop.product(adminToken),
  ]);
  await shop.request('DELETE', `/v1/admin/products/${gone.id}`, { token: adminToken });
  const reference = randomUUID();
  const order = (id: string, day: string, items: unknown[], email?: string) => ({
    externalId: `${reference}-${id}`,
    placedAt: `${month}-${day}T23:30:00+02:00`,
    ...(email === undefined ? {} : { email }),
    items,
  });
  const first = order(
    'a',
    '03',
    [
      { sku: board.sku, quantity: 2, unitPrice: eur(150) },
      { sku: board.sku, quantity: 99_999, unitPrice: eur(1) },
      { sku: bowl.sku, quantity: 1, unitPrice: eur(0) },
    ],
    owner.email.toUpperCase(),
  );
  const second = order(
    'b',
    '04',
    [{ sku: gone.sku, quantity: 3, unitPrice: eur(1_000) }],
    'nobody@none.example',
  );
  const dollars = order('c', '04', [
    { sku: bowl.sku, quantity: 4, unitPrice: { amountMinor: 250, currency: 'USD' } },
  ]);
  const lately = new Date(Date.now() - 29 * 86_400_000).toISOString();
  const recent = {
    ...order('r', '01', [
      { sku: hit.sku, quantity: 90_000, unitPrice: eur(1) },
      { sku: other.sku, quantity: 1, unitPrice: eur(1) },
    ]),
    placedAt: lately,
  };
  const future = new Date(Date.now() + 6 * 60_000).toISOString();
  const file = ndjson(
    first,
    second,
    dollars,
    '',
    order('d', '05', [{ sku: `none-${reference}`, quantity: 1, unitPrice: eur(1) }]),
    { ...order('e', '05', [{ sku: bowl.sku, quantity: 1, unitPrice: eur(1) }]), placedAt: future },
    order('f', '05', [
      { sku: bowl.sku, quantity: 1, unitPrice: eur(1) },
      { sku: bowl.sku, quantity: 1, unitPrice: { amountMinor: 1, currency: 'USD' } },
    ]),
    order('g', '05', [{ sku: bowl.sku, quantity: 100_000, unitPrice: eur(1) }]),
    order('h', '05', []),
    { ...order('i', '05', [{ sku: bowl.sku, quantity: 1, unitPrice: eur(1) }]), colour: 'red' },
  );

  const job = await importOrders(file);
  expect(job).toMatchObject({
    type: 'order-import',
    status: 'succeeded',
    processed: 9,
    created: 3,
    rejected: 6,
  });
  expect(errorsOf(job)).toEqual([
    [5, 'SKU_UNKNOWN'],
    [6, 'VALIDATION_FAILED'],
    [7, 'CURRENCY_MIXED'],
    [8, 'VALIDATION_FAILED'],
    [9, 'VALIDATION_FAILED'],
    [10, 'VALIDATION_FAILED'],
  ]);

  expect(await importOrders(ndjson(recent))).toMatchObject({ created: 1 });
  const again = await importOrders(
    ndjson(first, { ...second, items: [...second.items, ...second.items] }, dollars),
  );
  expect(again).toMatchObject({ created: 0, updated: 0, unchanged: 2, rejected: 1 });
  expect(errorsOf(again)).toEqual([[2, 'EXTERNAL_ID_CONFLICT']]);

  // The owner has the order, with the prices of the file, at its own date, also in its id.
  const [mine, ...others] = await ordersOf(owner.token);
  const placedAt = `${month}-03T21:30:00.000Z`;
  expect(others).toEqual([]);
  expect(mine).toMatchObject({
    status: 'confirmed',
    paymentStatus: 'paid',
    cancelReason: null,
    placedAt,
    total: eur(2 * 150 + 99_999),
  });
  expect(
    mine!.items.map(({ productId, quantity, unitPrice }) => [productId, quantity, unitPrice.amountMinor]),
  ).toEqual([
    [board.id, 2, 150],
    [board.id, 99_999, 1],
    [bowl.id, 1, 0],
  ]);
  expect(parseInt(mine!.id.replace('-', '').slice(0, 12), 16)).toBe(Date.parse(placedAt));

  // No stock, no payment, no mail; nothing to cancel.
  const stock = await shop.request('GET', `/v1/admin/products/${board.id}/stock`, { token: adminToken });
  expect(stock.body).toEqual({ onHand: 5, available: 5, held: 0 });
  expect(await shopClient(system.payment).list(`/v1/charges?orderId=${mine!.id}`)).toEqual([]);
  const cancelled = await shop.request('POST', `/v1/orders/${mine!.id}/cancel`, {
    token: owner.token,
    headers: { 'idempotency-key': randomUUID() },
  });
  expect([cancelled.status, cancelled.body['code']]).toEqual([409, 'ORDER_NOT_CANCELLABLE']);

  // By day at once; the sum of the others is the same.
  const day = await eventually(async () => {
    const found = await report(`${range}&by=day`);
    expect(found.items).toEqual([
      { day: `${month}-03`, currency: 'EUR', orders: 1, units: 100_002, revenue: eur(100_299) },
      { day: `${month}-04`, currency: 'EUR', orders: 1, units: 3, revenue: eur(3_000) },
      {
        day: `${month}-04`,
        currency: 'USD',
        orders: 1,
        units: 4,
        revenue: { amountMinor: 1_000, currency: 'USD' },
      },
    ]);
    return found;
  }, 20_000);
  expect(Date.now() - Date.parse(day.asOf)).toBeLessThan(15_000);
  const [byProduct, byCategory] = await eventually(
    () =>
      Promise.all([
        report(`${range}&by=product`).then((found) => {
          expect(
            found.items.map(({ productId, currency, orders, units, revenue }) => [
              productId,
              currency,
              orders,
              units,
              revenue.amountMinor,
            ]),
          ).toEqual(
            [
              [board.id, 'EUR', 1, 100_001, 100_299],
              [bowl.id, 'EUR', 1, 1, 0],
              [bowl.id, 'USD', 1, 4, 1_000],
              [gone.id, 'EUR', 1, 3, 3_000],
            ].sort((a, b) => (`${String(a[0])}${String(a[1])}` < `${String(b[0])}${String(b[1])}` ? -1 : 1)),
          );
          return found;
        }),
        report(`${range}&by=category`).then((found) => {
          expect(
            found.items.map(({ category, currency, units, revenue }) => [
              category,
              currency,
              units,
              revenue.amountMinor,
            ]),
          ).toEqual([
            ['history/boards', 'EUR', 100_004, 103_299],
            ['history/bowls', 'EUR', 1, 0],
            ['history/bowls', 'USD', 4, 1_000],
          ]);
          return found;
        }),
      ]),
    60_000,
  );
  for (const { asOf } of [byProduct, byCategory]) expect(Date.now() - Date.parse(asOf)).toBeLessThan(180_000);

  // What sold in the last 30 days is popular, not what sold more long ago.
  await eventually(async () => {
    const { body } = await shop.request<{ items: Array<{ id: string }> }>(
      'GET',
      '/v1/products?sort=popular&limit=100',
    );
    const ids = body.items.map(({ id }) => id);
    expect(ids[0]).toBe(hit.id);
    expect(ids).toContain(other.id);
    const place = ids.indexOf(board.id); // what does not sell comes last, if at all
    expect(place === -1 || place > ids.indexOf(other.id)).toBe(true);
  }, 60_000);

  const everybody = await shop.list<AdminOrder>('/v1/admin/orders', adminToken);
  expect(everybody.map(({ id }) => id)).toEqual(
    everybody
      .map(({ id }) => id)
      .sort()
      .reverse(),
  );
  const imported = everybody.filter(({ externalId }) => externalId?.startsWith(reference));
  expect(imported.map(({ externalId, userId }) => [externalId, userId]).sort()).toEqual([
    [first.externalId, owner.id],
    [second.externalId, null],
    [dollars.externalId, null],
    [recent.externalId, null],
  ]);
  const mails = await shop.list<{ kind: string }>(
    `/v1/admin/mails?to=${encodeURIComponent(owner.email)}`,
    adminToken,
  );
  expect(mails.map(({ kind }) => kind)).not.toContain('order-confirmation');
}, 120_000);

test('a report wants days of the calendar, the later one second, at most 3,660 apart', async () => {
  const ask = async (query: string) => {
    const { status, text } = await shop.request('GET', `/v1/admin/reports/sales?${query}`, {
      token: adminToken,
    });
    return [status, text] as const;
  };
  for (const [query, named] of [
    ['from=2026-01-01', 'to'],
    ['to=2026-01-01', 'from'],
    ['from=2026-02-30&to=2026-03-01', 'from'],
    ['from=2026-01-02&to=2026-01-02', 'to'],
    ['from=2026-01-02&to=2026-01-01', 'to'],
    ['from=2010-01-01&to=2020-01-10', 'to'],
    ['from=1.1.2026&to=2026-01-09', 'from'],
    ['from=2026-01-01&to=2026-01-09&by=colour', 'by'],
  ] as const) {
    const [status, text] = await ask(query);
    expect([query, status]).toEqual([query, 400]);
    expect(
      (JSON.parse(text) as { errors: Array<{ path: string }> }).errors.map(({ path }) => path),
    ).toContain(named);
  }
  expect((await ask('from=2010-01-01&to=2020-01-09'))[0]).toBe(200); // 3,660 days
});
