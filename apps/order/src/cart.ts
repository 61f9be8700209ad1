import { fault, type catalogV1, type orderV1 } from '@headroom/contracts';
import type { Database, Tx } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import { deleteCartLine, putCartLine, raiseCartVersion, readCart, type StoredCart } from './repository';

/** What a cart needs of the catalog: today's name, price and stock; what is no longer sold is left out. */
export interface Quotes {
  getQuotes(request: catalogV1.GetQuotesRequest): Promise<catalogV1.GetQuotesResponse>;
}

/** Runs in the transaction of a write, after the cart has been locked; what it throws undoes the write. */
export type Companion = (tx: Tx, nowMs: number) => Promise<void>;

/** Carts by their owner, always shown at today's prices. */
export interface Carts {
  get(ownerId: string): Promise<orderV1.Cart>;
  /** Faults: PRODUCT_UNAVAILABLE, VERSION_MISMATCH, CURRENCY_MIXED (409), VALIDATION_FAILED when the cart is full. */
  put(
    ownerId: string,
    line: { productId: string; quantity: number },
    ifVersion: bigint | undefined,
    companion?: Companion,
  ): Promise<orderV1.Cart>;
  /** Removes a product, also one that is not in the cart. Fault: VERSION_MISMATCH. */
  remove(
    ownerId: string,
    productId: string,
    ifVersion: bigint | undefined,
    companion?: Companion,
  ): Promise<orderV1.Cart>;
}

/** As many lines as an order may have. */
export const MOST_LINES = 1_000;
/** Of one product. */
export const MOST_QUANTITY = 9_999;
/** Writers of one cart at the same moment go round; more than a few rounds means something is wrong. */
export const MOST_ROUNDS = 10;

/**
 * Makes the carts. A change is decided on what was read and written only if the cart is still the same (compare and set on
 * its version), so that no lock is held while the catalog is asked.
 */
export function createCarts(deps: {
  db: Database;
  catalog: Quotes;
  clock: Clock;
  shopCurrency: string;
}): Carts {
  const { db, catalog, clock } = deps;

  const quotesOf = async (productIds: string[]) => {
    if (productIds.length === 0) return new Map<string, catalogV1.Quote>();
    const { quotes } = await catalog.getQuotes({ productIds });
    return new Map(quotes.map((quote) => [quote.productId, quote]));
  };

  const show = async (cart: StoredCart, known?: Map<string, catalogV1.Quote>): Promise<orderV1.Cart> => {
    const quotes = known ?? (await quotesOf(cart.lines.map((line) => line.productId)));
    const items = cart.lines.flatMap(({ productId, quantity }): orderV1.CartItem[] => {
      const quote = quotes.get(productId);
      if (!quote?.price) return []; // no longer sold: it comes back to sight if the product does
      const { name, price, available } = quote;
      const lineTotal = { ...price, amountMinor: price.amountMinor * BigInt(quantity) };
      return [
        { productId, name, quantity, unitPrice: price, lineTotal, inStock: available >= BigInt(quantity) },
      ];
    });
    const currency = items[0]?.unitPrice?.currency ?? deps.shopCurrency;
    const amountMinor = items
      .filter((item) => item.unitPrice?.currency === currency)
      .reduce((sum, item) => sum + (item.lineTotal?.amountMinor ?? 0n), 0n);
    return { version: cart.version, items, total: { amountMinor, currency } };
  };

  /** Reads, decides and writes until nobody else has written in between. */
  const change = async (
    ownerId: string,
    ifVersion: bigint | undefined,
    companion: Companion | undefined,
    decideOn: (cart: StoredCart) => Promise<{ write: (tx: Tx, nowMs: number) => Promise<void> } | undefined>,
  ): Promise<StoredCart> => {
    for (let round = 1; ; round += 1) {
      const cart = await readCart(db, ownerId);
      const decision = await decideOn(cart);
      if (ifVersion !== undefined && ifVersion !== cart.version) throw versionMismatch();
      if (!decision) return cart;
      const written = await db.transaction(async (tx) => {
        const nowMs = clock.now();
        if (!(await raiseCartVersion(tx, ownerId, cart.version, nowMs))) return undefined;
        await companion?.(tx, nowMs);
        await decision.write(tx, nowMs);
        return readCart(tx, ownerId);
      });
      if (written) return written;
      if (round >= MOST_ROUNDS) throw changedTooOften();
    }
  };

  return {
    get: async (ownerId) => show(await readCart(db, ownerId)),

    async put(ownerId, line, ifVersion, companion) {
      let quotes = new Map<string, catalogV1.Quote>();
      const cart = await change(ownerId, ifVersion, companion, async (current) => {
        const others = current.lines.filter((each) => each.productId !== line.productId);
        quotes = await quotesOf([line.productId, ...others.map((each) => each.productId)]);
        const price = quotes.get(line.productId)?.price;
        if (!price)
          throw fault('PRODUCT_UNAVAILABLE', {
            detail: 'the product does not exist or is no longer sold',
            extra: { productIds: [line.productId] },
          });
        if (ifVersion !== undefined && ifVersion !== current.version) throw versionMismatch();
        const inCart = others.find((each) => quotes.has(each.productId));
        const currency = inCart && quotes.get(inCart.productId)?.price?.currency;
        if (currency !== undefined && currency !== price.currency)
          throw fault('CURRENCY_MIXED', {
            kind: 'conflict',
            detail: `the cart is in ${currency}, the product is priced in ${price.currency}`,
          });
        const before = current.lines.find((each) => each.productId === line.productId);
        if (before?.quantity === line.quantity) return undefined;
        if (!before && current.lines.length >= MOST_LINES)
          throw fault('VALIDATION_FAILED', {
            detail: `a cart holds at most ${MOST_LINES} products`,
            errors: [{ path: 'productId', message: `the cart holds ${MOST_LINES} products already` }],
          });
        return { write: (tx, nowMs) => putCartLine(tx, ownerId, line, nowMs) };
      });
      return show(cart, quotes);
    },

    async remove(ownerId, productId, ifVersion, companion) {
      const cart = await change(ownerId, ifVersion, companion, async (current) =>
        current.lines.some((line) => line.productId === productId)
          ? { write: (tx) => deleteCartLine(tx, ownerId, productId) }
          : undefined,
      );
      return show(cart);
    },
  };
}

export const changedTooOften = () =>
  fault('OVERLOADED', { detail: 'the cart is being changed too often', retryAfterSeconds: 1 });

const versionMismatch = () => fault('VERSION_MISMATCH', { detail: 'the cart has changed since it was read' });
