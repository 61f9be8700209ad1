import type { Placed } from './checkouts';
import type { ComparedDay } from './history';
import type { Day, Reconciliation } from './reconcile';
import { minorDigits, type BadRow } from './sales-file';

/** Bad rows by reason, the commonest first. */
export function countBadRows(badRows: readonly BadRow[]): Array<{ reason: string; rows: BadRow[] }> {
  const byReason = new Map<string, BadRow[]>();
  for (const row of badRows) byReason.set(row.reason, [...(byReason.get(row.reason) ?? []), row]);
  return [...byReason]
    .map(([reason, rows]) => ({ reason, rows }))
    .sort((a, b) => b.rows.length - a.rows.length);
}

/** Each reason with its count and lines; of many lines the first `most`. */
export function badRowLines(badRows: readonly BadRow[], most = 10): string[] {
  return countBadRows(badRows).flatMap(({ reason, rows }) => [
    `  ${String(rows.length).padStart(6)}  ${reason}`,
    ...rows.slice(0, most).map(({ line, found }) => `          line ${line}: ${JSON.stringify(found)}`),
    ...(rows.length > most ? [`          and ${rows.length - most} more; --json lists all`] : []),
  ]);
}

/** Whole and parts of a currency's unit, e.g. `1,234.05`. */
export function formatMinor(amountMinor: bigint, currency: string): string {
  const digits = minorDigits(currency);
  const text = (amountMinor < 0n ? -amountMinor : amountMinor).toString().padStart(digits + 1, '0');
  const whole = text.slice(0, text.length - digits).replace(/\B(?=(\d{3})+$)/g, ',');
  return `${amountMinor < 0n ? '-' : ''}${whole}${digits > 0 ? `.${text.slice(-digits)}` : ''}`;
}

/** The comparison as a table, a line per day and their sum. */
export function reconciliationTable({ days, total }: Reconciliation, currency: string): string[] {
  const header = [
    ['', 'invoices', 'orders', '', '', 'units', '', '', `charges ${currency}`, '', '', `file's own`, 'known'],
    [
      'day',
      '',
      'file',
      'shop',
      'diff',
      'file',
      'shop',
      'diff',
      'qty x price',
      'charged',
      'diff',
      'revenue',
      'diff',
    ],
  ];
  const money = (amountMinor: bigint) => formatMinor(amountMinor, currency);
  const row = (day: Day) => [
    day.day,
    String(day.invoices),
    String(day.ordersOfFile),
    String(day.ordersOfShop),
    String(day.ordersOfShop - day.ordersOfFile),
    String(day.unitsOfFile),
    String(day.unitsOfShop),
    String(day.unitsOfShop - day.unitsOfFile),
    money(day.expectedMinor),
    money(day.chargedMinor),
    money(day.chargedMinor - day.expectedMinor),
    money(day.fileRevenueMinor),
    money(day.chargedMinor - day.fileRevenueMinor),
  ];
  const rows = [...header, ...days.map(row), ...(days.length > 1 ? [row(total)] : [])];
  return aligned(rows);
}

/** History as a table, a line per day and their sum: what the file says, what the shop reports, and the difference. */
export function historyTable(days: readonly ComparedDay[], currency: string): string[] {
  const money = (amountMinor: bigint) => formatMinor(amountMinor, currency);
  const sum = (read: (each: ComparedDay) => number) => days.reduce((total, each) => total + read(each), 0);
  const sumMoney = (read: (each: ComparedDay) => bigint) =>
    days.reduce((total, each) => total + read(each), 0n);
  const total: ComparedDay = {
    day: 'total',
    file: {
      invoices: sum(({ file }) => file.invoices),
      lines: sum(({ file }) => file.lines),
      orders: sum(({ file }) => file.orders),
      units: sum(({ file }) => file.units),
      revenueMinor: sumMoney(({ file }) => file.revenueMinor),
    },
    shop: {
      orders: sum(({ shop }) => shop.orders),
      units: sum(({ shop }) => shop.units),
      revenueMinor: sumMoney(({ shop }) => shop.revenueMinor),
    },
  };
  const compared = (file: number, shop: number) => [file, shop, shop - file].map(String);
  const row = ({ day, file, shop }: ComparedDay) => [
    day,
    String(file.invoices),
    String(file.lines),
    ...compared(file.orders, shop.orders),
    ...compared(file.units, shop.units),
    ...[file.revenueMinor, shop.revenueMinor, shop.revenueMinor - file.revenueMinor].map(money),
  ];
  return aligned([
    ['', 'invoices', 'lines', 'orders', '', '', 'units', '', '', `revenue ${currency}`, '', ''],
    ['day', 'file', 'file', 'file', 'shop', 'diff', 'file', 'shop', 'diff', 'file', 'shop', 'diff'],
    ...days.map(row),
    ...(days.length > 1 ? [row(total)] : []),
  ]);
}

/** Cells in columns: the first to the left, the others to the right. */
function aligned(rows: ReadonlyArray<readonly string[]>): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  '),
  );
}

/** The value below which a share of the values lie (nearest rank); 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** How late the checkouts began and how long their answers took, in milliseconds. */
export function timings(placed: readonly Placed[]) {
  const of = (values: number[]) => ({
    p50: Math.round(percentile(values, 0.5)),
    p99: Math.round(percentile(values, 0.99)),
    max: Math.round(percentile(values, 1)),
  });
  return { lagMs: of(placed.map(({ lagMs }) => lagMs)), tookMs: of(placed.map(({ tookMs }) => tookMs)) };
}
