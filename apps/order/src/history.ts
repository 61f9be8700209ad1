import { LineProblem, readJsonObject } from '@headroom/jobs';
import type { FieldError } from '@headroom/resilience';
import { uuidv7 } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import { history, type Change } from './order';

/** An order of a shop's history, as its file has it and checked for form. */
export interface HistoricOrder {
  externalId: string;
  /** As written; undefined: none. */
  email: string | undefined;
  placedAtMs: number;
  currency: string;
  items: Array<{ sku: string; quantity: number; unitPriceMinor: bigint }>;
  totalMinor: bigint;
  /** SHA-256 of the canonical content: member order, offset of the time and case of the e-mail do not matter. */
  fingerprint: Buffer;
}

/** A product as the catalog knows a SKU. */
export interface KnownProduct {
  productId: string;
  name: string;
}

const MOST_LINES = 1_000;
const MOST_QUANTITY = 99_999;
const LONGEST_EXTERNAL_ID = 200;
const LONGEST_SKU = 100;
const LONGEST_EMAIL = 254;
/** How far ahead of us the clock of the system that an order comes from may be. */
const AHEAD_MS = 5 * 60_000;
const HIGHEST_AMOUNT = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * Reads one line. Everything that is wrong with it is named by its path, all at once; an unknown member is an error too, since it
 * may be a required one with a slip in its name. Times before 1970 are refused: an order's id cannot carry them.
 */
export function readHistoricOrder(text: string, nowMs: number): HistoricOrder | LineProblem {
  const value = readJsonObject(text);
  if (value instanceof LineProblem) return value;
  const errors: FieldError[] = [];
  const wrong = (path: string, message: string) => void errors.push({ path, message });
  const order = members(value, '', ['externalId', 'email', 'placedAt', 'items'], wrong)!;

  const { externalId, email, placedAt, items } = order;
  if (!isText(externalId, LONGEST_EXTERNAL_ID))
    wrong('externalId', `must be text of 1 to ${LONGEST_EXTERNAL_ID} characters`);
  const hasEmail = email !== undefined && email !== null;
  if (hasEmail && !(isText(email, LONGEST_EMAIL) && /^[^\s@]+@[^\s@]+$/.test(email)))
    wrong('email', 'must be an e-mail address');
  const placedAtMs = typeof placedAt === 'string' ? rfc3339Ms(placedAt) : undefined;
  if (placedAtMs === undefined) wrong('placedAt', 'must be a time of RFC 3339, such as 2010-12-01T08:26:00Z');
  else if (placedAtMs < 0) wrong('placedAt', 'must not be before 1970');
  else if (placedAtMs > nowMs + AHEAD_MS) wrong('placedAt', 'must not be more than 5 minutes ahead');

  const isList = Array.isArray(items) && items.length >= 1 && items.length <= MOST_LINES;
  if (!isList) wrong('items', `must be a list of 1 to ${MOST_LINES} items`);
  const lines = (isList ? (items as unknown[]) : []).map((item, index) =>
    readItem(item, `items[${index}]`, wrong),
  );
  const totalMinor = lines.reduce((sum, line) => sum + line.unitPriceMinor * BigInt(line.quantity), 0n);
  if (totalMinor > HIGHEST_AMOUNT) wrong('items', `must not add up to more than ${HIGHEST_AMOUNT}`);
  if (errors.length > 0)
    return new LineProblem(
      'VALIDATION_FAILED',
      errors.map(({ path, message }) => `${path} ${message}`).join('; '),
    );
  const currencies = new Set(lines.map((line) => line.currency));
  if (currencies.size > 1)
    return new LineProblem(
      'CURRENCY_MIXED',
      `items must have one currency, not ${[...currencies].join(', ')}`,
    );

  const read = {
    externalId: externalId as string,
    email: hasEmail ? (email as string) : undefined,
    placedAtMs: placedAtMs!,
    currency: lines[0]!.currency,
    items: lines.map(({ sku, quantity, unitPriceMinor }) => ({ sku, quantity, unitPriceMinor })),
    totalMinor,
  };
  return { ...read, fingerprint: fingerprintOf(read) };
}

/**
 * The confirmed order that a line of history stands for, and its events. The id carries the time of placing, and its other bits
 * follow from `externalId`, so that the same history has the same ids in every system. `userId` null: nobody's.
 */
export function recordHistory(
  historic: HistoricOrder,
  options: { userId: string | null; products: ReadonlyMap<string, KnownProduct>; nowMs: number },
): Change {
  const { externalId, placedAtMs, currency } = historic;
  return history({
    id: uuidv7(placedAtMs, createHash('sha256').update(externalId).digest().subarray(0, 10)),
    userId: options.userId,
    externalId,
    currency,
    items: historic.items.map((item) => ({ ...options.products.get(item.sku)!, ...item })),
    atMs: options.nowMs,
  });
}

type Report = (path: string, message: string) => void;

/** The members of a JSON object; undefined, with nothing reported, for any other value. */
function members<K extends string>(
  value: unknown,
  path: string,
  known: readonly K[],
  wrong: Report,
): Partial<Record<K, unknown>> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  for (const name of Object.keys(value))
    if (!known.includes(name as K))
      wrong(path === '' ? name.slice(0, 100) : `${path}.${name.slice(0, 100)}`, 'is not known');
  return value;
}

function readItem(
  value: unknown,
  path: string,
  wrong: Report,
): { sku: string; quantity: number; unitPriceMinor: bigint; currency: string } {
  const item = members(value, path, ['sku', 'quantity', 'unitPrice'], wrong);
  const price = item && members(item.unitPrice, `${path}.unitPrice`, ['amountMinor', 'currency'], wrong);
  const isSku = isText(item?.sku, LONGEST_SKU);
  const isQuantity = isWhole(item?.quantity, 1, MOST_QUANTITY);
  const isAmount = isWhole(price?.amountMinor, 0, Number.MAX_SAFE_INTEGER);
  const isCurrency = typeof price?.currency === 'string' && /^[A-Z]{3}$/.test(price.currency);
  if (!item) wrong(path, 'must be an object');
  else {
    if (!isSku) wrong(`${path}.sku`, `must be text of 1 to ${LONGEST_SKU} characters`);
    if (!isQuantity) wrong(`${path}.quantity`, `must be a whole number from 1 to ${MOST_QUANTITY}`);
    if (!price) wrong(`${path}.unitPrice`, 'must be an object of amountMinor and currency');
    else {
      if (!isAmount) wrong(`${path}.unitPrice.amountMinor`, 'must be a whole number from 0');
      if (!isCurrency) wrong(`${path}.unitPrice.currency`, 'must be a code of ISO 4217, such as EUR');
    }
  }
  return {
    sku: isSku ? (item!.sku as string) : '',
    quantity: isQuantity ? (item!.quantity as number) : 0,
    unitPriceMinor: isAmount ? BigInt(price!.amountMinor as number) : 0n,
    currency: isCurrency ? (price!.currency as string) : '',
  };
}

/** Text that a database column takes: no NUL, no half of a surrogate pair. */
const isText = (value: unknown, longest: number): value is string =>
  typeof value === 'string' &&
  value.length >= 1 &&
  value.length <= longest &&
  !/[\u0000-\u001f\u007f]/.test(value) &&
  value.isWellFormed();

const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

const RFC_3339 =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;

/**
 * Milliseconds since the Unix epoch of a time as RFC 3339, section 5.6, writes it, cut off below the millisecond; a leap second
 * is the first of the next minute. Undefined for any other text.
 */
export function rfc3339Ms(text: string): number | undefined {
  const match = RFC_3339.exec(text);
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const [offsetHour, offsetMinute] = [Number(match[9] ?? 0), Number(match[10] ?? 0)];
  if (hour > 23 || minute > 59 || second > 60 || offsetHour > 23 || offsetMinute > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  date.setUTCHours(hour, minute, second, Number((match[7] ?? '').padEnd(3, '0').slice(0, 3)));
  const offsetMs = (match[8] === '-' ? -1 : 1) * (offsetHour * 60 + offsetMinute) * 60_000;
  return date.getTime() - offsetMs;
}

/** In arrays, so that no order of members is left open. The account is no part of it, the e-mail that was written is. */
function fingerprintOf(order: Omit<HistoricOrder, 'fingerprint'>): Buffer {
  const content = [
    order.externalId,
    order.email?.toLowerCase() ?? null,
    order.placedAtMs,
    order.currency,
    order.items.map((item) => [item.sku, item.quantity, item.unitPriceMinor.toString()]),
  ];
  return createHash('sha256').update(JSON.stringify(content)).digest();
}
