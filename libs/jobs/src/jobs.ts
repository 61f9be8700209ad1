import { sql, type Database, type Queryable, type Tx } from '@headroom/postgres';
import { Fault, systemClock, uuidv7, type Clock, type Poller } from '@headroom/resilience';
import { currentTraceparent, type Logger } from '@headroom/telemetry';
import { openBoss, within } from './boss';
import { discardDeadJob, exhume, listDeadJobs } from './dead-jobs';
import type { DeadLetterSource } from './dead-letter-sources';
import { assertPayloadSize, type Envelope } from './envelope';
import { declareQueue, resolveQueue, type EnqueueOptions, type Queue, type QueueOptions } from './queues';
import { startSchedules } from './schedules';
import { startUpkeep, type Upkeep } from './upkeep';
import { startWorker, type JobHandler, type Worker } from './worker';

/** How often an enqueue looks for the waiting job of its key when that is taken up each time just before. */
const KEY_TRIES = 5;

/** How long a count of the jobs that wait is good for. */
const ROOM_MS = 1_000;

export interface JobsOptions {
  /** The service's own database, with the tables of `jobsMigrations()`. */
  db: Database;
  logger: Logger;
  /** All queues that this process enqueues into or works on; names of the form `[a-z][a-z0-9-]*`. */
  queues: Readonly<Record<string, QueueOptions>>;
  /** For timetables and ids; what waits and expires is counted by the database's clock. */
  clock?: Clock;
  /** In [0, 1), for the jitter of retries. */
  random?: () => number;
}

/**
 * Work that is done later, kept in the service's own database: nothing that was enqueued is lost, and what a job does together
 * with its completion happens once.
 *
 * Long work is a chain of steps of about 15 s at most: each reads its place from the payload, does a bounded piece, and in one
 * transaction writes the effect, adds to the tracked job (`addProgress`) and calls `continueWith` with the next place, or
 * `finishTrackedJob` and `complete` at the end. A killed process then costs the piece that was under way, and a deploy too.
 */
export interface Jobs {
  /**
   * Puts a job into its queue, in the caller's transaction: it exists exactly if `tx` commits. The payload is JSON of at most
   * 256 KiB; it names the input and carries no secret that is not `hidden`. `trackedJobId` is marked as failed if the job is
   * given up. The trace of the caller goes on in the job. Returns its id, or that of the waiting job with the same key.
   * Fault `overloaded` when `maxQueued` jobs wait; since counts are kept for a second, several processes together may go over it.
   */
  enqueue(
    tx: Tx,
    queue: string,
    payload: object,
    options?: EnqueueOptions & { trackedJobId?: string },
  ): Promise<string>;
  /**
   * Runs the queue's jobs in this process from now on. The first call also starts the upkeep of all queues and the timetables,
   * so at least one process of a service must work.
   */
  work<P extends object>(
    queue: string,
    handler: JobHandler<P>,
    options?: { concurrency?: number; closeTimeoutMs?: number },
  ): Promise<{ close(): Promise<void> }>;
  /** Jobs that were given up. Requeued, a job has all its attempts again. */
  deadLetters: DeadLetterSource;
  /** What is wrong with the work of this process, or undefined; for a health check. */
  health(): string | undefined;
  /**
   * Stops taking jobs, lets those under way end (10 s, then their signal aborts), and gives the rest back to be run at once
   * elsewhere. The database stays open.
   */
  close(): Promise<void>;
}

/** Opens the queues of a database and makes them known there. Rejects while the database cannot be reached. */
export async function openJobs(options: JobsOptions): Promise<Jobs> {
  const { db, logger, clock = systemClock, random = Math.random } = options;
  const queues = new Map(
    Object.entries(options.queues).map(([name, each]) => [name, resolveQueue(name, each)]),
  );
  const boss = await openBoss(db, logger);
  const nextTick = (cron: string, afterMs: number) =>
    boss.previewSchedule(cron, { tz: 'UTC', from: new Date(afterMs), count: 1 })[0]!.getTime();
  try {
    for (const queue of queues.values()) {
      if (queue.cron !== undefined) nextTick(queue.cron, clock.now()); // refuses what is no timetable
      await declareQueue(boss, queue);
    }
  } catch (error) {
    await boss.stop({ close: false, graceful: false });
    throw error;
  }

  const workers = new Map<string, Worker>();
  const rooms = new Map<string, { left: number; untilMs: number }>();
  let background: Promise<{ upkeep: Upkeep; schedules: Poller }> | undefined;

  const queueOf = (name: string): Queue => {
    const queue = queues.get(name);
    if (!queue) throw new Error(`the queue ${name} was not declared to openJobs`);
    return queue;
  };

  /** Without a look at the limit. */
  const add = async (
    tx: Tx,
    queue: Queue,
    data: Envelope,
    {
      id = uuidv7(clock.now()),
      key,
      priority = queue.priority,
      startAfter,
    }: EnqueueOptions & { id?: string },
  ): Promise<string> => {
    assertPayloadSize(queue.name, data.payload);
    for (let tries = 1; tries <= KEY_TRIES; tries += 1) {
      const added = await boss.send(queue.name, data, {
        id,
        priority,
        singletonKey: key ?? id,
        ...(startAfter ? { startAfter } : {}),
        db: within(tx, 'jobs.send'),
      });
      if (added !== null) {
        tx.afterCommit(() => workers.get(queue.name)?.kick());
        return added;
      }
      // Holds the job that waits until this transaction has ended, so that it sees what this one changes.
      const waiting = await tx.row<{ id: string }>(sql('jobs.holdWaiting')`
        select id from jobs.job_common
        where name = ${queue.name} and state = 'created' and policy = 'short' and coalesce(singleton_key, '') = ${key ?? id}
        for update`);
      if (waiting) return waiting.id;
    }
    throw new Fault('overloaded', 'OVERLOADED', {
      detail: `jobs of one key come and go too fast (${queue.name})`,
      retryAfterSeconds: 1,
    });
  };

  /**
   * Counts at most once a second while the queue is far from full: in between, this process may add half of what was free.
   */
  const takeRoom = async (tx: Tx, queue: Queue) => {
    let room = rooms.get(queue.name);
    if (!room || room.left <= 0 || performance.now() > room.untilMs) {
      const free = queue.maxQueued - (await countWaiting(tx, queue.name, queue.maxQueued));
      if (free <= 0)
        throw new Fault('overloaded', 'OVERLOADED', {
          detail: `too much work waits already (${queue.name})`,
          retryAfterSeconds: 10,
        });
      room = { left: Math.ceil(free / 2), untilMs: performance.now() + ROOM_MS };
      rooms.set(queue.name, room);
    }
    room.left -= 1;
  };

  const envelope = (payload: object, trackedJobId: string | undefined): Envelope => {
    const traceparent = currentTraceparent();
    return {
      payload,
      ...(traceparent === undefined ? {} : { traceparent }),
      ...(trackedJobId === undefined ? {} : { trackedJobId }),
    };
  };

  const startBackground = async () => {
    const schedules = await startSchedules({
      db,
      queues: [...queues.values()].filter((queue) => queue.cron !== undefined) as Array<
        Queue & { cron: string }
      >,
      nextTick,
      enqueue: async (tx, name) => {
        await add(tx, queueOf(name), { payload: {} }, { key: 'timetable' });
      },
      clock,
      logger,
    });
    return { schedules, upkeep: startUpkeep({ boss, db, queues: [...queues.values()], clock, logger }) };
  };

  return {
    async enqueue(tx, name, payload, { trackedJobId, ...placing } = {}) {
      const queue = queueOf(name);
      await takeRoom(tx, queue);
      return add(tx, queue, envelope(payload, trackedJobId), placing);
    },
    async work(name, handler, { concurrency, closeTimeoutMs } = {}) {
      const queue = queueOf(name);
      if (workers.has(name)) throw new Error(`this process works on the queue ${name} already`);
      const worker = startWorker({
        boss,
        db,
        queue,
        handler,
        concurrency: concurrency ?? queue.concurrency,
        logger,
        clock,
        random,
        enqueueStep: async (tx, next, payload, { trackedJobId, ...placing }) => {
          await add(tx, queueOf(next), envelope(payload, trackedJobId), placing);
        },
        ...(closeTimeoutMs === undefined ? {} : { closeTimeoutMs }),
      });
      workers.set(name, worker);
      background ??= startBackground();
      try {
        await background;
      } catch (error) {
        background = undefined;
        throw error;
      }
      return {
        async close() {
          if (workers.get(name) === worker) workers.delete(name);
          await worker.close();
        },
      };
    },
    deadLetters: {
      list: (page) => listDeadJobs(db, page, (queue) => queues.get(queue)?.hidden ?? []),
      requeue: (id) =>
        db.transaction(async (tx) => {
          const job = await exhume(tx, id);
          if (!job) return false;
          await add(tx, queueOf(job.queue), job.data, {
            id: job.jobId,
            priority: job.priority,
            ...(job.key === null ? {} : { key: job.key }),
          });
          return true;
        }),
      discard: (id) => discardDeadJob(db, id),
    },
    health() {
      const stuck = [...workers].filter(([, worker]) => worker.overdue() > 0).map(([name]) => name);
      return stuck.length > 0 ? `jobs do not end: ${stuck.join(', ')}` : undefined;
    },
    async close() {
      await (await background)?.schedules.close();
      await Promise.all([...workers.values()].map((worker) => worker.close()));
      workers.clear();
      await (await background)?.upkeep.close();
      await boss.stop({ close: false, graceful: false });
    },
  };
}

/** At most `limit` are counted. By pg-boss's index of waiting jobs. */
async function countWaiting(db: Queryable, queue: string, limit: number): Promise<number> {
  const row = await db.row<{ count: number }>(sql('jobs.countWaiting')`
    select count(*)::int as count from (
      select 1 from jobs.job_common where name = ${queue} and state < 'active' and not blocked limit ${limit}) as w`);
  return row!.count;
}
