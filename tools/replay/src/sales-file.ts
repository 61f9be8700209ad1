import { parse, type Info } from 'csv-parse';
import { createReadStream } from 'node:fs';

/** One line of an invoice as the file has it: units of a product that a customer bought at a moment, for the price then. */
export interface Sale {
  /** The line of the file on which the row starts; the header is line 1. */
  line: number;
  invoice: string;
  stockCode: string;
  description: string;
  quantity: number;
  /** Milliseconds since the Unix epoch; the file's times are taken as UTC. */
  atMs: number;
  unitPriceMinor: bigint;
  /** Undefined where the file names nobody. */
  customer: string | undefined;
  country: string;
}

/** A row that cannot be replayed; `reason` is one of few, so that rows can be counted by it. */
export interface BadRow {
  line: number;
  reason: string;
  /** What was found. */
  found: string;
}

/** All rows of a file: each one is a sale or a bad row. */
export interface SalesFile {
  sales: Sale[];
  badRows: BadRow[];
}

/** The columns of a sales history, in any order. */
export const COLUMNS = [
  'InvoiceNo',
  'StockCode',
  'Description',
  'Quantity',
  'InvoiceDate',
  'UnitPrice',
  'CustomerID',
  'Country',
] as const;

/** The file as a whole cannot be read: it is not there, or its header is another one. */
export class FileError extends Error {}

/**
 * Reads a sales history row by row; only what the rows say is kept in memory. A row that is not a sale is listed with its
 * line and the reason, whatever is wrong with it, and does not stop the others. Fails with a FileError.
 */
export async function readSalesFile(path: string, currency: string): Promise<SalesFile> {
  const result: SalesFile = { sales: [], badRows: [] };
  const decimals = minorDigits(currency);
  const invoices = new Map<string, Sale>();
  const parser = createReadStream(path)
    .on('error', (error) => parser.destroy(error))
    .pipe(
      parse({
        bom: true,
        info: true,
        raw: true,
        relax_column_count: true,
        relax_quotes: true, // else the row behind a stray quote would vanish with it
        skip_empty_lines: true,
        skip_records_with_error: true,
        on_skip: (error, raw = '') => {
          const lines = linesOf(raw, Number((error as { lines?: number } | undefined)?.lines ?? 0));
          result.badRows.push({ line: lines.first, reason: OPEN_QUOTE, found: lines.text });
        },
      }),
    );
  let header: { width: number; columns: Map<string, number> } | undefined;
  try {
    for await (const { record, info, raw } of parser as AsyncIterable<{
      record: string[];
      info: Info;
      raw: string;
    }>) {
      if (!header) {
        header = { width: record.length, columns: readHeader(record) };
        continue;
      }
      const lines = linesOf(raw, info.lines);
      const line = lines.first;
      const row =
        lines.last > line && record.some((field) => field.includes('"'))
          ? { line, reason: OPEN_QUOTE, found: lines.text }
          : record.length !== header.width
            ? {
                line,
                reason: `the row does not have ${header.width} columns`,
                found: `${record.length} columns, ${lines.text}`,
              }
            : readSale(record, header.columns, line, decimals);
      if ('reason' in row) {
        result.badRows.push(row);
        continue;
      }
      const first = invoices.get(row.invoice);
      if (!first) invoices.set(row.invoice, row);
      if (first && first.customer !== row.customer)
        result.badRows.push({
          line,
          reason: "the customer is another one than on the invoice's first row",
          found: `${row.customer ?? 'none'}, line ${first.line} has ${first.customer ?? 'none'}`,
        });
      else result.sales.push(row);
    }
  } catch (error) {
    throw isMissing(error) ? new FileError(`there is no file ${path}`) : error;
  }
  if (!header) throw new FileError(`${path} is empty: its first line must name ${COLUMNS.join(', ')}`);
  return result;
}

function readHeader(names: string[]): Map<string, number> {
  const columns = new Map(names.map((name, index) => [name.trim(), index]));
  const missing = COLUMNS.filter((name) => !columns.has(name));
  if (missing.length > 0)
    throw new FileError(
      `the first line does not name ${missing.join(', ')}; it must name ${COLUMNS.join(', ')}`,
    );
  return columns;
}

/** The row as a sale, or the first thing that keeps it from being one. */
export function readSale(
  record: readonly string[],
  columns: ReadonlyMap<string, number>,
  line: number,
  decimals: number,
): Sale | BadRow {
  const text = (name: (typeof COLUMNS)[number]) =>
    (record[columns.get(name)!] ?? '').replace(/\p{Cc}/gu, ' ').trim();
  const bad = (reason: string, found: string): BadRow => ({ line, reason, found });

  const invoice = text('InvoiceNo');
  if (!/^[\x21-\x7e]{1,64}$/.test(invoice))
    return bad('InvoiceNo is not 1 to 64 visible characters', invoice);
  if (/^C/i.test(invoice)) return bad('the invoice is a cancellation', invoice);
  const stockCode = text('StockCode');
  if (!/^[\x20-\x7e]{1,64}$/.test(stockCode))
    return bad('StockCode is not 1 to 64 plain characters', stockCode);
  const description = text('Description');
  if (description === '') return bad('Description is missing', stockCode);
  const quantity = text('Quantity');
  if (!/^-?\d{1,9}$/.test(quantity)) return bad('Quantity is not a whole number', quantity);
  if (Number(quantity) <= 0) return bad('Quantity is not positive', quantity);
  const date = text('InvoiceDate');
  const atMs = readDate(date);
  if (atMs === undefined) return bad('InvoiceDate is not a date of the form M/D/YYYY H:MM', date);
  const price = text('UnitPrice');
  const unitPriceMinor = readAmount(price, decimals);
  if (unitPriceMinor === undefined)
    return bad(`UnitPrice is not an amount with at most ${decimals} decimals`, price);
  if (unitPriceMinor <= 0n) return bad('UnitPrice is not positive', price);
  if (unitPriceMinor > HIGHEST_PRICE_MINOR) return bad('UnitPrice is more than a product can cost', price);
  const customer = text('CustomerID').toLowerCase();
  if (!/^[a-z0-9._-]{0,64}$/.test(customer))
    return bad('CustomerID is not letters, digits, dots and dashes', customer);
  return {
    line,
    invoice,
    stockCode,
    description: description.slice(0, 200),
    quantity: Number(quantity),
    atMs,
    unitPriceMinor,
    customer: customer === '' ? undefined : customer,
    country: text('Country'),
  };
}

/** The highest price of the API, in minor units. */
const HIGHEST_PRICE_MINOR = 900_000_000n;

/** `M/D/YYYY H:MM` of a day and time that exist, as milliseconds since the epoch. */
export function readDate(text: string): number | undefined {
  const match = /^(\d{1,2})\/(\d{1,2})\/(\d{4}) (\d{1,2}):(\d{2})$/.exec(text);
  if (!match) return undefined;
  const [month, day, year, hour, minute] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute));
  const exists =
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    minute < 60;
  return exists ? date.getTime() : undefined;
}

/** A decimal number as minor units, exactly; undefined where it is none or has a fraction of a minor unit. */
export function readAmount(text: string, decimals: number): bigint | undefined {
  const match = /^(-?)(\d{1,12})(?:\.(\d+))?$/.exec(text);
  if (!match) return undefined;
  const [, sign, whole, fraction = ''] = match;
  const kept = fraction.slice(0, decimals).padEnd(decimals, '0');
  if (/[1-9]/.test(fraction.slice(decimals))) return undefined;
  const amount = BigInt(`${whole}${kept}`);
  return sign === '-' ? -amount : amount;
}

/** Decimals of a currency's amounts: 2 for GBP, 0 for JPY. */
export function minorDigits(currency: string): number {
  return (
    new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2
  );
}

/** A quote that ends on a later line, if at all, has taken the rows in between with it. */
const OPEN_QUOTE = 'a quote is not closed on its line';

/** The lines of a row, of which `last` is the last. */
function linesOf(raw: string, last: number): { first: number; last: number; text: string } {
  const first = last - (raw.trim().split('\n').length - 1);
  return { first, last, text: first === last ? `line ${first}` : `lines ${first} to ${last}` };
}

function isMissing(error: unknown): boolean {
  return (error as { code?: string }).code === 'ENOENT';
}
