import { countRows, sql, type ListTotal, type Queryable, type Tx } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';

export type TrackedJobStatus = 'queued' | 'running' | 'succeeded' | 'failed';

/** Something that is wrong with the input; `line` counts from 1, 0 is the job as a whole. */
export interface TrackedJobError {
  line: bigint;
  code: string;
  reason: string;
}

/** Work that somebody asked for, with its progress over all its steps: the members of operations.v1.Job. */
export interface TrackedJob {
  id: string;
  type: string;
  status: TrackedJobStatus;
  processed: bigint;
  /** Undefined while not known. */
  total?: bigint | undefined;
  created: bigint;
  updated: bigint;
  unchanged: bigint;
  rejected: bigint;
  /** The first 1,000, in the order in which they were found; empty in lists. */
  errors: TrackedJobError[];
  createdAt: string;
  finishedAt?: string | undefined;
  resultUrl?: string | undefined;
}

/** What one step has done: counts are added to the job's. */
export interface Progress {
  processed?: number;
  created?: number;
  updated?: number;
  unchanged?: number;
  rejected?: number;
  /** Replaces what was known. */
  total?: number;
  errors?: ReadonlyArray<{ line: number | bigint; code: string; reason: string }>;
}

export interface TrackedJobPage {
  jobs: TrackedJob[];
  more: boolean;
  total?: bigint;
  totalIsEstimate?: boolean;
}

const KEPT_ERRORS = 1_000;
const MAX_REASON = 500;

interface TrackedJobRow {
  id: string;
  type: string;
  status: TrackedJobStatus;
  processed: bigint;
  total: bigint | null;
  created: bigint;
  updated: bigint;
  unchanged: bigint;
  rejected: bigint;
  result_url: string | null;
  created_at: Date;
  finished_at: Date | null;
}

const columns = sql.part`id, type, status, processed, total, created, updated, unchanged, rejected, result_url, created_at, finished_at`;

/** Adds a queued job, in the transaction that enqueues its first step. `nowMs` becomes `createdAt` and the time in the id. */
export async function createTrackedJob(
  tx: Tx,
  job: { id?: string; type: string; total?: number },
  nowMs: number = Date.now(),
): Promise<TrackedJob> {
  const row = await tx.row<TrackedJobRow>(sql('trackedJobs.create')`
    insert into tracked_jobs (id, type, status, total, created_at)
    values (${job.id ?? uuidv7(nowMs)}, ${job.type}, 'queued', ${job.total ?? null}, ${new Date(nowMs)})
    returning ${columns}`);
  return toTrackedJob(row!, []);
}

/** The job with its errors, or undefined. By primary key. */
export async function loadTrackedJob(db: Queryable, id: string): Promise<TrackedJob | undefined> {
  const row = await db.row<TrackedJobRow>(
    sql('trackedJobs.load')`select ${columns} from tracked_jobs where id = ${id}`,
  );
  if (!row) return undefined;
  const errors = await db.rows<TrackedJobError>(sql('trackedJobs.errors')`
    select line, code, reason from tracked_job_errors where job_id = ${id} order by position`);
  return toTrackedJob(row, errors);
}

/** Newest first, after the job `afterId` (empty: from the newest), without their errors. By primary key. */
export async function listTrackedJobs(
  db: Queryable,
  options: { limit: number; afterId?: string; includeTotal?: boolean | undefined },
): Promise<TrackedJobPage> {
  const { limit, afterId, includeTotal } = options;
  const rows = await db.rows<TrackedJobRow>(sql('trackedJobs.list')`
    select ${columns} from tracked_jobs where ${afterId ? sql.part`id < ${afterId}` : sql.part`true`}
    order by id desc limit ${limit + 1}`);
  const total: Partial<ListTotal> = includeTotal
    ? await countRows(db, 'trackedJobs.list', sql.part`tracked_jobs`)
    : {};
  return {
    jobs: rows.slice(0, limit).map((row) => toTrackedJob(row, [])),
    more: rows.length > limit,
    ...total,
  };
}

/**
 * Adds what a step has done, in the transaction that completes the step: so a repeated step is counted once. A queued job
 * becomes a running one. The row is locked until the transaction ends. Nothing happens to a finished job.
 */
export async function addProgress(tx: Tx, id: string, progress: Progress = {}): Promise<void> {
  const row = await tx.row<{ errors_kept: number }>(sql('trackedJobs.progress')`
    update tracked_jobs set status = 'running',
      processed = processed + ${progress.processed ?? 0}, created = created + ${progress.created ?? 0},
      updated = updated + ${progress.updated ?? 0}, unchanged = unchanged + ${progress.unchanged ?? 0},
      rejected = rejected + ${progress.rejected ?? 0}, total = coalesce(${progress.total ?? null}, total)
    where id = ${id} and status in ('queued', 'running')
    returning errors_kept`);
  if (row) await keepErrors(tx, id, row.errors_kept, progress.errors ?? []);
}

/**
 * Ends a job, in the transaction that completes its last step. `errors` are added to those kept; a job that failed as a whole has
 * one of line 0. Nothing happens to a job that has ended.
 */
export async function finishTrackedJob(
  tx: Tx,
  id: string,
  status: 'succeeded' | 'failed',
  options: { errors?: Progress['errors']; resultUrl?: string; nowMs?: number } = {},
): Promise<void> {
  const row = await tx.row<{ errors_kept: number }>(sql('trackedJobs.finish')`
    update tracked_jobs set status = ${status}, finished_at = ${new Date(options.nowMs ?? Date.now())},
      result_url = coalesce(${options.resultUrl ?? null}, result_url)
    where id = ${id} and status in ('queued', 'running')
    returning errors_kept`);
  if (row) await keepErrors(tx, id, row.errors_kept, options.errors ?? []);
}

/** The code of the error that says that a step was given up. */
export const GIVEN_UP = 'JOB_GIVEN_UP';

/** Takes the end of a failed job back, since the step that was given up is tried again. */
export async function reopenTrackedJob(tx: Tx, id: string): Promise<void> {
  const reopened = await tx.execute(sql('trackedJobs.reopen')`
    update tracked_jobs set status = 'queued', finished_at = null where id = ${id} and status = 'failed'`);
  if (reopened === 0) return;
  const removed = await tx.execute(sql('trackedJobs.forgetGivenUp')`
    delete from tracked_job_errors where job_id = ${id} and line = 0 and code = ${GIVEN_UP}`);
  await tx.execute(sql('trackedJobs.countForgotten')`
    update tracked_jobs set errors_kept = errors_kept - ${removed} where id = ${id}`);
}

/** Removes at most `limit` jobs that ended before `beforeMs`, with their errors; how many. By the index on `finished_at`. */
export function removeTrackedJobs(db: Queryable, beforeMs: number, limit: number): Promise<number> {
  return db.execute(sql('trackedJobs.remove')`
    delete from tracked_jobs where id in (
      select id from tracked_jobs where finished_at < ${new Date(beforeMs)} order by finished_at limit ${limit}
      for update skip locked)`);
}

async function keepErrors(
  tx: Tx,
  id: string,
  kept: number,
  errors: NonNullable<Progress['errors']>,
): Promise<void> {
  const more = errors.slice(0, KEPT_ERRORS - kept);
  if (more.length === 0) return;
  await tx.execute(sql('trackedJobs.addErrors')`
    insert into tracked_job_errors (job_id, position, line, code, reason)
    select ${id}, ${kept}::int + n, line, code, reason
    from unnest(${more.map((each) => String(each.line))}::bigint[], ${more.map((each) => each.code)}::text[],
                ${more.map((each) => each.reason.slice(0, MAX_REASON))}::text[]) with ordinality as e (line, code, reason, n)`);
  await tx.execute(sql('trackedJobs.countErrors')`
    update tracked_jobs set errors_kept = errors_kept + ${more.length} where id = ${id}`);
}

function toTrackedJob(row: TrackedJobRow, errors: TrackedJobError[]): TrackedJob {
  return {
    id: row.id,
    type: row.type,
    status: row.status,
    processed: row.processed,
    total: row.total ?? undefined,
    created: row.created,
    updated: row.updated,
    unchanged: row.unchanged,
    rejected: row.rejected,
    errors,
    createdAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString(),
    resultUrl: row.result_url ?? undefined,
  };
}
