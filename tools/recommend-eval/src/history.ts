import type { Sale } from '@headroom/replay';

/** One purchase: what was bought together, by whom if that is known. */
export interface Invoice {
  id: string;
  customer: string | undefined;
  /** Milliseconds since the Unix epoch. */
  atMs: number;
  /** Each once. */
  productIds: string[];
}

/** The invoices of a sales history, oldest first; those of one moment in the order of their numbers. */
export function invoicesOf(sales: readonly Sale[]): Invoice[] {
  const invoices = new Map<string, Invoice>();
  for (const sale of sales) {
    const invoice = invoices.get(sale.invoice) ?? {
      id: sale.invoice,
      customer: sale.customer,
      atMs: sale.atMs,
      productIds: [],
    };
    if (!invoice.productIds.includes(sale.stockCode)) invoice.productIds.push(sale.stockCode);
    invoices.set(sale.invoice, invoice);
  }
  return [...invoices.values()].sort((a, b) => a.atMs - b.atMs || (a.id < b.id ? -1 : 1));
}

/** What came before a share of the invoices was over, and the rest. */
export function splitAt(
  invoices: readonly Invoice[],
  share: number,
): { before: Invoice[]; after: Invoice[] } {
  const end = Math.floor(invoices.length * share);
  return { before: invoices.slice(0, end), after: invoices.slice(end) };
}
