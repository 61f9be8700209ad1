import { LineProblem, malformedLine, readJsonObject, type Cell } from '@headroom/jobs';
import type { FieldError } from '@headroom/resilience';

import { contentErrors, onHandErrors, skuErrors, type ProductInput } from './product';

/** What a line says of one product; members that were left out are undefined. */
export type ImportedProduct = Pick<ProductInput, 'sku' | 'name' | 'priceMinor'> &
  Partial<Pick<ProductInput, 'description' | 'category' | 'currency' | 'imageUrl'>> & {
    /** Opening units: for a product that is new. */
    onHand?: bigint;
  };

const TEXTS = ['sku', 'name', 'description', 'category', 'currency', 'imageUrl'] as const;
const NUMBERS = ['priceMinor', 'onHand'] as const;
const MEMBERS: readonly string[] = [...TEXTS, ...NUMBERS];
const REQUIRED = ['sku', 'name', 'priceMinor'] as const;
const MOST_NAMED = 5;

/** The product of one line of NDJSON, or what is wrong with it. */
export function readJsonProduct(text: string): ImportedProduct | LineProblem {
  const members = readJsonObject(text);
  if (members instanceof LineProblem) return members;
  if (members['imageUrl'] === null) members['imageUrl'] = ''; // as the API writes it
  return readProduct(members);
}

/**
 * The product of one CSV record under the columns of its file. A cell with nothing in it is left out, `""` is an empty text: the
 * difference that COPY of PostgreSQL makes too.
 */
export function readCsvProduct(
  columns: readonly string[],
  cells: readonly Cell[],
): ImportedProduct | LineProblem {
  if (cells.length !== columns.length)
    return malformedLine(`has ${cells.length} cells under ${columns.length} columns`);
  const members: Record<string, unknown> = {};
  columns.forEach((column, index) => {
    const cell = cells[index];
    if (cell === undefined) return;
    const isNumber = (NUMBERS as readonly string[]).includes(column) && /^-?\d{1,15}$/.test(cell);
    members[column] = isNumber ? Number(cell) : cell;
  });
  return readProduct(members);
}

/** The columns that the header of a CSV file names, or why none of its records can be read. */
export function readCsvHeader(cells: readonly Cell[]): string[] | LineProblem {
  const columns = cells.map((cell) => cell ?? '');
  const reasons = [
    ...named(columns.filter((column) => !MEMBERS.includes(column))).map(
      (column) => `column ${column} is not known`,
    ),
    ...named(
      columns.filter((column, index) => MEMBERS.includes(column) && columns.indexOf(column) < index),
    ).map((column) => `column ${column} stands twice`),
    ...REQUIRED.filter((column) => !columns.includes(column)).map((column) => `column ${column} is missing`),
  ];
  return reasons.length === 0 ? columns : new LineProblem('HEADER_INVALID', reasons.join('; '));
}

function readProduct(members: Record<string, unknown>): ImportedProduct | LineProblem {
  const wrongType = typeErrors(members);
  const has = (name: string) => members[name] !== undefined && !wrongType.some(({ path }) => path === name);
  // Half a surrogate pair cannot be stored: without this it would differ from what is stored, each time anew.
  const text = (name: (typeof TEXTS)[number]) =>
    has(name) ? (members[name] as string).toWellFormed() : undefined;
  const number = (name: (typeof NUMBERS)[number]) =>
    has(name) ? BigInt(members[name] as number) : undefined;
  const [sku, name, description, category, currency, imageUrl] = TEXTS.map(text);
  const [priceMinor, onHand] = NUMBERS.map(number);
  const errors = [
    ...wrongType,
    ...(sku === undefined ? [] : skuErrors(sku)),
    ...contentErrors({
      ...{ name, description, category, imageUrl },
      price: { amountMinor: priceMinor ?? 0n, currency: currency ?? 'EUR' },
    }),
    ...(onHand === undefined ? [] : onHandErrors(onHand)),
  ];
  if (errors.length > 0) return new LineProblem('VALIDATION_FAILED', errors.map(sentence).join('; '));
  return {
    ...{ sku: sku!, name: name!, priceMinor: priceMinor! },
    ...(description === undefined ? {} : { description }),
    ...(category === undefined ? {} : { category }),
    ...(currency === undefined ? {} : { currency }),
    ...(imageUrl === undefined ? {} : { imageUrl }),
    ...(onHand === undefined ? {} : { onHand }),
  };
}

/** Members that are unknown, missing or no texts and numbers: nothing more can be said of those. */
function typeErrors(members: Record<string, unknown>): FieldError[] {
  const unknown = named(Object.keys(members).filter((name) => !MEMBERS.includes(name)));
  const wrong = (names: readonly string[], isRight: (value: unknown) => boolean, message: string) =>
    names
      .filter((name) => members[name] !== undefined && !isRight(members[name]))
      .map((path) => ({ path, message }));
  return [
    ...unknown.map((path) => ({ path, message: 'is not a known member' })),
    ...REQUIRED.filter((name) => members[name] === undefined).map((path) => ({
      path,
      message: 'is required',
    })),
    ...wrong(TEXTS, (value) => typeof value === 'string', 'must be a text'),
    ...wrong(NUMBERS, Number.isSafeInteger, 'must be a whole number'),
  ];
}

/** Names that a stranger chose, few and short enough to be shown. */
const named = (names: readonly string[]) =>
  names.slice(0, MOST_NAMED).map((name) => JSON.stringify(name.slice(0, 64)));

/** A price stands in members of its own here. */
const MEMBER_OF_PATH: Record<string, string> = {
  'price.amountMinor': 'priceMinor',
  'price.currency': 'currency',
};

const sentence = ({ path, message }: FieldError) => `${MEMBER_OF_PATH[path] ?? path} ${message}`;
