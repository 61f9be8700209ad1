import { sql, type Database } from '@headroom/postgres';
import { startPoller, type Clock } from '@headroom/resilience';
import { counter, gauge, untraced, type Logger } from '@headroom/telemetry';
import type { PgBoss } from 'pg-boss';
import { SUPERVISE_SECONDS } from './boss';
import { buryAbandoned } from './dead-jobs';
import type { Queue } from './queues';
import { removeTrackedJobs } from './tracked-jobs';

const setWaiting = gauge({ name: 'jobs_waiting', help: 'Jobs that wait in a queue', labels: ['queue'] });
const setOldest = gauge({
  name: 'jobs_oldest_seconds',
  help: 'How long the oldest job that is due has waited',
  labels: ['queue'],
});
const setRunning = gauge({
  name: 'jobs_running',
  help: 'Jobs under way, over all replicas',
  labels: ['queue'],
});
const setDead = gauge({
  name: 'jobs_dead',
  help: 'Jobs that were given up and are neither requeued nor discarded (at most 10,000 are counted)',
  labels: ['queue'],
});
const countAbandoned = counter({
  name: 'jobs_abandoned_total',
  help: 'Jobs given up since each process that ran them ended or was silent',
  labels: ['queue'],
});

const MEASURE_MS = 5_000;
const RETAIN_MS = 60_000;
const RETENTION_MS = 30 * 86_400_000;
const REMOVE_BATCH = 100;

export interface QueueMeasure {
  queue: string;
  waiting: number;
  running: number;
  oldestSeconds: number;
}

export interface Upkeep {
  /** As measured last, within about 5 s. */
  measures(): readonly QueueMeasure[];
  close(): Promise<void>;
}

/**
 * Looks after the queues of a database, in every process that works on any of them: puts jobs of silent processes back (whoever
 * comes first in each interval does it), buries those that have no attempt left, measures, and removes tracked jobs 30 days
 * after their end.
 */
export function startUpkeep(options: {
  boss: PgBoss;
  db: Database;
  queues: readonly Queue[];
  clock: Clock;
  logger: Logger;
}): Upkeep {
  const { boss, db, queues, clock, logger } = options;
  const names = queues.map((queue) => queue.name);
  let measured: QueueMeasure[] = [];

  const chore = (what: string, idleMs: number, round: () => Promise<boolean>) =>
    startPoller({
      idleMs,
      round: () => untraced(round),
      onError: (error) => logger.warn(`${what} failed`, { err: error }),
    });

  const chores = [
    chore('looking for jobs of silent processes', SUPERVISE_SECONDS * 1_000, async () => {
      await boss.supervise();
      const dead = await buryAbandoned(db, clock.now());
      for (const job of dead) {
        countAbandoned({ queue: job.queue });
        logger.error('a job was given up', {
          name: job.queue,
          key: job.jobId,
          attempt: job.attempts,
          reason: job.error,
        });
      }
      return dead.length > 0;
    }),
    chore('measuring the job queues', MEASURE_MS, async () => {
      measured = await measure(db, names);
      for (const each of measured) {
        setWaiting({ queue: each.queue }, each.waiting);
        setRunning({ queue: each.queue }, each.running);
        setOldest({ queue: each.queue }, each.oldestSeconds);
      }
      for (const [queue, count] of await countDead(db, names)) setDead({ queue }, count);
      return false;
    }),
    chore('removing old tracked jobs', RETAIN_MS, async () => {
      return (await removeTrackedJobs(db, clock.now() - RETENTION_MS, REMOVE_BATCH)) === REMOVE_BATCH;
    }),
  ];
  return {
    measures: () => measured,
    async close() {
      await Promise.all(chores.map((each) => each.close()));
    },
  };
}

/** By pg-boss's index on name and state; reads as many rows as wait. */
async function measure(db: Database, names: readonly string[]): Promise<QueueMeasure[]> {
  return db.rows<QueueMeasure>(sql('jobs.measure')`
    select q.name as queue, count(j.id) filter (where j.state < 'active')::int as waiting,
      count(j.id) filter (where j.state = 'active')::int as running,
      coalesce(extract(epoch from clock_timestamp() - min(j.start_after)
        filter (where j.state < 'active' and j.start_after <= now()))::float8, 0) as "oldestSeconds"
    from unnest(${names}::text[]) as q (name)
    left join jobs.job_common j on j.name = q.name and j.state in ('created', 'retry', 'active')
    group by q.name order by q.name`);
}

async function countDead(db: Database, names: readonly string[]): Promise<Array<[string, number]>> {
  const rows = await db.rows<{ queue: string; count: number }>(sql('jobs.countDead')`
    select queue, count(*)::int as count from (select queue from dead_jobs limit 10000) as d group by queue`);
  const counts = new Map(rows.map((row) => [row.queue, row.count]));
  return names.map((name) => [name, counts.get(name) ?? 0]);
}
