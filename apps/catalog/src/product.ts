import { fault, type catalogV1, type EventType, type Money } from '@headroom/contracts';
import { isUuidv7, type FieldError } from '@headroom/resilience';

/** Names and values, e.g. `{ size: 'L' }`. */
export type ProductOptions = Record<string, string>;

/** A product without its units: those are the stock, an aggregate of its own. */
export interface Product {
  id: string;
  /** Made from the first name and kept when the name changes. */
  slug: string;
  sku: string;
  name: string;
  description: string;
  /** A path of at most four parts, or empty. */
  category: string;
  priceMinor: bigint;
  currency: string;
  /** Empty: none. */
  imageUrl: string;
  /** Products of one group are variants of each other; null: none. */
  group: string | null;
  /** What sets a variant apart, its names in order; null: nothing, never an empty object. */
  options: ProductOptions | null;
  archived: boolean;
  /** 1, 2, 3...: one per event. */
  version: bigint;
  createdAtMs: number;
  updatedAtMs: number;
}

/** What an admin decides about a product. */
export type ProductInput = Pick<
  Product,
  'sku' | 'name' | 'description' | 'category' | 'priceMinor' | 'currency' | 'imageUrl'
> &
  Partial<Pick<Product, 'group' | 'options'>>;

/** A product after a change, and the event that tells of it. */
export interface ProductChange {
  product: Product;
  type: Exclude<Extract<EventType, `headroom.catalog.${string}`>, 'headroom.catalog.stock-changed'>;
}

/** The largest number of units that one request may set or add. */
export const MOST_UNITS = 1_000_000_000n;
/** In minor units: a thousand lines of 9,999 such units still add up to less than 2^53. */
const HIGHEST_PRICE_MINOR = 900_000_000n;
const LONGEST_SLUG = 100;
/** So many products, archived ones included, may be variants of each other: each is shown with all of them. */
export const MOST_VARIANTS = 100;
const MOST_OPTIONS = 10;
/** Words that stand where a slug stands in a path of the API. */
const RESERVED_SLUGS = new Set(['trending']);

/** A new product under the first of its slugs that is free. */
export function createProduct(
  input: ProductInput,
  options: { id: string; slug: string; nowMs: number },
): ProductChange {
  const { id, slug, nowMs } = options;
  return {
    product: {
      group: null,
      options: null,
      ...input,
      id,
      slug,
      archived: false,
      version: 1n,
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
    },
    type: 'headroom.catalog.product-created',
  };
}

/**
 * The product with another content; undefined when nothing is different. A change of nothing but the price is
 * `price-changed`; one that touches anything else is one `product-updated`, whose state has the new price too. Throws
 * PRODUCT_ARCHIVED for an archived product.
 */
export function changeProduct(
  product: Product,
  changes: Partial<ProductInput>,
  nowMs: number,
): ProductChange | undefined {
  if (product.archived) throw fault('PRODUCT_ARCHIVED');
  const members = Object.keys(changes) as Array<keyof ProductInput>;
  const different = members.filter((member) => !isSame(changes[member], product[member]));
  if (different.length === 0) return undefined;
  const priceAlone = different.every((member) => member === 'priceMinor' || member === 'currency');
  return {
    product: next({ ...product, ...changes }, nowMs),
    type: priceAlone ? 'headroom.catalog.price-changed' : 'headroom.catalog.product-updated',
  };
}

/** Options are equal when their names and values are: both stand in order. */
const isSame = (one: unknown, other: unknown): boolean =>
  one === other ||
  (typeof one === 'object' && typeof other === 'object' && JSON.stringify(one) === JSON.stringify(other));

/** The product taken out of sale; undefined when it already is. */
export function archiveProduct(product: Product, nowMs: number): ProductChange | undefined {
  if (product.archived) return undefined;
  return { product: next({ ...product, archived: true }, nowMs), type: 'headroom.catalog.product-archived' };
}

/** The product back in sale; undefined when it already is. */
export function restoreProduct(product: Product, nowMs: number): ProductChange | undefined {
  if (!product.archived) return undefined;
  return { product: next({ ...product, archived: false }, nowMs), type: 'headroom.catalog.product-restored' };
}

function next(product: Product, nowMs: number): Product {
  return { ...product, version: product.version + 1n, updatedAtMs: nowMs };
}

/**
 * The slugs that a new product may have, the best first: its name, then the name with the random end of its id, which
 * nobody else has. No database look-up is needed to find a free one, however many products share a name.
 */
export function slugCandidates(name: string, id: string): [string, string] {
  const words = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[ßæøœłđð]/g, (letter) => SPELLED[letter]!)
    .replace(/\p{M}+/gu, '')
    .replace(/['’]/g, '')
    .replace(/[^a-z0-9]+/g, '-');
  const base = trimDashes(trimDashes(words).slice(0, LONGEST_SLUG)) || 'product';
  const unmistakable = RESERVED_SLUGS.has(base) || isUuidv7(base) ? `product-${base}` : base;
  return [unmistakable, `${unmistakable}-${id.slice(-12)}`];
}

const SPELLED: Record<string, string> = {
  ß: 'ss',
  æ: 'ae',
  ø: 'o',
  œ: 'oe',
  ł: 'l',
  đ: 'd',
  ð: 'd',
};

const trimDashes = (text: string) => text.replace(/^-+|-+$/g, '');

/** The content of a new product and its opening stock; throws VALIDATION_FAILED, which names every member that is wrong. */
export function readNewProduct(
  request: catalogV1.CreateProductRequest,
  shopCurrency: string,
): { input: ProductInput; onHand: bigint } {
  const { sku, name, description, category, imageUrl, group, onHand } = request;
  const options = request.options && sortedOptions(request.options.values);
  const price = withCurrency(request.price, shopCurrency);
  validate([
    ...skuErrors(sku),
    ...contentErrors({ name, description, category, imageUrl, price }),
    ...variantErrors({ group, options }),
    ...(price === undefined ? [{ path: 'price', message: 'is required' }] : []),
    ...onHandErrors(onHand),
  ]);
  const { amountMinor: priceMinor, currency } = price!;
  return {
    input: {
      ...{ sku, name, description, category, priceMinor, currency, imageUrl },
      ...(group ? { group } : {}),
      ...(options ? { options } : {}),
    },
    onHand,
  };
}

/** The members that a change names; throws VALIDATION_FAILED. A price without a currency has the shop's. */
export function readChanges(
  request: catalogV1.UpdateProductRequest,
  shopCurrency: string,
): Partial<ProductInput> {
  const { name, description, category, imageUrl, group } = request;
  const price = withCurrency(request.price, shopCurrency);
  const options = request.options && sortedOptions(request.options.values);
  validate([
    ...contentErrors({ name, description, category, imageUrl, price }),
    ...variantErrors({ group, options }),
  ]);
  return {
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    ...(category === undefined ? {} : { category }),
    ...(imageUrl === undefined ? {} : { imageUrl }),
    ...(group === undefined ? {} : { group: group || null }),
    ...(options === undefined ? {} : { options }),
    ...(price === undefined ? {} : { priceMinor: price.amountMinor, currency: price.currency }),
  };
}

/** Throws VALIDATION_FAILED with these errors, if there are any. */
export function validate(errors: FieldError[]): void {
  if (errors.length > 0)
    throw fault('VALIDATION_FAILED', {
      detail: errors.map(({ path, message }) => `${path} ${message}`).join('; '),
      errors,
    });
}

function withCurrency(price: Money | undefined, shopCurrency: string): Money | undefined {
  return price && { amountMinor: price.amountMinor, currency: price.currency || shopCurrency };
}

interface Content {
  name: string | undefined;
  description: string | undefined;
  category: string | undefined;
  imageUrl: string | undefined;
  price: Money | undefined;
}

/** What is wrong with these members, by the names that the API has for them; those that are undefined are not looked at. */
export function contentErrors({ name, description, category, imageUrl, price }: Content): FieldError[] {
  const errors: FieldError[] = [];
  const check = (valid: boolean, path: string, message: string) => {
    if (!valid) errors.push({ path, message });
  };
  if (name !== undefined)
    check(
      /\S/.test(name) && length(name) <= 200 && !CONTROLS.test(name),
      'name',
      'must be 1 to 200 characters, not only blanks, on one line',
    );
  if (description !== undefined)
    check(
      length(description) <= 10_000 && !CONTROLS.test(description.replace(/[\t\r\n]/g, '')),
      'description',
      'must be at most 10,000 characters of text',
    );
  if (category !== undefined)
    check(
      category === '' || (category.length <= 200 && /^[a-z0-9-]+(\/[a-z0-9-]+){0,3}$/.test(category)),
      'category',
      'must be a path of one to four parts of a-z, 0-9 and -, such as kitchen/mugs',
    );
  if (imageUrl !== undefined)
    check(
      imageUrl === '' ||
        (imageUrl.length <= 2_048 && /^(https?:\/\/|\/)\S+$/.test(imageUrl) && !CONTROLS.test(imageUrl)),
      'imageUrl',
      'must be an http(s) URL or a path, of at most 2,048 characters',
    );
  if (price !== undefined) {
    check(
      price.amountMinor >= 0n && price.amountMinor <= HIGHEST_PRICE_MINOR,
      'price.amountMinor',
      `must be from 0 to ${HIGHEST_PRICE_MINOR}`,
    );
    check(/^[A-Z]{3}$/.test(price.currency), 'price.currency', 'must be an ISO 4217 code such as EUR');
  }
  return errors;
}

/** With the names in order, so that two sets of options can be compared; null when there are none. */
export function sortedOptions(options: ProductOptions): ProductOptions | null {
  const entries = Object.entries(options).sort(([one], [other]) => (one < other ? -1 : 1));
  return entries.length === 0 ? null : Object.fromEntries(entries);
}

/** An empty group stands for none. */
function variantErrors(variant: {
  group: string | undefined;
  options: ProductOptions | null | undefined;
}): FieldError[] {
  const { group } = variant;
  const entries = Object.entries(variant.options ?? {});
  const within = (text: string, most: number) =>
    /^\S(.*\S)?$/.test(text) && length(text) <= most && !CONTROLS.test(text);
  return [
    ...(group === undefined || group === '' || within(group, 64)
      ? []
      : [{ path: 'group', message: 'must be at most 64 characters, without blanks at its ends' }]),
    ...(entries.length <= MOST_OPTIONS
      ? []
      : [{ path: 'options', message: `must be at most ${MOST_OPTIONS}` }]),
    ...(entries.every(([name]) => within(name, 40))
      ? []
      : [
          { path: 'options', message: 'must have names of 1 to 40 characters, without blanks at their ends' },
        ]),
    ...entries
      .filter(([name, value]) => within(name, 40) && !within(value, 100))
      .map(([name]) => ({
        path: `options.${name}`,
        message: 'must be 1 to 100 characters, without blanks at its ends',
      })),
  ];
}

/** What is wrong with opening units. */
export function onHandErrors(onHand: bigint): FieldError[] {
  return onHand >= 0n && onHand <= MOST_UNITS
    ? []
    : [{ path: 'onHand', message: `must be from 0 to ${MOST_UNITS}` }];
}

/** What is wrong with a SKU. */
export function skuErrors(sku: string): FieldError[] {
  const valid = /^\S(.*\S)?$/.test(sku) && length(sku) <= 64 && !CONTROLS.test(sku);
  return valid ? [] : [{ path: 'sku', message: 'must be 1 to 64 characters, without blanks at its ends' }];
}

const CONTROLS = /\p{Cc}/u;

/** In characters as people count them, not in UTF-16 units. */
const length = (text: string) => Array.from(text).length;
