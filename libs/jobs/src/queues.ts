import type { PgBoss } from 'pg-boss';
import { HEARTBEAT_SECONDS } from './boss';

/** How the jobs of one queue are treated. Queues are declared by every process that enqueues or works. */
export interface QueueOptions {
  /** Attempts after the first; then the job is a dead letter. */
  retryLimit: number;
  /** The pause before attempt n + 1 is random, below this times 2^(n-1). */
  retryDelaySeconds: number;
  /** Ceiling of that pause, default 300 s. */
  retryDelayMaxSeconds?: number;
  /** Longest time of one attempt, 1..45 s: longer work is a chain of short steps. */
  expireInSeconds: number;
  /** Most jobs that wait in the queue; more are refused as `OVERLOADED`. */
  maxQueued: number;
  /** Jobs of this queue that one process runs at once, default 1. */
  concurrency?: number;
  /** Higher ones first within the queue, default 0; a job may have its own. */
  priority?: number;
  /** Five fields, in UTC: one job with the payload `{}` within 5 s of each tick, over all replicas. */
  cron?: string;
  /** Members of the payload that no operator may see, such as tokens. */
  hidden?: readonly string[];
}

export interface Queue extends QueueOptions {
  name: string;
  retryDelayMaxSeconds: number;
  concurrency: number;
  priority: number;
}

export interface EnqueueOptions {
  /**
   * Of the jobs with one key that wait for their first attempt there is only one: another enqueue finds it and adds nothing. A job
   * that runs already does not count, so that it cannot miss what the enqueuing transaction has changed.
   */
  key?: string;
  priority?: number;
  startAfter?: Date;
}

const TEN_YEARS_SECONDS = 10 * 365 * 86_400;

/** Checks what cannot be right and fills in the defaults. */
export function resolveQueue(name: string, options: QueueOptions): Queue {
  const queue = { retryDelayMaxSeconds: 300, concurrency: 1, priority: 0, ...options, name };
  const wrong = (what: string) => new RangeError(`queue ${name}: ${what}`);
  if (!/^[a-z][a-z0-9-]{0,49}$/.test(name)) throw wrong('its name is not of the form [a-z][a-z0-9-]*');
  if (!(queue.expireInSeconds >= 1 && queue.expireInSeconds <= 45))
    throw wrong('expireInSeconds must be 1..45, so that a lost job runs again within a minute');
  if (queue.cron !== undefined && queue.cron.trim().split(/\s+/).length !== 5)
    throw wrong('cron must have five fields');
  if (!(queue.retryLimit >= 0)) throw wrong('retryLimit must not be negative');
  if (!(queue.retryDelaySeconds > 0)) throw wrong('retryDelaySeconds must be above 0');
  if (!(queue.maxQueued >= 1)) throw wrong('maxQueued must be at least 1');
  if (!(queue.concurrency >= 1)) throw wrong('concurrency must be at least 1');
  return queue;
}

/** Makes the queue known to pg-boss, or brings it up to date. Replicas may do so at the same time. */
export async function declareQueue(boss: PgBoss, queue: Queue): Promise<void> {
  const settings = {
    retryLimit: queue.retryLimit,
    expireInSeconds: queue.expireInSeconds,
    heartbeatSeconds: HEARTBEAT_SECONDS,
    // Jobs of dead processes go back at once; the pause after an error is set by whoever records it.
    retryDelay: 0,
    retryBackoff: false,
    // Nothing is removed because of its age: what waits is run, what failed is buried.
    retentionSeconds: TEN_YEARS_SECONDS,
    deleteAfterSeconds: 0,
  };
  await boss.createQueue(queue.name, { ...settings, policy: 'short' });
  await boss.updateQueue(queue.name, settings);
}
