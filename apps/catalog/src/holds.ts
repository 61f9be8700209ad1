import { fault } from '@headroom/contracts';
import { isUniqueViolation, type Database } from '@headroom/postgres';
import { Fault, type Clock } from '@headroom/resilience';
import { counter, type Logger } from '@headroom/telemetry';
import type { Contention } from './contention';
import { findOffers, type Offer } from './repository';
import { chooseBucket, moreBuckets, spread, type HeldLine, type Hold, type HoldState } from './stock';
import {
  findHold,
  insertReleased,
  lockBuckets,
  lockHold,
  lockStock,
  releaseHold,
  retakeHold,
  returnSold,
  sellHold,
  takeHold,
  writeBuckets,
  type Taking,
  type Wanted,
} from './stock-repository';

/** What an order asks for; one line per product. */
export interface WantedLine {
  productId: string;
  quantity: number;
}

/** Holds of units for orders: every call may be repeated without a second effect. */
export interface Holds {
  /**
   * Takes the units of all lines out of what is available, or none, until `ttlSeconds` have passed. The order's first hold is
   * answered again when it is repeated. Faults: PRODUCT_UNAVAILABLE, CURRENCY_MIXED, OUT_OF_STOCK, each naming the products in
   * `extra.productIds`; HOLD_EXPIRED when the order's hold has ended unsold: it never holds anything again; OVERLOADED when others
   * were faster too often.
   */
  place(orderId: string, lines: readonly WantedLine[], ttlSeconds: number): Promise<Hold>;
  /** Sells what is held. Units of a hold that has expired are taken once more; HOLD_EXPIRED when they cannot be. */
  confirm(orderId: string): Promise<HoldState>;
  /** Gives back what is held, for good; what is sold stays sold. Works before the hold has come, too: then it never will. */
  release(orderId: string): Promise<HoldState>;
  /** Puts what was sold back on hand; an order that bought nothing releases what it holds. Afterwards it has no units. */
  returnUnits(orderId: string): Promise<HoldState>;
  /** Waits for splits under way. */
  close(): Promise<void>;
}

const countSplits = counter({
  name: 'catalog_stock_splits_total',
  help: 'Products split into more stock buckets because buyers waited for one another',
});
const countAttempts = counter({
  name: 'catalog_hold_attempts_total',
  help: 'Attempts to take the units of a hold, by outcome',
  labels: ['outcome'],
});

/** Each attempt that fails means that others took units, or that a product was split; nobody is that unlucky. */
const MOST_ATTEMPTS = 8;

/** Holds on the stock in `db`. */
export function createHolds(deps: {
  db: Database;
  clock: Clock;
  logger: Logger;
  contention: Contention;
  random?: () => number;
}): Holds {
  const { db, clock, logger, contention, random = Math.random } = deps;
  const splits = new Map<string, Promise<void>>();

  const noteWaits = ({ waits }: Taking) => {
    for (const { productId, waitedMs } of waits)
      if (contention.record(productId, waitedMs) && !splits.has(productId)) {
        const split = splitStock(db, productId)
          .then((buckets) => {
            if (buckets === undefined) return;
            countSplits({});
            logger.info('stock split into more buckets', { productId, count: buckets });
          })
          .catch((error: unknown) => logger.warn('a stock could not be split', { err: error, productId }))
          .finally(() => splits.delete(productId));
        splits.set(productId, split);
      }
  };

  const place: Holds['place'] = async (orderId, lines, ttlSeconds) => {
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
      const offers = await findOffers(
        db,
        lines.map((line) => line.productId),
      );
      const refused = refusal(lines, offers);
      if (refused) {
        const first = await findHold(db, orderId);
        if (first) return repeated(first, clock.now());
        throw refused;
      }
      const nowMs = clock.now();
      const hold: Hold = {
        orderId,
        state: 'held',
        lines: lines.map((line) => heldLine(line, offers.get(line.productId)!)),
        expiresAtMs: nowMs + ttlSeconds * 1_000,
      };
      try {
        const taking = await takeHold(
          db,
          hold,
          want(lines, offers, attempt === 1 ? random : undefined),
          nowMs,
        );
        noteWaits(taking);
        countAttempts({ outcome: taking.complete ? 'taken' : 'outrun' });
        if (taking.complete) return hold;
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
        return repeated((await findHold(db, orderId))!, nowMs);
      }
    }
    throw outrun();
  };

  const stateOf = async (orderId: string) => (await findHold(db, orderId))?.state;

  /** Sells a hold under its row lock, and takes its units once more if it had expired; undefined when others were faster. */
  const sellLocked = (orderId: string): Promise<HoldState | undefined> =>
    db.transaction(
      async (tx) => {
        const hold = await lockHold(tx, orderId);
        if (!hold) return 'released';
        if (hold.state === 'expired') {
          const offers = await findOffers(
            tx,
            hold.lines.map((line) => line.productId),
          );
          if (lacking(hold.lines, offers).length > 0) return 'expired';
          const taking = await retakeHold(tx, orderId, want(hold.lines, offers, undefined), clock.now());
          if (!taking.complete) return undefined;
          countAttempts({ outcome: 'retaken' });
        } else if (hold.state !== 'held') return hold.state;
        await sellHold(tx, orderId, clock.now());
        return 'confirmed';
      },
      { retry: true },
    );

  const release: Holds['release'] = async (orderId) => {
    for (;;) {
      if (await releaseHold(db, orderId, clock.now())) return 'released';
      if (await insertReleased(db, orderId, clock.now())) return 'released';
      const state = await stateOf(orderId);
      if (state !== undefined && state !== 'held' && state !== 'expired') return state;
      // It was placed, or expired, between the statements.
    }
  };

  return {
    place,
    async confirm(orderId) {
      if (await sellHold(db, orderId, clock.now())) return 'confirmed';
      for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
        const state = await sellLocked(orderId);
        if (state === 'confirmed' || state === 'returned') return state;
        if (state !== undefined) throw holdExpired();
      }
      throw outrun();
    },
    release,
    async returnUnits(orderId) {
      if (await returnSold(db, orderId, clock.now())) return 'returned';
      return release(orderId);
    },
    async close() {
      await Promise.all(splits.values());
    },
  };
}

/**
 * Spreads the units of a product over twice as many buckets, up to MOST_BUCKETS; the total stays, sales wait for a moment.
 * Undefined when it has as many as make sense.
 */
export function splitStock(db: Database, productId: string): Promise<number | undefined> {
  return db.transaction(
    async (tx) => {
      await lockStock(tx, productId);
      const buckets = await lockBuckets(tx, productId);
      const total = buckets.reduce((sum, available) => sum + available, 0n);
      const more = moreBuckets(buckets.length, total);
      if (more !== undefined) await writeBuckets(tx, productId, spread(total, more));
      return more;
    },
    { retry: true },
  );
}

function outrun(): Fault {
  return fault('OVERLOADED', { detail: 'too many others buy the same', retryAfterSeconds: 1 });
}

/** Spoken between services only: the public API never shows it. */
function holdExpired(): Fault {
  return new Fault('conflict', 'HOLD_EXPIRED', { detail: 'the hold of this order has ended' });
}

/** The answer to a repeated call. */
function repeated(hold: Hold, nowMs: number): Hold {
  if (hold.state === 'confirmed') return hold;
  if (hold.state !== 'held' || hold.expiresAtMs <= nowMs) throw holdExpired();
  return hold;
}

function refusal(lines: readonly WantedLine[], offers: ReadonlyMap<string, Offer>): Fault | undefined {
  const named = (of: readonly WantedLine[]) => ({ extra: { productIds: of.map((line) => line.productId) } });
  const unavailable = lines.filter((line) => offers.get(line.productId)?.archived !== false);
  if (unavailable.length > 0) return fault('PRODUCT_UNAVAILABLE', named(unavailable));
  if (new Set(lines.map((line) => offers.get(line.productId)!.currency)).size > 1)
    return fault('CURRENCY_MIXED', named(lines));
  const short = lacking(lines, offers);
  return short.length > 0 ? fault('OUT_OF_STOCK', named(short)) : undefined;
}

function lacking<L extends WantedLine>(lines: readonly L[], offers: ReadonlyMap<string, Offer>): L[] {
  return lines.filter((line) => {
    const buckets = offers.get(line.productId)?.buckets ?? [];
    return buckets.reduce((sum, available) => sum + available, 0n) < BigInt(line.quantity);
  });
}

/** With `random`: each line from one bucket that has enough. Without: from all, which misses nothing. */
function want(
  lines: readonly WantedLine[],
  offers: ReadonlyMap<string, Offer>,
  random: (() => number) | undefined,
): Wanted[] {
  return lines.map(({ productId, quantity }) => ({
    productId,
    quantity,
    bucket: random ? chooseBucket(offers.get(productId)!.buckets, quantity, random) : null,
  }));
}

function heldLine({ productId, quantity }: WantedLine, offer: Offer): HeldLine {
  const { sku, name, priceMinor: unitPriceMinor, currency } = offer;
  return { productId, sku, name, quantity, unitPriceMinor, currency };
}
