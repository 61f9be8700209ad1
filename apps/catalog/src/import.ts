import {
  createTrackedJob,
  addProgress,
  finishTrackedJob,
  type Jobs,
  type QueueOptions,
  type RunningJob,
} from '@headroom/jobs';
import type { Pace } from '@headroom/messaging';
import { isUniqueViolation, type Database, type Tx } from '@headroom/postgres';
import { Fault, type Clock } from '@headroom/resilience';
import type { BlobStore, UploadKind, Uploads } from '@headroom/storage';
import { SlugTaken, writeBatch, type BatchOutcome, type ImportedLine, type LineError } from './import-batch';
import { readLines, splitCsv, type Place, type ReadLine } from './import-lines';
import { readCsvHeader, readCsvProduct, readJsonProduct } from './import-product';
import {
  deleteImport,
  findImport,
  findOrphans,
  forgetSkus,
  insertImport,
  moveImport,
  type Import,
} from './import-repository';

/** The type of the tracked job, the kind of upload, and the queue of an import of products. */
export const PRODUCT_IMPORT = 'product-import';
const CLEANUP = 'product-import-cleanup';

/** More lines than this end an import as failed; those before stay applied. */
const MOST_LINES = 1_000_000;
const MOST_BYTES = 1024 ** 3;
/** A batch, which is one transaction, ends at whichever comes first. */
const BATCH_LINES = 500;
const BATCH_CHARACTERS = 2_000_000;
/** A step ends with the first batch that ends later. */
const STEP_MS = 10_000;
const PAUSE_MS = 1_000;
const FORGET_LINES = 20_000;
const MOST_TRIES = 5;
const MOST_ORPHANS = 100;

/** For `openJobs`. */
export const IMPORT_QUEUES: Record<string, QueueOptions> = {
  [PRODUCT_IMPORT]: {
    retryLimit: 12,
    retryDelaySeconds: 1,
    retryDelayMaxSeconds: 60,
    expireInSeconds: 40,
    maxQueued: 100,
  },
  [CLEANUP]: {
    retryLimit: 5,
    retryDelaySeconds: 5,
    expireInSeconds: 40,
    maxQueued: 1_000,
    cron: '23 3 * * *',
  },
};

interface ImportStep {
  jobId: string;
}

/**
 * Takes in files of products. A file is kept first; then it is read in steps of about ten seconds by whichever process is free.
 * A step begins at the place that the import's row names, reads lines, and commits batches of up to 500 lines: their effect,
 * events, errors and counts together with the next place. A process may be killed anywhere: what is committed is not read again,
 * and what is not is read again.
 */
export function uploadedImports({ clock }: { clock: Clock }, jobs: Pick<Jobs, 'enqueue'>): UploadKind {
  return {
    maxBytes: MOST_BYTES,
    contentTypes: ['application/x-ndjson', 'text/csv'],
    async complete(tx, { uploadId, name, contentType }) {
      const { id: jobId } = await createTrackedJob(tx, { type: PRODUCT_IMPORT }, clock.now());
      const format = contentType === 'text/csv' ? 'csv' : 'ndjson';
      await insertImport(tx, { jobId, uploadId, file: name, format });
      await jobs.enqueue(tx, PRODUCT_IMPORT, { jobId } satisfies ImportStep, { trackedJobId: jobId });
      return jobId;
    },
  };
}

export interface ImportDeps {
  db: Database;
  blobs: Pick<BlobStore, 'read'>;
  uploads: Pick<Uploads, 'release' | 'remove'>;
  pace: Pace;
  clock: Clock;
  shopCurrency: string;
  wakeRelay?: () => void;
  /** Time after which a step ends, default 10,000 ms. */
  stepMs?: number;
  /** Lines of a batch, default 500. */
  batchLines?: number;
}

/** Works on imports in this process until closed. */
export async function workOnImports(deps: ImportDeps, jobs: Jobs): Promise<{ close(): Promise<void> }> {
  const reading = await jobs.work<ImportStep>(PRODUCT_IMPORT, (job) => importStep(deps, job));
  const cleaning = await jobs.work<Partial<ImportStep>>(CLEANUP, (job) => cleanUpStep(deps, job));
  return {
    async close() {
      await Promise.all([reading.close(), cleaning.close()]);
    },
  };
}

/** What a step has read and not committed yet. */
interface Batch {
  lines: ImportedLine[];
  errors: LineError[];
  characters: number;
  /** Behind the last line of the batch. */
  next: Place;
  columns: string[] | undefined;
  processed: number;
  /** True: with it the file has been read to its end. */
  isWhole?: boolean;
  /** Why the import ends here. */
  failure?: LineError;
}

type Step = Pick<RunningJob<ImportStep>, 'payload' | 'signal' | 'complete' | 'continueWith'>;

/** Reads on where the import stands. Every batch is committed by itself; the last one of the step decides how it goes on. */
export async function importStep(deps: ImportDeps, job: Step): Promise<void> {
  const { db, blobs, uploads, pace, clock, batchLines = BATCH_LINES } = deps;
  const found = await findImport(db, job.payload.jobId);
  if (!found) return; // it has ended
  let at: Import = found;
  const untilMs = clock.now() + (deps.stepMs ?? STEP_MS);

  const commit = async (batch: Batch, then: 'read' | 'continue' | 'finish', startAfter?: Date) => {
    at = await commitBatch(deps, at, batch, async (tx) => {
      if (then === 'continue') await job.continueWith(tx, job.payload, startAfter ? { startAfter } : {});
      if (then !== 'finish') return;
      await finishTrackedJob(tx, at.jobId, batch.failure ? 'failed' : 'succeeded', {
        errors: batch.failure ? [batch.failure] : [],
        nowMs: clock.now(),
      });
      await uploads.release(tx, at.uploadId);
      await deleteImport(tx, at.jobId);
      await job.continueWith(tx, job.payload, { queue: CLEANUP });
    });
  };
  const isOver = () => job.signal.aborted || clock.now() >= untilMs;
  const mayGoOn = () => pace.wait({ budgetMs: Math.max(0, untilMs - clock.now()), signal: job.signal });

  if (!(await mayGoOn())) return commit(emptyBatch(at), 'continue', new Date(clock.now() + PAUSE_MS));
  let batch = emptyBatch(at);
  for await (const line of readLines(at.format, blobs.read(at.file, { from: at.next.offset }), at.next)) {
    addLine(batch, line, at);
    if (batch.failure) break;
    if (
      batch.lines.length + batch.errors.length < batchLines &&
      batch.characters < BATCH_CHARACTERS &&
      !isOver()
    )
      continue;
    if (isOver()) return commit(batch, 'continue');
    await commit(batch, 'read');
    batch = emptyBatch(at);
    if (!(await mayGoOn())) return commit(batch, 'continue', new Date(clock.now() + PAUSE_MS));
  }
  if (at.format === 'csv' && !batch.columns && !batch.failure)
    batch.failure = { line: 1, code: 'HEADER_INVALID', reason: 'the file has no header' };
  batch.isWhole = !batch.failure;
  await commit(batch, 'finish');
  await uploads.remove(at.uploadId);
}

const emptyBatch = ({ next, columns, processed }: Import): Batch => ({
  lines: [],
  errors: [],
  characters: 0,
  next,
  columns,
  processed,
});

/** Takes a line into the batch, or the failure that it ends the import with. */
function addLine(batch: Batch, { line, end, text, problem }: ReadLine, { format }: Import): void {
  const isHeader = format === 'csv' && !batch.columns;
  const failed = (failure: LineError) => {
    batch.failure = failure;
  };
  if (isHeader) {
    const cells = text === undefined ? undefined : splitCsv(text);
    const header = cells
      ? readCsvHeader(cells)
      : (problem ?? { code: 'HEADER_INVALID', reason: 'the first line must name the columns' });
    if (!Array.isArray(header)) return failed({ line, code: 'HEADER_INVALID', reason: header.reason });
    batch.columns = header;
    batch.next = end;
    return;
  }
  if (text !== undefined || problem) {
    if (batch.processed === MOST_LINES)
      return failed({
        line,
        code: 'LINES_TOO_MANY',
        reason: `a file may have ${MOST_LINES} products: from this line on nothing was read`,
      });
    batch.processed += 1;
    const read =
      problem ??
      (format === 'csv' ? readCsvProduct(batch.columns!, splitCsv(text!)!) : readJsonProduct(text!));
    if ('code' in read) batch.errors.push({ line, ...read });
    else batch.lines.push({ line, product: read });
    batch.characters += text?.length ?? 0;
  }
  batch.next = end;
}

/**
 * Commits what a batch does, together with how far the import is and what `then` adds; returns where it stands now. Throws a
 * transient fault when another process has read these lines, so that nothing of the transaction stays.
 */
async function commitBatch(
  deps: ImportDeps,
  from: Import,
  batch: Batch,
  then: (tx: Tx) => Promise<void>,
): Promise<Import> {
  const { db, clock, shopCurrency, wakeRelay } = deps;
  const to = { ...from, next: batch.next, columns: batch.columns, processed: batch.processed };
  for (let tries = 1; ; tries += 1)
    try {
      await db.transaction(
        async (tx) => {
          if (!(await moveImport(tx, from, to)))
            throw new Fault('in_flight', 'IMPORT_MOVED', { detail: 'another process reads this file' });
          const outcome: BatchOutcome =
            batch.lines.length === 0
              ? { created: 0, updated: 0, unchanged: 0, errors: [] }
              : await writeBatch(tx, batch.lines, {
                  jobId: from.jobId,
                  shopCurrency,
                  nowMs: clock.now(),
                  wakeRelay,
                });
          const errors = [...batch.errors, ...outcome.errors].sort((one, other) => one.line - other.line);
          await addProgress(tx, from.jobId, {
            ...outcome,
            processed: to.processed - from.processed,
            ...(batch.isWhole ? { total: to.processed } : {}),
            rejected: errors.length,
            errors,
          });
          await then(tx);
        },
        { retry: true },
      );
      return to;
    } catch (error) {
      // Somebody has made such a product at the same time: the next try finds it.
      const isRace = error instanceof SlugTaken || isUniqueViolation(error, 'products_sku');
      if (!isRace || tries === MOST_TRIES) throw error;
    }
}

/**
 * Forgets the SKUs of a file that has been read, a piece at a time. Nightly, without a job's id: of imports that were given up
 * and whose job is no longer on record.
 */
export async function cleanUpStep(
  { db }: Pick<ImportDeps, 'db'>,
  job: Pick<RunningJob<Partial<ImportStep>>, 'payload' | 'complete' | 'continueWith'>,
): Promise<void> {
  const { jobId } = job.payload;
  const jobIds = jobId === undefined ? await findOrphans(db, MOST_ORPHANS) : [jobId];
  for (const each of jobIds)
    await db.transaction(async (tx) => {
      const forgotten = await forgetSkus(tx, each, FORGET_LINES);
      const isLast = forgotten < FORGET_LINES;
      if (isLast && jobId === undefined) await deleteImport(tx, each);
      if (jobId === undefined) return;
      if (isLast) await job.complete(tx);
      else await job.continueWith(tx, { jobId });
    });
}
