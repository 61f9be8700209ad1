import { COUNTER, MOST_LINES } from './plan';
import type { Sale } from './sales-file';

/** The API's limit of units on one line of an imported order. */
const MOST_UNITS_IMPORTED = 99_999;

/** An invoice as the import of orders takes it: one line of its NDJSON. */
export interface HistoryOrder {
  externalId: string;
  email?: string;
  placedAt: string;
  items: Array<{ sku: string; quantity: number; unitPrice: { amountMinor: number; currency: string } }>;
}

/** What was sold on one day, by UTC. Amounts are minor units. */
export interface DaySales {
  invoices: number;
  lines: number;
  orders: number;
  units: number;
  revenueMinor: bigint;
}

export interface History {
  orders: HistoryOrder[];
  days: Map<string, DaySales>;
  /** Invoices that are more than one order, since an order has limits. */
  split: Array<{ invoice: string; orders: number }>;
}

export const emptyDaySales = (): DaySales => ({
  invoices: 0,
  lines: 0,
  orders: 0,
  units: 0,
  revenueMinor: 0n,
});

/** The e-mail of a customer of the file in the shop. */
export const emailOf = (customer: string): string =>
  `${customer === COUNTER ? 'counter' : `customer-${customer}`}@replay.example`;

/**
 * Turns sales into orders with their own dates and prices, line by line; nothing is merged or left out. An invoice is of the
 * time of its first row. Sales at the counter belong to nobody.
 */
export function historyOf(sales: readonly Sale[], options: { currency: string; skuPrefix: string }): History {
  const { currency, skuPrefix } = options;
  const invoices = new Map<string, Sale[]>();
  for (const sale of sales) {
    const rows = invoices.get(sale.invoice);
    if (rows) rows.push(sale);
    else invoices.set(sale.invoice, [sale]);
  }
  const history: History = { orders: [], days: new Map(), split: [] };
  for (const [invoice, rows] of invoices) {
    const placedAt = new Date(Math.min(...rows.map(({ atMs }) => atMs))).toISOString();
    const day = history.days.get(placedAt.slice(0, 10)) ?? emptyDaySales();
    history.days.set(placedAt.slice(0, 10), day);
    const items = rows.flatMap(({ stockCode, quantity, unitPriceMinor }) =>
      inParts(quantity).map((part) => ({
        sku: `${skuPrefix}${stockCode}`,
        quantity: part,
        unitPrice: { amountMinor: Number(unitPriceMinor), currency },
      })),
    );
    const parts = Math.ceil(items.length / MOST_LINES);
    for (let part = 0; part < parts; part += 1)
      history.orders.push({
        externalId: `${skuPrefix}${invoice}${part === 0 ? '' : `/${part + 1}`}`,
        ...(rows[0]!.customer === undefined ? {} : { email: emailOf(rows[0]!.customer) }),
        placedAt,
        items: items.slice(part * MOST_LINES, (part + 1) * MOST_LINES),
      });
    if (parts > 1) history.split.push({ invoice, orders: parts });
    day.invoices += 1;
    day.orders += parts;
    day.lines += rows.length;
    for (const { quantity, unitPriceMinor } of rows) {
      day.units += quantity;
      day.revenueMinor += unitPriceMinor * BigInt(quantity);
    }
  }
  return history;
}

function inParts(quantity: number): number[] {
  const parts = Array.from({ length: Math.floor(quantity / MOST_UNITS_IMPORTED) }, () => MOST_UNITS_IMPORTED);
  const rest = quantity % MOST_UNITS_IMPORTED;
  return rest > 0 ? [...parts, rest] : parts;
}
