import type { catalogV1, orderV1 } from '@headroom/contracts';
import type { Database } from '@headroom/postgres';
import { uuidv7, type Clock } from '@headroom/resilience';
import { createHash, randomBytes } from 'node:crypto';
import {
  changedTooOften,
  MOST_LINES,
  MOST_QUANTITY,
  MOST_ROUNDS,
  type Carts,
  type Companion,
  type Quotes,
} from './cart';
import {
  findGuestCart,
  insertGuestCart,
  moveCartLines,
  prolongGuestCart,
  raiseCartVersion,
  readCart,
  type CartLine,
  type GuestCart,
} from './repository';

/**
 * Carts of visitors without an account, by a token that only the visitor has. All rules of carts hold. A token that is
 * unknown, malformed or expired stands for an empty cart.
 */
export interface GuestCarts {
  get(token: string | undefined): Promise<orderV1.Cart>;
  /** As `Carts.put`; without a known token it makes a cart, whose token comes with the answer and only then. */
  put(token: string | undefined, line: CartLine, ifVersion: bigint | undefined): Promise<orderV1.Cart>;
  /** As `Carts.remove`; never makes a cart. */
  remove(token: string | undefined, productId: string, ifVersion: bigint | undefined): Promise<orderV1.Cart>;
  /**
   * Moves the lines of the guest's cart into the user's, each once however often and by however many it is asked for, and
   * says how many. Quantities add up, to at most 9,999. What stays in the guest's cart: lines of another currency than the
   * user's cart, and lines for which the user's cart has no room.
   */
  merge(token: string, userId: string): Promise<number>;
}

const DAY_MS = 24 * 3_600_000;
/** How long a guest's cart lives after its last use; a look at it counts once a day, so that reading seldom writes. */
export const GUEST_CART_TTL_MS = 30 * DAY_MS;

/** The cart's time ran out between its look-up and the write. */
class GuestCartGone extends Error {}

/** Makes the guests' carts over `carts`. Tokens are 256 random bits, kept as their SHA-256 only. */
export function createGuestCarts(deps: {
  db: Database;
  carts: Carts;
  catalog: Quotes;
  clock: Clock;
}): GuestCarts {
  const { db, carts, catalog, clock } = deps;

  const find = async (
    token: string | undefined,
  ): Promise<(GuestCart & { tokenHash: Buffer }) | undefined> => {
    if (token === undefined || !/^[\w-]{43}$/.test(token)) return undefined;
    const tokenHash = hashOf(token);
    const known = await findGuestCart(db, tokenHash, clock.now());
    return known && { ...known, tokenHash };
  };

  const prolongIn =
    (tokenHash: Buffer): Companion =>
    async (tx, nowMs) => {
      const expiresAtMs = nowMs + GUEST_CART_TTL_MS;
      if (!(await prolongGuestCart(tx, tokenHash, { nowMs, expiresAtMs }))) throw new GuestCartGone();
    };

  /** An id that no cart has: every rule of an empty cart holds for it. */
  const nobody = uuidv7;

  return {
    async get(token) {
      const known = await find(token);
      if (!known) return carts.get(nobody());
      const nowMs = clock.now();
      const expiresAtMs = nowMs + GUEST_CART_TTL_MS;
      if (known.expiresAtMs < expiresAtMs - DAY_MS)
        await prolongGuestCart(db, known.tokenHash, { nowMs, expiresAtMs });
      return carts.get(known.cartId);
    },

    async put(token, line, ifVersion) {
      const known = await find(token);
      if (known) {
        try {
          return await carts.put(known.cartId, line, ifVersion, prolongIn(known.tokenHash));
        } catch (error) {
          if (!(error instanceof GuestCartGone)) throw error;
        }
      }
      const cartId = uuidv7(clock.now());
      const cartToken = randomBytes(32).toString('base64url');
      const cart = await carts.put(cartId, line, ifVersion, (tx, nowMs) =>
        insertGuestCart(tx, {
          tokenHash: hashOf(cartToken),
          cartId,
          expiresAtMs: nowMs + GUEST_CART_TTL_MS,
        }),
      );
      return { ...cart, cartToken };
    },

    async remove(token, productId, ifVersion) {
      const known = await find(token);
      if (known) {
        try {
          return await carts.remove(known.cartId, productId, ifVersion, prolongIn(known.tokenHash));
        } catch (error) {
          if (!(error instanceof GuestCartGone)) throw error;
        }
      }
      return carts.remove(nobody(), productId, ifVersion);
    },

    async merge(token, userId) {
      const known = await find(token);
      if (!known) return 0;
      for (let round = 1; round <= MOST_ROUNDS; round += 1) {
        const guest = await readCart(db, known.cartId);
        if (guest.lines.length === 0) return 0;
        const owner = await readCart(db, userId);
        const productIds = [...new Set([...owner.lines, ...guest.lines].map((line) => line.productId))];
        const { quotes } = await catalog.getQuotes({ productIds });
        const moved = linesToMove(owner.lines, guest.lines, quotes);
        if (moved.length === 0) return 0;
        const done = await db
          .transaction(async (tx) => {
            const nowMs = clock.now();
            // Always the guest's cart first: two merges that share both carts wait for each other instead of locking up.
            if (!(await raiseCartVersion(tx, known.cartId, guest.version, nowMs))) return false;
            if (!(await raiseCartVersion(tx, userId, owner.version, nowMs))) throw new CartChanged();
            await moveCartLines(tx, {
              fromId: known.cartId,
              toId: userId,
              productIds: moved,
              mostQuantity: MOST_QUANTITY,
            });
            return true;
          })
          .catch((error: unknown) => {
            if (error instanceof CartChanged) return false;
            throw error;
          });
        if (done) return moved.length;
      }
      throw changedTooOften();
    },
  };
}

/** Undoes a transaction that found the second of its carts changed. */
class CartChanged extends Error {}

/**
 * The products of the guest's lines that go into the owner's cart. Its currency is that of its first line that is sold today,
 * of an empty one that of the guest's. A guest's line that is not sold today goes with the guest's others.
 */
export function linesToMove(
  owner: readonly CartLine[],
  guest: readonly CartLine[],
  quotes: readonly catalogV1.Quote[],
): string[] {
  const currencies = new Map(quotes.map((quote) => [quote.productId, quote.price?.currency]));
  const currencyOf = (lines: readonly CartLine[]) =>
    lines.map((line) => currencies.get(line.productId)).find((currency) => currency !== undefined);
  const guestCurrency = currencyOf(guest);
  const currency = currencyOf(owner) ?? guestCurrency;
  const inCart = new Set(owner.map((line) => line.productId));
  let room = MOST_LINES - inCart.size;
  return guest
    .filter(({ productId }) => {
      if ((currencies.get(productId) ?? guestCurrency) !== currency) return false;
      return inCart.has(productId) || room-- > 0;
    })
    .map((line) => line.productId);
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();
