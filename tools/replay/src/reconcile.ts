import type { Listed, Payments, Placed } from './checkouts';
import type { Plan, PlannedOrder } from './plan';
import type { ShopOrder, ShopProduct } from './shop';

/** What one day of the file asked for, and what the shop and the provider have for it. Amounts are minor units. */
export interface Day {
  day: string;
  invoices: number;
  /** Orders that the day's invoices make. */
  ordersOfFile: number;
  /** Of those, confirmed in the shop. */
  ordersOfShop: number;
  unitsOfFile: number;
  unitsOfShop: number;
  /** Quantity x the price in the catalog. */
  expectedMinor: bigint;
  /** Charges less refunds. */
  chargedMinor: bigint;
  /** Quantity x the price of the time: a known difference, since a product has one price here. */
  fileRevenueMinor: bigint;
}

/** The verdict is the number of differences: none means that the shop did what the file says. */
export interface Reconciliation {
  days: Day[];
  total: Day;
  /** Each names its invoice and what differs. */
  differences: string[];
}

/** All that is compared. */
export interface Evidence {
  plan: Plan;
  products: ReadonlyMap<string, ShopProduct>;
  placed: readonly Placed[];
  /** Last states by order id. */
  orders: ReadonlyMap<string, ShopOrder>;
  /** What the histories of the customers show since the first order of the run. */
  listed: readonly Listed[];
  payments: ReadonlyMap<string, Payments>;
}

/** Compares the file with the shop and the payment provider, order by order and day by day. Pure. */
export function reconcile(evidence: Evidence): Reconciliation {
  const { plan, products, placed, orders, listed, payments } = evidence;
  const differences: string[] = [];
  const days = new Map<string, Day>();
  const dayOf = (atMs: number) => {
    const day = new Date(atMs).toISOString().slice(0, 10);
    if (!days.has(day)) days.set(day, emptyDay(day));
    return days.get(day)!;
  };

  for (const { atMs, revenueMinor } of plan.invoices.values()) {
    const day = dayOf(atMs);
    day.invoices += 1;
    day.fileRevenueMinor += revenueMinor;
  }
  const results = new Map(placed.map((each) => [each.order.name, each]));
  for (const planned of plan.orders) {
    const day = dayOf(planned.atMs);
    const expectedMinor = totalAt(planned, products);
    day.ordersOfFile += 1;
    day.unitsOfFile += unitsOf(planned.lines);
    day.expectedMinor += expectedMinor;

    const result = results.get(planned.name);
    if (!result || 'refused' in result) {
      differences.push(`invoice ${planned.name}: not placed: ${result?.refused ?? 'never tried'}`);
      continue;
    }
    const order = orders.get(result.id);
    const paid = payments.get(result.id) ?? { charges: 0, chargedMinor: 0n, refundedMinor: 0n };
    day.chargedMinor += paid.chargedMinor - paid.refundedMinor;
    if (order?.status === 'confirmed') {
      day.ordersOfShop += 1;
      day.unitsOfShop += unitsOf(order.items);
    }
    for (const what of orderDifferences(planned, order, paid, expectedMinor, products))
      differences.push(`invoice ${planned.name}, order ${result.id}: ${what}`);
  }

  const ids = placed.flatMap((each) => ('id' in each ? [each.id] : []));
  const own = new Set(ids);
  if (own.size < ids.length)
    differences.push(`${ids.length - own.size} checkouts were answered with the order of another one`);
  const seen = new Map<string, number>();
  for (const { id } of listed) seen.set(id, (seen.get(id) ?? 0) + 1);
  for (const id of own)
    if (seen.get(id) !== 1)
      differences.push(`order ${id} stands ${seen.get(id) ?? 0} times in its customer's history`);
  for (const { id, customer } of listed)
    if (!own.has(id))
      differences.push(`order ${id} of customer ${customer} was placed by no checkout of this run`);

  const sorted = [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
  return { days: sorted, total: sumOf(sorted), differences };
}

function orderDifferences(
  planned: PlannedOrder,
  order: ShopOrder | undefined,
  paid: Payments,
  expectedMinor: bigint,
  products: ReadonlyMap<string, ShopProduct>,
): string[] {
  if (!order) return ['cannot be read'];
  if (order.status !== 'confirmed' || order.paymentStatus !== 'paid')
    return [
      `is ${order.status}${order.cancelReason ? ` (${order.cancelReason})` : ''}, payment ${order.paymentStatus}, charged ${paid.chargedMinor - paid.refundedMinor}`,
    ];
  const found: string[] = [];
  const units = new Map<string, number>();
  for (const item of order.items) units.set(item.productId, (units.get(item.productId) ?? 0) + item.quantity);
  for (const { stockCode, quantity } of planned.lines) {
    const id = products.get(stockCode)!.id;
    if (units.get(id) !== quantity)
      found.push(`has ${units.get(id) ?? 0} units of ${stockCode}, the file has ${quantity}`);
    units.delete(id);
  }
  for (const [id, quantity] of units) found.push(`has ${quantity} units of product ${id}, the file has none`);
  if (BigInt(order.total.amountMinor) !== expectedMinor)
    found.push(`totals ${order.total.amountMinor}, quantity x catalog price is ${expectedMinor}`);
  if (paid.charges !== 1) found.push(`was charged ${paid.charges} times`);
  if (paid.chargedMinor - paid.refundedMinor !== expectedMinor)
    found.push(
      `was charged ${paid.chargedMinor} and refunded ${paid.refundedMinor}, quantity x catalog price is ${expectedMinor}`,
    );
  return found;
}

/** Quantity x the catalog's price, in minor units. */
export function totalAt(order: PlannedOrder, products: ReadonlyMap<string, ShopProduct>): bigint {
  return order.lines.reduce(
    (sum, { stockCode, quantity }) =>
      sum + BigInt(quantity) * BigInt(products.get(stockCode)!.price.amountMinor),
    0n,
  );
}

function unitsOf(lines: ReadonlyArray<{ quantity: number }>): number {
  return lines.reduce((sum, { quantity }) => sum + quantity, 0);
}

function emptyDay(day: string): Day {
  return {
    day,
    invoices: 0,
    ordersOfFile: 0,
    ordersOfShop: 0,
    unitsOfFile: 0,
    unitsOfShop: 0,
    expectedMinor: 0n,
    chargedMinor: 0n,
    fileRevenueMinor: 0n,
  };
}

function sumOf(days: readonly Day[]): Day {
  const total = emptyDay('total');
  for (const day of days) {
    total.invoices += day.invoices;
    total.ordersOfFile += day.ordersOfFile;
    total.ordersOfShop += day.ordersOfShop;
    total.unitsOfFile += day.unitsOfFile;
    total.unitsOfShop += day.unitsOfShop;
    total.expectedMinor += day.expectedMinor;
    total.chargedMinor += day.chargedMinor;
    total.fileRevenueMinor += day.fileRevenueMinor;
  }
  return total;
}
