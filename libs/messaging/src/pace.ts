import type { Queryable } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import type { EventLog } from './event-log';
import { countUnpublished, lagOf } from './lag';

/** Keeps a bulk writer from running ahead of the readers of its events, whose readers would otherwise see old data for long. */
export interface Pace {
  /**
   * Resolves true once no more than `most` events wait to be published or to be handled by the slowest of the readers; false
   * when that is still not so after `budgetMs`, or `signal` aborts. A log that cannot tell does not hold the writer up.
   */
  wait(options: { budgetMs: number; signal?: AbortSignal }): Promise<boolean>;
}

const LOOK_EVERY_MS = 200;

/**
 * Makes a pace by the outbox in `db` and the readers of `topics` whose groups begin with one of `groupPrefixes`. `log` is called
 * for each look, since it may be opened later than this; undefined: the outbox alone counts.
 */
export function createPace(deps: {
  db: Queryable;
  log: () => EventLog | undefined;
  topics: readonly string[];
  groupPrefixes: readonly string[];
  /** In events. */
  most: number;
  clock: Clock;
  logger: Logger;
}): Pace {
  const { db, topics, groupPrefixes, most, clock, logger } = deps;
  let warned = false;

  const behind = async (): Promise<number> => {
    const unpublished = await countUnpublished(db, most + 1);
    const log = deps.log();
    if (unpublished > most || !log) return unpublished;
    try {
      const lags = await Promise.all(groupPrefixes.map((prefix) => lagOf(log, prefix, topics)));
      warned = false;
      return unpublished + Math.max(0, ...lags);
    } catch (error) {
      if (!warned)
        logger.warn('bulk work goes on without knowing how far behind its readers are', { err: error });
      warned = true;
      return unpublished;
    }
  };

  return {
    async wait({ budgetMs, signal }) {
      for (
        const untilMs = clock.now() + budgetMs;
        !signal?.aborted;
        await clock.sleep(LOOK_EVERY_MS, signal)
      ) {
        if ((await behind()) <= most) return true;
        if (clock.now() >= untilMs) return false;
      }
      return false;
    },
  };
}
