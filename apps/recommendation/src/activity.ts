import { fault, TOPICS, type ActivityEvent } from '@headroom/contracts';
import type { EventLog } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { startPoller, systemClock, type Clock } from '@headroom/resilience';
import { counter, gauge, untraced, type Logger } from '@headroom/telemetry';
import type { LiveModel } from './live-model';
import { knownProducts } from './model-repository';

const countTaken = counter({ name: 'activities_taken_total', help: 'Activities accepted', labels: ['type'] });
const countRefused = counter({
  name: 'activities_refused_total',
  help: 'Activities refused because the buffer was full',
  labels: [],
});
const setWaiting = gauge({
  name: 'activities_waiting',
  help: 'Activities accepted and not written yet: what a crash would lose now',
  labels: [],
});

/** An activity with its place in the log. */
export interface PublishableActivity {
  topic: string;
  key: string;
  event: ActivityEvent;
}

export interface ActivityBuffer {
  /** Takes one, to be written within `flushMs`; throws OVERLOADED when the buffer is full or closed. */
  take(activity: PublishableActivity): void;
  /** Takes no more, and writes what was taken; gives up, and says how many it lost, after `closeMs`. */
  close(): Promise<void>;
}

/** How long an accepted activity waits at most while the log answers: what a crash may lose. */
const FLUSH_MS = 500;
const BATCH = 500;
/** About half a minute of a thousand activities a second, or some megabytes. */
const CAPACITY = 20_000;
const CLOSE_MS = 10_000;

/**
 * Write-behind: activities are accepted in memory and written in batches, when a batch is full or after half a second. Lost by a
 * crash: what was accepted since the last write, at most half a second's worth while the log answers. Nothing is lost by a stop in
 * good order. While the log is away the buffer fills, the same batch is tried again and again, and a full buffer refuses. A
 * batch that is written twice repeats its events under their ids.
 */
export function startActivityBuffer(options: {
  publish: (activities: readonly PublishableActivity[]) => Promise<void>;
  logger: Logger;
  clock?: Clock;
  capacity?: number;
  closeMs?: number;
}): ActivityBuffer {
  const { publish, logger, clock = systemClock, capacity = CAPACITY, closeMs = CLOSE_MS } = options;
  let waiting: PublishableActivity[] = [];
  let closed = false;

  /** Writes the oldest batch; true while there is another full one. */
  const flush = async () => {
    const batch = waiting.slice(0, BATCH);
    if (batch.length > 0) await untraced(() => publish(batch));
    waiting = waiting.slice(batch.length);
    setWaiting({}, waiting.length);
    return waiting.length >= BATCH || (closed && waiting.length > 0);
  };
  const poller = startPoller({
    round: flush,
    idleMs: FLUSH_MS,
    clock,
    onError: (error) =>
      logger.warn('activities could not be written: they are tried again', {
        err: error,
        count: waiting.length,
      }),
  });
  return {
    take(activity) {
      if (closed || waiting.length >= capacity) {
        countRefused({});
        throw fault('OVERLOADED', { retryAfterSeconds: 1 });
      }
      waiting.push(activity);
      countTaken({ type: activity.event.data.type });
      setWaiting({}, waiting.length);
      if (waiting.length === BATCH) poller.kick();
    },
    async close() {
      closed = true;
      await poller.close();
      const until = clock.now() + closeMs;
      while (waiting.length > 0)
        try {
          await flush();
        } catch (error) {
          if (clock.now() >= until) {
            logger.error('activities were lost: they could not be written before the end', {
              err: error,
              count: waiting.length,
            });
            return;
          }
          await clock.sleep(250);
        }
    },
  };
}

/**
 * Writes activities to the log, those of products that exist: ids that somebody made up neither fill the log nor become
 * products. A product that was made within the last second may count as made up.
 */
export function publishKnown(options: {
  db: Database;
  log: EventLog;
  liveModel: LiveModel;
}): (activities: readonly PublishableActivity[]) => Promise<void> {
  const { db, log, liveModel } = options;
  let topicMade = false;
  return async (activities) => {
    if (!topicMade) await log.ensureTopics([TOPICS.activity]);
    topicMade = true;
    const ids = [...new Set(activities.map(({ event }) => event.data.productId))];
    const known = await knownProducts(db, liveModel.schema(), ids);
    await log.append(
      activities
        .filter(({ event }) => known.has(event.data.productId))
        .map(({ topic, key, event }) => ({
          topic,
          key,
          value: JSON.stringify(event),
          headers: {
            'content-type': 'application/cloudevents+json',
            ce_type: event.type,
            ...(event.traceparent ? { traceparent: event.traceparent } : {}),
          },
        })),
    );
  };
}
