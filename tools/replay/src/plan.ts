import type { Sale } from './sales-file';

/** The API's limits of one order. */
export const MOST_LINES = 1_000;
/** The API's limit of units of one product in one order. */
export const MOST_UNITS = 9_999;
/** The customer to whom rows without one belong; no id in a file can be this. */
export const COUNTER = '(counter)';

/** A product of the file: name and price are those of its latest sale. */
export interface PlannedProduct {
  stockCode: string;
  name: string;
  priceMinor: bigint;
  /** Units of all its sales. */
  units: number;
}

/** One checkout. */
export interface PlannedOrder {
  /** Unique in the file: the invoice's number, and for further parts of a split invoice `/2`, `/3`... */
  name: string;
  invoice: string;
  customer: string;
  country: string;
  atMs: number;
  /** One line per product. */
  lines: Array<{ stockCode: string; quantity: number }>;
}

/** All that a file asks of a shop. */
export interface Plan {
  products: PlannedProduct[];
  customers: string[];
  /** By time; those of one minute in the order of the file. */
  orders: PlannedOrder[];
  /** Invoices that are more than one order, since an order has limits. */
  split: Array<{ invoice: string; orders: number }>;
  /** What the file itself took for each invoice, at its prices of the time. */
  invoices: Map<string, { atMs: number; revenueMinor: bigint }>;
}

/** Turns sales into what has to be made and ordered. Nothing is left out: units of the orders = units of the sales. */
export function planOf(sales: readonly Sale[]): Plan {
  const products = new Map<string, PlannedProduct & { atMs: number }>();
  const invoices = new Map<string, { sales: Sale[]; atMs: number; revenueMinor: bigint }>();
  for (const sale of sales) {
    const product = products.get(sale.stockCode);
    const latest = {
      stockCode: sale.stockCode,
      name: sale.description,
      priceMinor: sale.unitPriceMinor,
      atMs: sale.atMs,
    };
    if (!product) products.set(sale.stockCode, { ...latest, units: sale.quantity });
    else
      Object.assign(product, sale.atMs >= product.atMs ? latest : {}, {
        units: product.units + sale.quantity,
      });

    const invoice = invoices.get(sale.invoice) ?? { sales: [], atMs: sale.atMs, revenueMinor: 0n };
    invoice.sales.push(sale);
    invoice.atMs = Math.min(invoice.atMs, sale.atMs);
    invoice.revenueMinor += sale.unitPriceMinor * BigInt(sale.quantity);
    invoices.set(sale.invoice, invoice);
  }
  const orders: PlannedOrder[] = [];
  const split: Plan['split'] = [];
  for (const [invoice, { sales: rows, atMs }] of invoices) {
    const { customer = COUNTER, country } = rows[0]!;
    const parts = splitLines(mergeLines(rows));
    if (parts.length > 1) split.push({ invoice, orders: parts.length });
    parts.forEach((lines, index) =>
      orders.push({
        name: index === 0 ? invoice : `${invoice}/${index + 1}`,
        invoice,
        customer,
        country,
        atMs,
        lines,
      }),
    );
  }
  orders.sort((a, b) => a.atMs - b.atMs);
  return {
    products: [...products.values()].map(({ atMs: _atMs, ...product }) => product),
    customers: [...new Set(orders.map((order) => order.customer))],
    orders,
    split,
    invoices: new Map(
      [...invoices].map(([invoice, { atMs, revenueMinor }]) => [invoice, { atMs, revenueMinor }]),
    ),
  };
}

/** One line per product, in the order in which the products come first. */
export function mergeLines(
  rows: ReadonlyArray<{ stockCode: string; quantity: number }>,
): PlannedOrder['lines'] {
  const units = new Map<string, number>();
  for (const { stockCode, quantity } of rows) units.set(stockCode, (units.get(stockCode) ?? 0) + quantity);
  return [...units].map(([stockCode, quantity]) => ({ stockCode, quantity }));
}

/** Lines of one invoice as orders that keep the limits, each with a product at most once. Mostly one. */
export function splitLines(
  lines: PlannedOrder['lines'],
  limits = { lines: MOST_LINES, units: MOST_UNITS },
): Array<PlannedOrder['lines']> {
  const orders: Array<PlannedOrder['lines']> = [];
  let rest = lines;
  while (rest.length > 0) {
    const order = rest
      .slice(0, limits.lines)
      .map((line) => ({ ...line, quantity: Math.min(line.quantity, limits.units) }));
    orders.push(order);
    rest = rest
      .map((line, index) => ({ ...line, quantity: line.quantity - (order[index]?.quantity ?? 0) }))
      .filter((line) => line.quantity > 0);
  }
  return orders;
}

/**
 * When each order is due, in milliseconds after the start: the gaps of the file, `speed` times faster. Whoever is late has no
 * influence on who is due next (an open loop), so a slow shop cannot slow the load down.
 */
export function schedule(orders: readonly PlannedOrder[], speed: number): number[] {
  const first = orders[0]?.atMs ?? 0;
  return orders.map((order) => (order.atMs - first) / speed);
}
