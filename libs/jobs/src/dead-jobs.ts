import { countRows, sql, type Database, type ListTotal, type Queryable, type Tx } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import type { Envelope } from './envelope';
import { finishTrackedJob, GIVEN_UP, reopenTrackedJob } from './tracked-jobs';

/** Something that was given up, as an operator sees it: the members of operations.v1.DeadLetter. */
export interface DeadLetter {
  /** A UUIDv7 of the time when it was given up: newest first. */
  id: string;
  /** `jobs/<queue>`, or the consumer group. */
  source: string;
  /** Empty: a job; of a parked event its topic. */
  topic: string;
  /** The key that it was enqueued or published with, else empty. */
  key: string;
  /** Of a job its id; empty for a record that is no readable event. */
  eventId: string;
  error: string;
  /** How often it was tried. */
  attempts: number;
  failedAt: string;
  /** As it came; members of a job that its queue hides are `"***"`. */
  payload: string;
}

export interface DeadLetterPage {
  deadLetters: DeadLetter[];
  more: boolean;
  total?: bigint;
  totalIsEstimate?: boolean;
}

/** A job at its end. */
export interface DeadJob {
  jobId: string;
  queue: string;
  key: string | null;
  priority: number;
  data: Envelope;
  error: string;
  attempts: number;
}

interface DeadJobRow {
  id: string;
  queue: string;
  job_id: string;
  key: string | null;
  priority: number;
  data: Envelope;
  error: string;
  attempts: number;
  failed_at: Date;
}

const LOST_PROCESS = 'the processes that ran it ended or did not answer in time';
const SWEEP = 100;

/** Keeps a job that was just taken out of its queue, and ends the tracked job that it worked for as failed. */
export async function bury(tx: Tx, job: DeadJob, nowMs: number): Promise<void> {
  await tx.execute(sql('deadJobs.add')`
    insert into dead_jobs (id, queue, job_id, key, priority, data, error, attempts, failed_at)
    values (${uuidv7(nowMs)}, ${job.queue}, ${job.jobId}, ${job.key}, ${job.priority}, ${JSON.stringify(job.data)},
            ${job.error}, ${job.attempts}, ${new Date(nowMs)})`);
  if (job.data.trackedJobId !== undefined)
    await finishTrackedJob(tx, job.data.trackedJobId, 'failed', {
      errors: [{ line: 0, code: GIVEN_UP, reason: job.error }],
      nowMs,
    });
}

/**
 * Buries jobs whose last attempt ended with its process, which pg-boss leaves behind as failed; how many. By pg-boss's index
 * on name and state.
 */
export function buryAbandoned(db: Database, nowMs: number): Promise<DeadJob[]> {
  return db.transaction(async (tx) => {
    const rows = await tx.rows<{
      id: string;
      name: string;
      key: string | null;
      priority: number;
      data: Envelope;
      retry_count: number;
    }>(sql('deadJobs.sweep')`
      delete from jobs.job j using (
        select name, id from jobs.job where name in (select name from jobs.queue) and state = 'failed'
        limit ${SWEEP} for update skip locked
      ) as f
      where j.name = f.name and j.id = f.id
      returning j.id, j.name, j.singleton_key as key, j.priority, j.data, j.retry_count`);
    const dead = rows.map((row) => ({
      jobId: row.id,
      queue: row.name,
      key: row.key === row.id ? null : row.key,
      priority: row.priority,
      data: row.data,
      error: LOST_PROCESS,
      attempts: row.retry_count + 1,
    }));
    for (const job of dead) await bury(tx, job, nowMs);
    return dead;
  });
}

/** Newest first, after `afterId` (empty: from the newest). By primary key. `hidden` names the members that a queue hides. */
export async function listDeadJobs(
  db: Queryable,
  options: { limit: number; afterId?: string; includeTotal?: boolean | undefined },
  hidden: (queue: string) => readonly string[],
): Promise<DeadLetterPage> {
  const { limit, afterId, includeTotal } = options;
  const rows = await db.rows<DeadJobRow>(sql('deadJobs.list')`
    select id, queue, job_id, key, priority, data, error, attempts, failed_at from dead_jobs
    where ${afterId ? sql.part`id < ${afterId}` : sql.part`true`} order by id desc limit ${limit + 1}`);
  const total: Partial<ListTotal> = includeTotal
    ? await countRows(db, 'deadJobs.list', sql.part`dead_jobs`)
    : {};
  return {
    deadLetters: rows.slice(0, limit).map((row) => ({
      id: row.id,
      source: `jobs/${row.queue}`,
      topic: '',
      key: row.key ?? '',
      eventId: row.job_id,
      error: row.error,
      attempts: row.attempts,
      failedAt: row.failed_at.toISOString(),
      payload: JSON.stringify(hide(row.data.payload, hidden(row.queue))),
    })),
    more: rows.length > limit,
    ...total,
  };
}

/** Takes a dead job out, to be put into its queue again in the same transaction; its tracked job is open again. */
export async function exhume(tx: Tx, id: string): Promise<Omit<DeadJob, 'error' | 'attempts'> | undefined> {
  const row = await tx.row<DeadJobRow>(sql('deadJobs.take')`
    delete from dead_jobs where id = ${id} returning id, queue, job_id, key, priority, data, error, attempts, failed_at`);
  if (!row) return undefined;
  if (row.data.trackedJobId !== undefined) await reopenTrackedJob(tx, row.data.trackedJobId);
  return { jobId: row.job_id, queue: row.queue, key: row.key, priority: row.priority, data: row.data };
}

/** Drops a dead job for good; false when there is none. */
export async function discardDeadJob(db: Queryable, id: string): Promise<boolean> {
  return (await db.execute(sql('deadJobs.discard')`delete from dead_jobs where id = ${id}`)) > 0;
}

function hide(payload: unknown, members: readonly string[]): unknown {
  if (members.length === 0 || typeof payload !== 'object' || payload === null) return payload;
  return Object.fromEntries(
    Object.entries(payload).map(([name, value]) => [name, members.includes(name) ? '***' : value]),
  );
}
