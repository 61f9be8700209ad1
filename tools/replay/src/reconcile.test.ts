import type { Placed } from './checkouts';
import { planOf } from './plan';
import { reconcile, type Evidence } from './reconcile';
import { badRowLines, formatMinor, percentile, reconciliationTable, timings } from './report';
import type { Sale } from './sales-file';
import type { ShopOrder, ShopProduct } from './shop';

const DAY = 86_400_000;
const sale = (values: Partial<Sale>): Sale => ({
  line: 2,
  invoice: '1',
  stockCode: 'A',
  description: 'MUG',
  quantity: 1,
  atMs: Date.UTC(2010, 11, 1),
  unitPriceMinor: 100n,
  customer: '7',
  country: 'France',
  ...values,
});

/** Two invoices on two days, placed, confirmed and charged as they should be. */
function evidence(): Evidence & { placed: Placed[]; orders: Map<string, ShopOrder> } {
  const plan = planOf([
    sale({ quantity: 2, unitPriceMinor: 90n }),
    sale({ stockCode: 'B', quantity: 3, unitPriceMinor: 50n }),
    sale({ invoice: '2', quantity: 5, atMs: Date.UTC(2010, 11, 1) + DAY }),
  ]);
  const products = new Map<string, ShopProduct>(
    plan.products.map(({ stockCode, priceMinor }) => [
      stockCode,
      {
        id: `product-${stockCode}`,
        sku: stockCode,
        price: { amountMinor: Number(priceMinor), currency: 'GBP' },
        available: 0,
        archived: false,
      },
    ]),
  );
  const order = (id: string, totalMinor: number, items: Array<[string, number]>): ShopOrder => ({
    id,
    status: 'confirmed',
    paymentStatus: 'paid',
    cancelReason: null,
    items: items.map(([stockCode, quantity]) => ({
      productId: `product-${stockCode}`,
      quantity,
      unitPrice: products.get(stockCode)!.price,
    })),
    total: { amountMinor: totalMinor, currency: 'GBP' },
    placedAt: '2026-01-01T00:00:00.000Z',
  });
  return {
    plan,
    products,
    placed: plan.orders.map((planned) => ({
      order: planned,
      id: `order-${planned.name}`,
      placedAt: '2026-01-01T00:00:00.000Z',
      lagMs: 0,
      tookMs: 1,
    })),
    orders: new Map([
      [
        'order-1',
        order('order-1', 350, [
          ['A', 2],
          ['B', 3],
        ]),
      ],
      ['order-2', order('order-2', 500, [['A', 5]])],
    ]),
    listed: [
      { id: 'order-2', customer: '7' },
      { id: 'order-1', customer: '7' },
    ],
    payments: new Map([
      ['order-1', { charges: 1, chargedMinor: 350n, refundedMinor: 0n }],
      ['order-2', { charges: 1, chargedMinor: 500n, refundedMinor: 0n }],
    ]),
  };
}

it('finds no difference where shop and provider have what the file has, day by day', () => {
  const { days, total, differences } = reconcile(evidence());
  expect(differences).toEqual([]);
  expect(days.map(({ day, ordersOfShop, unitsOfShop }) => [day, ordersOfShop, unitsOfShop])).toEqual([
    ['2010-12-01', 1, 5],
    ['2010-12-02', 1, 5],
  ]);
  expect(total).toMatchObject({ invoices: 2, unitsOfFile: 10, expectedMinor: 850n, chargedMinor: 850n });
});

it("keeps the file's own revenue beside it, which is no difference", () => {
  const { total, differences } = reconcile(evidence());
  expect([total.fileRevenueMinor, total.chargedMinor]).toEqual([830n, 850n]);
  expect(differences).toEqual([]);
});

const change = (work: (found: ReturnType<typeof evidence>) => Partial<Evidence>) => (): Evidence => {
  const found = evidence();
  return { ...found, ...work(found) };
};
const withOrder = (values: Partial<ShopOrder>) =>
  change(({ orders }) => ({
    orders: new Map(orders).set('order-1', { ...orders.get('order-1')!, ...values }),
  }));
const withPayments = (charges: number, chargedMinor: bigint, refundedMinor: bigint) =>
  change(({ payments }) => ({
    payments: new Map(payments).set('order-1', { charges, chargedMinor, refundedMinor }),
  }));

it.each<[string, () => Evidence, RegExp]>([
  [
    'an invoice that was refused',
    change(({ placed }) => ({
      placed: [{ order: placed[0]!.order, lagMs: 0, tookMs: 0, refused: '409 OUT_OF_STOCK' }, placed[1]!],
    })),
    /invoice 1: not placed: 409 OUT_OF_STOCK/,
  ],
  [
    'an invoice that was never tried',
    change(({ placed }) => ({ placed: placed.slice(1) })),
    /invoice 1: not placed/,
  ],
  [
    'an order that was cancelled',
    withOrder({ status: 'cancelled', paymentStatus: 'declined', cancelReason: 'payment_declined' }),
    /order order-1: is cancelled \(payment_declined\)/,
  ],
  ['an order that never ended', withOrder({ status: 'pending', paymentStatus: 'pending' }), /is pending/],
  [
    'an order that was lost',
    change(({ orders }) => ({ orders: new Map([...orders].slice(1)) })),
    /cannot be read/,
  ],
  [
    'a unit too few',
    change(({ orders }) => {
      const order = orders.get('order-1')!;
      const items = order.items.map((item, index) => (index === 0 ? { ...item, quantity: 1 } : item));
      return { orders: new Map(orders).set('order-1', { ...order, items }) };
    }),
    /has 1 units of A, the file has 2/,
  ],
  [
    'a product that nobody ordered',
    change(({ orders }) => {
      const order = orders.get('order-1')!;
      const items = [...order.items, { ...order.items[0]!, productId: 'other' }];
      return { orders: new Map(orders).set('order-1', { ...order, items }) };
    }),
    /has 2 units of product other, the file has none/,
  ],
  ['another total', withOrder({ total: { amountMinor: 349, currency: 'GBP' } }), /totals 349/],
  ['a second charge', withPayments(2, 700n, 0n), /was charged 2 times/],
  ['no charge', change(() => ({ payments: new Map() })), /was charged 0 times/],
  ['a refund', withPayments(1, 350n, 1n), /was charged 350 and refunded 1/],
  [
    'an order that no checkout placed',
    change(({ listed }) => ({ listed: [...listed, { id: 'stray', customer: '7' }] })),
    /order stray of customer 7 was placed by no checkout/,
  ],
  [
    'an order that its history does not show',
    change(({ listed }) => ({ listed: listed.slice(1) })),
    /order order-2 stands 0 times/,
  ],
  [
    'two checkouts with one order',
    change(({ placed }) => ({ placed: placed.map((each) => ({ ...each, id: 'order-1' })) })),
    /answered with the order of another one/,
  ],
])('finds %s', (_what, make, expected) => {
  const { differences } = reconcile(make());
  expect(differences.join('\n')).toMatch(expected);
});

describe('the report', () => {
  it('shows a line per day and their sum', () => {
    const lines = reconciliationTable(reconcile(evidence()), 'GBP');
    expect(lines).toHaveLength(5);
    expect(lines[4]).toMatch(/^total +2 +2 +2 +0 +10 +10 +0 +8\.50 +8\.50 +0\.00 +8\.30 +0\.20$/);
    expect(new Set(lines.map((line) => line.length)).size).toBe(1);
  });

  it('counts bad rows by reason, names the first ones and says how many more there are', () => {
    const rows = [1, 2, 3].map((line) => ({ line, reason: 'Quantity is not positive', found: '-1' }));
    expect(badRowLines([{ line: 9, reason: 'other', found: '' }, ...rows], 2)).toEqual([
      '       3  Quantity is not positive',
      '          line 1: "-1"',
      '          line 2: "-1"',
      '          and 1 more; --json lists all',
      '       1  other',
      '          line 9: ""',
    ]);
  });

  it('writes amounts exactly', () => {
    expect(formatMinor(123_456_705n, 'GBP')).toBe('1,234,567.05');
    expect(formatMinor(-5n, 'GBP')).toBe('-0.05');
    expect(formatMinor(1_000n, 'JPY')).toBe('1,000');
  });

  it('takes percentiles by the nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([0.5, 0.99, 1].map((share) => percentile(values, share))).toEqual([50, 99, 100]);
    expect(percentile([], 0.5)).toBe(0);
    expect(timings([])).toEqual({ lagMs: { p50: 0, p99: 0, max: 0 }, tookMs: { p50: 0, p99: 0, max: 0 } });
  });
});
