import { writeOutbox } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { startPoller, type Clock, type Poller } from '@headroom/resilience';
import type { Uploads } from '@headroom/storage';
import { counter, untraced, type Logger } from '@headroom/telemetry';
import { stockEvent } from './events';
import { deleteMarks, expireHolds, lockMarked, nextStocks } from './stock-repository';

/** A product's stock is published at most this often. */
export const PUBLISH_EVERY_MS = 1_000;
const LOOK_FOR_MARKS_MS = 150;
const LOOK_FOR_EXPIRED_MS = 1_000;
const CLEAN_UP_EVERY_MS = 60_000;
const KEEP_UPLOADS_MS = 24 * 3_600_000;
const MOST_PRODUCTS = 500;
const MOST_HOLDS = 100;

const countExpired = counter({
  name: 'catalog_holds_expired_total',
  help: 'Holds whose time ran out before they were sold or released',
});

/**
 * Publishes the stock of at most 500 products that were marked, as absolute values under the next version of each, in one
 * transaction. A product that was published less than PUBLISH_EVERY_MS ago keeps its marks. Returns how many were published.
 */
export function publishStock(deps: { db: Database; clock: Clock; wakeRelay?: () => void }): Promise<number> {
  const { db, clock, wakeRelay } = deps;
  return db.transaction(
    async (tx) => {
      const nowMs = clock.now();
      const productIds = await lockMarked(tx, { beforeMs: nowMs - PUBLISH_EVERY_MS, limit: MOST_PRODUCTS });
      if (productIds.length === 0) return 0;
      await deleteMarks(tx, productIds);
      const stocks = await nextStocks(tx, productIds, nowMs);
      await writeOutbox(
        tx,
        stocks.map((stock) => stockEvent(stock, nowMs)),
        wakeRelay,
      );
      return stocks.length;
    },
    { retry: true },
  );
}

/** Publishes marked stock until closed; `kick` after a change that somebody waits to see. */
export function startStockPublisher(deps: {
  db: Database;
  clock: Clock;
  logger: Logger;
  wakeRelay?: () => void;
}): Poller {
  return startPoller({
    round: () => untraced(async () => (await publishStock(deps)) > 0),
    idleMs: LOOK_FOR_MARKS_MS,
    onError: (error) => deps.logger.warn('stock could not be published', { err: error }),
    clock: deps.clock,
  });
}

/** Gives the units of holds back whose time has run out, until closed. Any number of processes may do so side by side. */
export function startHoldExpiry({
  db,
  clock,
  logger,
}: {
  db: Database;
  clock: Clock;
  logger: Logger;
}): Poller {
  const round = async () => {
    const expired = await expireHolds(db, { nowMs: clock.now(), limit: MOST_HOLDS });
    if (expired > 0) {
      countExpired({}, expired);
      logger.info('holds expired', { count: expired });
    }
    return expired === MOST_HOLDS;
  };
  return startPoller({
    round: () => untraced(round),
    idleMs: LOOK_FOR_EXPIRED_MS,
    onError: (error) => logger.warn('holds could not be expired', { err: error }),
    clock,
  });
}

/** Removes what uploads left behind that were not completed within a day, until closed. */
export function startUploadCleanUp({
  uploads,
  clock,
  logger,
}: {
  uploads: Pick<Uploads, 'cleanUp'>;
  clock: Clock;
  logger: Logger;
}): Poller {
  return startPoller({
    round: () => untraced(async () => (await uploads.cleanUp(new Date(clock.now() - KEEP_UPLOADS_MS))) > 0),
    idleMs: CLEAN_UP_EVERY_MS,
    onError: (error) => logger.warn('old uploads could not be removed', { err: error }),
    clock,
  });
}
