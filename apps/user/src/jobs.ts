import { startPoller, type Clock, type Poller } from '@headroom/resilience';
import { untraced, type Logger } from '@headroom/telemetry';
import { MAIL_MAX_AGE_MS } from './mails';
import type { Registration } from './registration';
import { deleteExpired, trimMails } from './repository';
import type { Shard } from './shards';

const IDLE_MS = 60_000;
const BATCH = 1_000;
const DAY_MS = 24 * 3_600_000;

/**
 * Keeps the databases tidy: settles reservations that died, deletes expired sessions, tokens, resets, throttle windows,
 * revocations and mails in small batches. Any number of replicas may do so at once; a database that is away does not hold up the others.
 */
export function startHousekeeping(deps: {
  shards: readonly Shard[];
  registration: Pick<Registration, 'settleStale'>;
  revocationWindowMs: number;
  clock: Clock;
  logger: Logger;
}): Poller {
  const { shards, clock, logger } = deps;
  return startPoller({
    idleMs: IDLE_MS,
    clock,
    onError: (error) => logger.warn('housekeeping failed: it will be tried again', { err: error }),
    round: () =>
      untraced(async () => {
        const results = await Promise.allSettled(shards.map((shard) => tidy(shard, deps)));
        const failed = results.find((result) => result.status === 'rejected');
        if (failed) throw failed.reason;
        return results.some((result) => result.status === 'fulfilled' && result.value);
      }),
  });
}

/** One batch of each kind in one database; true when there may be more. */
export async function tidy(
  shard: Shard,
  deps: { registration: Pick<Registration, 'settleStale'>; revocationWindowMs: number; clock: Clock },
): Promise<boolean> {
  const settled = await deps.registration.settleStale(shard, BATCH);
  const deleted = await deleteExpired(shard.db, {
    // A day more, so that clocks that differ never make a token unknown that another still takes for good.
    expiredBefore: new Date(deps.clock.now() - DAY_MS),
    failuresBefore: new Date(deps.clock.now()),
    revocationsOlderThanMs: deps.revocationWindowMs + 3_600_000,
    limit: BATCH,
  });
  const trimmed =
    shard.number === 0
      ? await trimMails(shard.db, {
          markedBefore: new Date(deps.clock.now() - 2 * MAIL_MAX_AGE_MS),
          limit: BATCH,
        })
      : 0;
  return Math.max(settled, deleted, trimmed) === BATCH;
}
