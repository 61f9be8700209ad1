import fc from 'fast-check';
import { COUNTER, mergeLines, MOST_UNITS, planOf, schedule, splitLines } from './plan';
import type { Sale } from './sales-file';

const minute = 60_000;
const sale = (values: Partial<Sale> = {}): Sale => ({
  line: 2,
  invoice: '1',
  stockCode: 'A',
  description: 'MUG',
  quantity: 1,
  atMs: 0,
  unitPriceMinor: 100n,
  customer: '7',
  country: 'France',
  ...values,
});

it('makes one order of an invoice, with equal products taken together', () => {
  const { orders, split } = planOf([
    sale({ quantity: 2 }),
    sale({ stockCode: 'B' }),
    sale({ quantity: 3, atMs: minute }),
  ]);
  expect(split).toEqual([]);
  expect(orders).toEqual([
    {
      name: '1',
      invoice: '1',
      customer: '7',
      country: 'France',
      atMs: 0,
      lines: [
        { stockCode: 'A', quantity: 5 },
        { stockCode: 'B', quantity: 1 },
      ],
    },
  ]);
});

it('gives a product the price and name of its latest sale, whatever the order of the file, and units for all', () => {
  const { products } = planOf([
    sale({ unitPriceMinor: 100n, atMs: 2 * minute, description: 'LATE', quantity: 2 }),
    sale({ unitPriceMinor: 90n, atMs: minute, description: 'EARLY', quantity: 5 }),
    sale({ unitPriceMinor: 110n, atMs: 2 * minute, description: 'LAST', invoice: '2' }),
  ]);
  expect(products).toEqual([{ stockCode: 'A', name: 'LAST', priceMinor: 110n, units: 8 }]);
});

it('gives rows without a customer to one named counter customer', () => {
  const { customers, orders } = planOf([
    sale({ customer: undefined }),
    sale({ invoice: '2' }),
    sale({ invoice: '3', customer: undefined }),
    sale({ invoice: '4', customer: 'counter' }),
  ]);
  expect(customers).toEqual([COUNTER, '7', 'counter']);
  expect(orders.map(({ customer }) => customer)).toEqual([COUNTER, '7', COUNTER, 'counter']);
});

it('keeps what the file itself took, invoice by invoice', () => {
  const { invoices } = planOf([
    sale({ quantity: 3, unitPriceMinor: 85n, atMs: minute }),
    sale({ quantity: 2, unitPriceMinor: 90n }),
    sale({ invoice: '2', unitPriceMinor: 1n }),
  ]);
  expect([...invoices]).toEqual([
    ['1', { atMs: 0, revenueMinor: 435n }],
    ['2', { atMs: 0, revenueMinor: 1n }],
  ]);
});

it('splits an invoice that is more than an order may hold, and says so', () => {
  const { orders, split } = planOf([
    sale({ quantity: MOST_UNITS }),
    sale({ quantity: 2 }),
    sale({ stockCode: 'B' }),
  ]);
  expect(split).toEqual([{ invoice: '1', orders: 2 }]);
  expect(orders.map(({ name, lines }) => [name, lines])).toEqual([
    [
      '1',
      [
        { stockCode: 'A', quantity: MOST_UNITS },
        { stockCode: 'B', quantity: 1 },
      ],
    ],
    ['1/2', [{ stockCode: 'A', quantity: 2 }]],
  ]);
});

it('loses no unit and keeps the limits, whatever an invoice holds', () => {
  const limits = { lines: 3, units: 10 };
  const rows = fc.array(
    fc.record({ stockCode: fc.constantFrom(...'ABCDEFGHIJ'), quantity: fc.integer({ min: 1, max: 45 }) }),
    { minLength: 1, maxLength: 30 },
  );
  const units = (lines: ReadonlyArray<{ stockCode: string; quantity: number }>) =>
    Object.fromEntries(mergeLines(lines).map(({ stockCode, quantity }) => [stockCode, quantity]));
  fc.assert(
    fc.property(rows, (invoice) => {
      const orders = splitLines(mergeLines(invoice), limits);
      expect(units(orders.flat())).toEqual(units(invoice));
      for (const lines of orders) {
        expect(lines.length).toBeGreaterThan(0);
        expect(lines.length).toBeLessThanOrEqual(limits.lines);
        expect(new Set(lines.map(({ stockCode }) => stockCode)).size).toBe(lines.length);
        for (const { quantity } of lines) {
          expect(quantity).toBeGreaterThan(0);
          expect(quantity).toBeLessThanOrEqual(limits.units);
        }
      }
    }),
  );
});

it('plans orders by time with the gaps of the file, so many times shorter', () => {
  const { orders } = planOf([
    sale({ invoice: '2', atMs: 15 * minute }),
    sale({ invoice: '1', atMs: 10 * minute }),
    sale({ invoice: '3', atMs: 15 * minute }),
    sale({ invoice: '4', atMs: 60 * minute }),
  ]);
  expect(orders.map(({ name }) => name)).toEqual(['1', '2', '3', '4']);
  expect(schedule(orders, 500)).toEqual([0, 600, 600, 6_000]);
  expect(schedule([], 500)).toEqual([]);
});
