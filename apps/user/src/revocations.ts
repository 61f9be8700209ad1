import type { userV1 } from '@headroom/contracts';
import { startPoller, type Clock } from '@headroom/resilience';
import { untraced, type Logger } from '@headroom/telemetry';
import { revocationsSince } from './repository';
import type { Shard } from './shards';

export interface RevocationFeed {
  /**
   * All revocations of the window, ending with a batch marked `caughtUp`, then new ones; a batch at least every second, an
   * empty one if need be, as long as every database can be read. Silence means that something may have been missed.
   */
  watch(signal: AbortSignal): AsyncIterable<userV1.RevocationBatch>;
  /** Looks at once, since something was revoked here. */
  kick(): void;
  /** Ends all streams. */
  close(): Promise<void>;
}

interface Entry {
  key: string;
  sessionId: string;
  revokedAtMs: bigint;
}

const IDLE_MS = 400;
/** A revocation can become visible this much later than its time says: the longest that its transaction may take. */
const OVERLAP_MS = 30_000;
const BATCH = 1_000;

/**
 * Follows the revocations of all databases with one poller per process, however many streams there are. Each round reads again
 * what is younger than the last good round less an overlap, and skips what it knows. Only rounds that reached every database
 * are passed on. Memory: the entries of one window.
 */
export function startRevocationFeed(deps: {
  shards: readonly Shard[];
  /** How far back a new stream begins: longer than an access token lives. */
  windowMs: number;
  logger: Logger;
  clock?: Clock;
}): RevocationFeed {
  const { shards, windowMs, logger } = deps;
  const stop = new AbortController();
  const known = new Set<string>();
  let entries: Entry[] = [];
  /** Entries that were dropped from the front: the sequence number of the first that is kept. */
  let dropped = 0;
  let rounds = 0;
  const readTo = new Map<number, number>();
  const waiting = new Set<() => void>();
  const notify = () => {
    for (const wake of waiting) wake();
  };

  const read = async ({ number, db }: Shard): Promise<number> => {
    const last = readTo.get(number);
    const { nowMs, rows } = await revocationsSince(
      db,
      last === undefined ? { windowMs } : { sinceMs: last - OVERLAP_MS },
    );
    for (const row of rows) {
      const key = `${number}/${row.id}`;
      if (known.has(key)) continue;
      known.add(key);
      entries.push({ key, sessionId: row.sid, revokedAtMs: BigInt(Math.floor(row.revokedAtMs)) });
    }
    readTo.set(number, nowMs);
    return nowMs;
  };

  /** Forgets what no token can need any more; longer than the overlap, or it would be taken for new. */
  const prune = (nowMs: number) => {
    const keptFrom = BigInt(Math.floor(nowMs - windowMs - OVERLAP_MS));
    const old = entries.findIndex((entry) => entry.revokedAtMs >= keptFrom);
    const count = old < 0 ? entries.length : old;
    if (count === 0) return;
    for (const entry of entries.slice(0, count)) known.delete(entry.key);
    entries = entries.slice(count);
    dropped += count;
  };

  const poller = startPoller({
    idleMs: IDLE_MS,
    ...(deps.clock ? { clock: deps.clock } : {}),
    onError: (error) => logger.warn('revocations could not be read: streams are silent', { err: error }),
    round: () =>
      untraced(async () => {
        const results = await Promise.allSettled(shards.map(read));
        const times = results.map((result) => {
          if (result.status === 'rejected') throw result.reason;
          return result.value;
        });
        prune(Math.min(...times));
        rounds += 1;
        notify();
        return false;
      }),
  });

  const nextRound = (after: number, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        if (rounds === after && !signal.aborted && !stop.signal.aborted) return;
        waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      waiting.add(wake);
      signal.addEventListener('abort', wake);
      wake();
    });

  return {
    async *watch(signal) {
      let round = rounds; // what was read before this stream began does not prove that all can be read now
      let next = 0;
      let caughtUp = false;
      poller.kick();
      for (;;) {
        await nextRound(round, signal);
        if (signal.aborted || stop.signal.aborted) return;
        round = rounds;
        do {
          next = Math.max(next, dropped);
          const batch = entries.slice(next - dropped, next - dropped + BATCH);
          next += batch.length;
          const complete = next - dropped >= entries.length;
          yield {
            revocations: batch.map(({ sessionId, revokedAtMs }) => ({ sessionId, revokedAtMs })),
            caughtUp: complete && !caughtUp,
          };
          caughtUp ||= complete;
        } while (next - dropped < entries.length);
      }
    },
    kick: poller.kick,
    async close() {
      stop.abort();
      notify();
      await poller.close();
    },
  };
}
