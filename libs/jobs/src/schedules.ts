import { sql, type Database, type Tx } from '@headroom/postgres';
import { startPoller, type Clock, type Poller } from '@headroom/resilience';
import { untraced, type Logger } from '@headroom/telemetry';
import type { Queue } from './queues';

/** How late a tick may be. */
const LOOK_MS = 5_000;

/** The time of the first tick after `afterMs`, in milliseconds. */
export type NextTick = (cron: string, afterMs: number) => number;

/**
 * Enqueues the jobs of timetables. Each queue has one row with the time of its next tick; whoever locks it after that time
 * enqueues the job and moves the row on, in one transaction: one job per tick, over any number of replicas. Ticks that passed
 * while no process looked become one job, at once when one looks again. A changed expression starts from now.
 */
export async function startSchedules(options: {
  db: Database;
  queues: ReadonlyArray<Queue & { cron: string }>;
  nextTick: NextTick;
  enqueue: (tx: Tx, queue: string) => Promise<void>;
  clock: Clock;
  logger: Logger;
}): Promise<Poller> {
  const { db, queues, nextTick, enqueue, clock, logger } = options;
  if (queues.length === 0) return { kick() {}, close: async () => undefined };
  for (const { name, cron } of queues) {
    const next = new Date(nextTick(cron, clock.now()));
    await db.execute(sql('jobSchedules.declare')`
      insert into job_schedules (queue, cron, next_at) values (${name}, ${cron}, ${next}) on conflict do nothing`);
    await db.execute(sql('jobSchedules.change')`
      update job_schedules set cron = ${cron}, next_at = ${next} where queue = ${name} and cron <> ${cron}`);
  }
  const names = queues.map((queue) => queue.name);

  const round = () =>
    db.transaction(async (tx) => {
      const nowMs = clock.now();
      const due = await tx.row<{ queue: string; cron: string }>(sql('jobSchedules.due')`
        select queue, cron from job_schedules where queue = any(${names}) and next_at <= ${new Date(nowMs)}
        order by next_at limit 1 for update skip locked`);
      if (!due) return false;
      await enqueue(tx, due.queue);
      await tx.execute(sql('jobSchedules.move')`
        update job_schedules set next_at = ${new Date(nextTick(due.cron, nowMs))} where queue = ${due.queue}`);
      return true;
    });
  return startPoller({
    idleMs: LOOK_MS,
    clock,
    round: () => untraced(round),
    onError: (error) => logger.warn('looking after timetables failed', { err: error }),
  });
}
