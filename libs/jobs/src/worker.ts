import { sql, type Database, type Tx } from '@headroom/postgres';
import { backoffMs, startPoller, withTimeout, type Clock } from '@headroom/resilience';
import { counter, durationHistogram, inSpan, untraced, type Logger } from '@headroom/telemetry';
import type { JobWithMetadata, PgBoss } from 'pg-boss';
import { HEARTBEAT_SECONDS, within } from './boss';
import { bury } from './dead-jobs';
import type { Envelope } from './envelope';
import { isPermanent, JobLost, messageOf } from './failure';
import type { EnqueueOptions, Queue } from './queues';

/** One attempt of one job, as its handler gets it. */
export interface RunningJob<P> {
  id: string;
  queue: string;
  payload: P;
  /** 1 for the first. */
  attempt: number;
  /** The tracked job that it works for. */
  trackedJobId: string | undefined;
  /** Aborts when the attempt has run for as long as its queue allows, has been replaced, or the process stops. */
  signal: AbortSignal;
  /**
   * Completes the job in the transaction that holds its effect, so that both commit or neither does: the effect happens once.
   * Last in the transaction. Throws JobLost, which must roll `tx` back, when the job is no longer this attempt's.
   */
  complete(tx: Tx): Promise<void>;
  /**
   * Completes this step and enqueues the next one (in this queue unless `queue` says otherwise), in one transaction with this
   * step's effect. The next step has the priority and the tracked job of this one, and no key. Never refused for a full queue.
   */
  continueWith(
    tx: Tx,
    payload: object,
    options?: Pick<EnqueueOptions, 'startAfter' | 'priority'> & { queue?: string },
  ): Promise<void>;
}

/**
 * Does one job. Returning without `complete` or `continueWith` completes it afterwards, which suits effects that may be repeated.
 * Throwing brings another attempt after a pause, or the dead letters: see `isPermanent` and the queue's `retryLimit`.
 */
export type JobHandler<P> = (job: RunningJob<P>) => Promise<void>;

export interface Worker {
  kick(): void;
  /** Attempts that have run for longer than their queue allows and did not heed their signal. */
  overdue(): number;
  /** Takes no more jobs, lets those under way end for a while, and gives the rest back to be run at once by others. */
  close(): Promise<void>;
}

export interface WorkerOptions<P> {
  boss: PgBoss;
  db: Database;
  queue: Queue;
  handler: JobHandler<P>;
  concurrency: number;
  logger: Logger;
  clock: Clock;
  random: () => number;
  /** Enqueues a later step. */
  enqueueStep: (
    tx: Tx,
    queue: string,
    payload: object,
    options: EnqueueOptions & { trackedJobId?: string },
  ) => Promise<void>;
  /** How long `close` waits for attempts under way, default 10,000 ms. */
  closeTimeoutMs?: number;
}

const countFinished = counter({
  name: 'jobs_attempts_total',
  help: 'Attempts of jobs by outcome: completed, retried, dead, lost (replaced meanwhile), returned (at a stop)',
  labels: ['queue', 'outcome'],
});
const observeRun = durationHistogram({
  name: 'jobs_attempt_seconds',
  help: 'Time of one attempt of a job',
  labels: ['queue', 'outcome'],
});

/** How long a job from another process may wait to be seen; those of this process are seen at once. */
const IDLE_MS = 1_000;
const TOUCH_MS = (HEARTBEAT_SECONDS * 1_000) / 5;
const ABORTED_GRACE_MS = 1_000;

/** An attempt under way. */
interface Attempt {
  job: JobWithMetadata<Envelope>;
  abort: AbortController;
  startedMs: number;
  done: Promise<void>;
}

/** Runs the jobs of one queue in this process, as many at once as `concurrency` says. */
export function startWorker<P>(options: WorkerOptions<P>): Worker {
  const { boss, db, queue, handler, concurrency, logger, clock, random } = options;
  const running = new Set<Attempt>();

  const poller = startPoller({
    idleMs: IDLE_MS,
    onError: (error) => logger.warn('looking for jobs failed', { err: error, name: queue.name }),
    round: async () => {
      const free = concurrency - running.size;
      if (free <= 0) return false;
      const jobs = await untraced(() =>
        boss.fetch<Envelope>(queue.name, {
          batchSize: free,
          includeMetadata: true,
          db: within(db, 'jobs.fetch'),
        }),
      );
      for (const job of jobs) start(job);
      return jobs.length > 0;
    },
  });

  const toucher = startPoller({
    idleMs: TOUCH_MS,
    onError: (error) =>
      logger.warn('telling that jobs are still under way failed', { err: error, name: queue.name }),
    round: () =>
      untraced(async () => {
        if (running.size === 0) return false;
        const attempts = [...running];
        const { settled } = (await boss.touch(
          queue.name,
          attempts.map(({ job }) => job),
          { db: within(db, 'jobs.touch') },
        )) as { settled?: string[] };
        for (const attempt of attempts)
          if (running.has(attempt) && settled?.includes(attempt.job.id) === false) attempt.abort.abort();
        return false;
      }),
  });

  const start = (job: JobWithMetadata<Envelope>) => {
    const attempt: Attempt = {
      job,
      abort: new AbortController(),
      startedMs: performance.now(),
      done: Promise.resolve(),
    };
    running.add(attempt);
    attempt.done = run(attempt).finally(() => {
      running.delete(attempt);
      poller.kick();
    });
  };

  const run = async (attempt: Attempt): Promise<void> => {
    const { job, abort } = attempt;
    const number = job.retryCount + 1;
    const expiry = setTimeout(() => abort.abort(), queue.expireInSeconds * 1_000);
    let settled = false;
    const complete = async (tx: Tx) => {
      await settle(tx, job);
      tx.afterCommit(() => (settled = true));
    };
    let outcome: string;
    try {
      await inSpan(
        `job ${queue.name}`,
        {
          kind: 'consumer',
          traceparent: job.data.traceparent,
          attributes: {
            'messaging.destination.name': queue.name,
            'messaging.message.id': job.id,
            'headroom.job.attempt': number,
          },
        },
        async () => {
          await handler({
            id: job.id,
            queue: queue.name,
            payload: job.data.payload as P,
            attempt: number,
            trackedJobId: job.data.trackedJobId,
            signal: abort.signal,
            complete,
            async continueWith(tx, payload, next = {}) {
              await complete(tx);
              const { queue: nextQueue = queue.name, startAfter, priority = job.priority } = next;
              await options.enqueueStep(tx, nextQueue, payload, {
                priority,
                ...(startAfter === undefined ? {} : { startAfter }),
                ...(job.data.trackedJobId === undefined ? {} : { trackedJobId: job.data.trackedJobId }),
              });
            },
          });
          if (!settled) await db.transaction(complete);
        },
      );
      outcome = 'completed';
    } catch (error) {
      outcome = await fail(attempt, error, settled);
    } finally {
      clearTimeout(expiry);
    }
    countFinished({ queue: queue.name, outcome });
    observeRun({ queue: queue.name, outcome }, (performance.now() - attempt.startedMs) / 1_000);
  };

  /** Takes the job out of its queue; the row's lock keeps others from it until the transaction ends. */
  const settle = async (tx: Tx, job: JobWithMetadata<Envelope>) => {
    const deleted = await boss.deleteJob(queue.name, job, { db: within(tx, 'jobs.complete') });
    if ((deleted as { affected?: number }).affected !== 1)
      throw new JobLost(queue.name, job.id, job.retryCount + 1);
  };

  const fail = async (attempt: Attempt, error: unknown, settled: boolean): Promise<string> => {
    const { job } = attempt;
    const number = job.retryCount + 1;
    const fields = { err: error, name: queue.name, key: job.id, attempt: number };
    if (settled) {
      logger.warn('a handler failed after its job was completed', fields);
      return 'completed';
    }
    if (error instanceof JobLost) {
      logger.warn('an attempt was too late: its job has been taken over', fields);
      return 'lost';
    }
    const dead = isPermanent(error) || job.retryCount >= job.retryLimit;
    try {
      await db.transaction(async (tx) => {
        if (dead) {
          await settle(tx, job);
          await bury(tx, deadJob(job, error), clock.now());
        } else {
          await retry(tx, job, error);
        }
      });
    } catch (failure) {
      if (failure instanceof JobLost) {
        logger.warn('an attempt failed that had been taken over, or was committed', fields);
        return 'lost';
      }
      // Its heartbeat ends with it, so that the job is run again all the same.
      logger.warn('recording that a job failed did not work', { ...fields, err: failure });
      return 'lost';
    }
    if (dead) logger.error('a job was given up', fields);
    else logger.warn('a job failed and will be tried again', fields);
    return dead ? 'dead' : 'retried';
  };

  /** Full jitter over an exponential ceiling, counted by the database's clock. */
  const retry = async (tx: Tx, job: JobWithMetadata<Envelope>, error: unknown) => {
    const pauseMs = backoffMs(job.retryCount + 1, {
      baseMs: queue.retryDelaySeconds * 1_000,
      capMs: queue.retryDelayMaxSeconds * 1_000,
      random,
    });
    await release(tx, job, { message: messageOf(error) });
    await tx.execute(sql('jobs.delay')`
      update jobs.job_common set start_after = now() + ${pauseMs / 1_000} * interval '1 second'
      where name = ${queue.name} and id = ${job.id} and state = 'retry'`);
  };

  /** Gives the job up to be run again at once, by whoever is next. */
  const release = async (tx: Tx, job: JobWithMetadata<Envelope>, output: object) => {
    const failed = await boss.fail(queue.name, job, output, { db: within(tx, 'jobs.fail') });
    if ((failed as { affected?: number }).affected !== 1)
      throw new JobLost(queue.name, job.id, job.retryCount + 1);
  };

  const deadJob = (job: JobWithMetadata<Envelope>, error: unknown) => ({
    jobId: job.id,
    queue: queue.name,
    key: job.singletonKey === job.id ? null : (job.singletonKey ?? null),
    priority: job.priority,
    data: job.data,
    error: messageOf(error),
    attempts: job.retryCount + 1,
  });

  /** The attempt of a process that stops does not count. */
  const giveBackAll = () =>
    Promise.all(
      [...running].map(async ({ job, abort }) => {
        abort.abort();
        await db
          .transaction(async (tx) => {
            await tx.execute(sql('jobs.spareAttempt')`
              update jobs.job_common set retry_limit = retry_limit + 1
              where name = ${queue.name} and id = ${job.id} and state = 'active' and retry_count = ${job.retryCount}`);
            await release(tx, job, { message: 'its process stopped' });
          })
          .then(() => countFinished({ queue: queue.name, outcome: 'returned' }))
          .catch((error: unknown) => {
            if (!(error instanceof JobLost))
              logger.warn('giving a job back failed: it is run again when its heartbeat is missed', {
                err: error,
                name: queue.name,
              });
          });
      }),
    );

  const settledWithin = (ms: number) =>
    withTimeout(Promise.all([...running].map(({ done }) => done)), ms, 'ending jobs').catch(() => undefined);

  return {
    kick: () => poller.kick(),
    overdue: () =>
      [...running].filter(({ startedMs }) => performance.now() - startedMs > 2_000 * queue.expireInSeconds)
        .length,
    async close() {
      await poller.close();
      await settledWithin(options.closeTimeoutMs ?? 10_000);
      for (const { abort } of running) abort.abort();
      if (running.size > 0) await settledWithin(ABORTED_GRACE_MS);
      await toucher.close();
      await giveBackAll();
    },
  };
}
