import type { Database, Tx } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { Jobs } from './jobs';
import { LineProblem, readLines, splitCsv, START, type Cell, type LineFormat, type Place } from './lines';
import { addProgress, createTrackedJob, finishTrackedJob } from './tracked-jobs';
import type { JobHandler, RunningJob } from './worker';

/** A line that was refused. */
export interface LineError {
  /** From 1. */
  line: number;
  code: string;
  reason: string;
}

/** A line that could be read, as what it says. */
export interface ImportedLine<Row> {
  /** From 1. */
  line: number;
  row: Row;
}

/** What became of the lines of a batch. */
export interface ImportOutcome {
  created: number;
  updated: number;
  unchanged: number;
  errors: LineError[];
}

/** How files of one kind are imported. */
export interface FileImport<Row> {
  /** The queue of the steps, the kind of upload and the type of the tracked job. */
  name: string;
  /** Lines, blank ones and a header aside, that a file may have: with the next one the import ends as failed, those before stay. */
  mostLines: number;
  longestLineBytes: number;
  /** A batch, which is one step and one transaction, ends with the line that reaches either. */
  batch: { lines: number; bytes: number };
  /** The columns that the header of a CSV file names, or why none of its records can be read: then the import ends as failed. */
  readHeader?(cells: readonly Cell[]): string[] | LineProblem;
  /** What a line says; `columns` are those of a CSV file. */
  readLine(text: string, columns: readonly string[] | undefined): Row | LineProblem;
  /**
   * Gets ready for a batch while no transaction is open, e.g. by asking other services; what it returns writes the batch as part of
   * the transaction that also moves the place in the file, and may be called again after a rollback.
   */
  prepare(
    lines: ReadonlyArray<ImportedLine<Row>>,
    jobId: string,
  ): Promise<(tx: Tx) => Promise<ImportOutcome>>;
  /** True for an error of the write that is gone when it is called again, e.g. that somebody has made the same thing just now. */
  isRace?(error: unknown): boolean;
  /** Ends the last step's job, or goes on with one that tidies up. Default: `complete`. */
  end?(tx: Tx, job: RunningJob<ImportStep>): Promise<void>;
}

/** A file that is being read, and how far: the payload of a step. */
export interface ImportStep {
  uploadId: string;
  /** The file's name in the blob store. */
  file: string;
  format: LineFormat;
  place: Place;
  /** Of a CSV file whose header has been read. */
  columns?: string[] | undefined;
  /** Lines so far, good and bad. */
  processed: number;
}

/** What an import reads from, whom it waits for and who forgets the file. */
export interface ImportDeps {
  db: Database;
  blobs: { read(name: string, range: { from: number }): AsyncIterable<Uint8Array> };
  uploads: { release(tx: Tx, uploadId: string): Promise<void>; remove(uploadId: string): Promise<void> };
  /** False: those who read what the import writes are still too far behind after `budgetMs`. */
  pace: { wait(options: { budgetMs: number; signal: AbortSignal }): Promise<boolean> };
  clock: Clock;
}

const MOST_BYTES = 1024 ** 3;
const MOST_TRIES = 5;
/** How long a step waits for the readers before another import has its turn. */
const PACE_BUDGET_MS = 5_000;
const FORMATS: Record<string, LineFormat> = { 'application/x-ndjson': 'ndjson', 'text/csv': 'csv' };

/** The kind of upload that begins an import: a file of at most 1 GiB. */
export function importedFiles(deps: {
  name: string;
  contentTypes: readonly string[];
  jobs: Pick<Jobs, 'enqueue'>;
  clock: Clock;
}) {
  const { name, contentTypes, jobs, clock } = deps;
  return {
    maxBytes: MOST_BYTES,
    contentTypes,
    async complete(tx: Tx, upload: { uploadId: string; name: string; contentType: string }): Promise<string> {
      const { id: trackedJobId } = await createTrackedJob(tx, { type: name }, clock.now());
      const { uploadId, name: file } = upload;
      const format = FORMATS[upload.contentType]!;
      const first: ImportStep = { uploadId, file, format, place: START, processed: 0 };
      await jobs.enqueue(tx, name, first, { trackedJobId });
      return trackedJobId;
    },
  };
}

/**
 * Makes the steps of imports: each reads the lines of one batch from the place that its job names, and commits their effect, errors
 * and counts together with the next step. A process may be killed anywhere: what is committed is not read again, and what is not is
 * read again, by whichever process is free. Errors are recorded in the order of the lines.
 */
export function importStep<Row>(kind: FileImport<Row>, deps: ImportDeps): JobHandler<ImportStep> {
  const { db, blobs, uploads, pace, clock } = deps;
  return async (job) => {
    const step = job.payload;
    const jobId = job.trackedJobId!;
    if (!(await pace.wait({ budgetMs: PACE_BUDGET_MS, signal: job.signal })))
      return db.transaction(async (tx) => {
        await addProgress(tx, jobId); // it has begun
        await job.continueWith(tx, step);
      });
    const batch = await readBatch(kind, step, blobs);
    const write = batch.rows.length > 0 ? await kind.prepare(batch.rows, jobId) : writeNothing;
    const { processed } = batch.next;

    const commit = async (tx: Tx) => {
      const outcome = await write(tx);
      const errors = [...batch.errors, ...outcome.errors].sort((one, other) => one.line - other.line);
      const isWhole = batch.isLast && !batch.failure;
      await addProgress(tx, jobId, {
        ...outcome,
        processed: processed - step.processed,
        rejected: errors.length,
        errors,
        ...(isWhole ? { total: processed } : {}),
      });
      if (!batch.isLast) return job.continueWith(tx, batch.next);
      await finishTrackedJob(tx, jobId, batch.failure ? 'failed' : 'succeeded', {
        errors: batch.failure ? [batch.failure] : [],
        nowMs: clock.now(),
      });
      await uploads.release(tx, step.uploadId);
      await (kind.end ? kind.end(tx, job) : job.complete(tx));
    };
    for (let tries = 1; ; tries += 1)
      try {
        await db.transaction(commit, { retry: true });
        break;
      } catch (error) {
        if (tries === MOST_TRIES || !kind.isRace?.(error)) throw error;
      }
    // The clean-up of uploads does it otherwise.
    if (batch.isLast) await uploads.remove(step.uploadId);
  };
}

const writeNothing = (): Promise<ImportOutcome> =>
  Promise.resolve({ created: 0, updated: 0, unchanged: 0, errors: [] });

interface Batch<Row> {
  rows: Array<ImportedLine<Row>>;
  errors: LineError[];
  next: ImportStep;
  /** True: the import ends with it. */
  isLast: boolean;
  /** Why it ends before the file does. */
  failure?: LineError;
}

async function readBatch<Row>(
  kind: FileImport<Row>,
  step: ImportStep,
  blobs: ImportDeps['blobs'],
): Promise<Batch<Row>> {
  const { mostLines, longestLineBytes: longestBytes } = kind;
  const { format, place: from } = step;
  const batch: Batch<Row> = { rows: [], errors: [], next: { ...step }, isLast: false };
  const { rows, errors, next } = batch;
  const fail = (failure: LineError): Batch<Row> => ({ ...batch, isLast: true, failure });

  const chunks = blobs.read(step.file, { from: from.offset });
  for await (const { line, end, text, problem } of readLines(format, chunks, { from, longestBytes })) {
    if (format === 'csv' && !next.columns) {
      const header = readHeader(kind, text, problem);
      if (header instanceof LineProblem) return fail({ line, ...header });
      next.columns = header;
    } else if (text !== undefined || problem) {
      if (next.processed === mostLines)
        return fail({
          ...{ line, code: 'LINES_TOO_MANY' },
          reason: `a file may have ${mostLines} lines: from this one on nothing was read`,
        });
      next.processed += 1;
      const read = text === undefined ? problem! : kind.readLine(text, next.columns);
      if (read instanceof LineProblem) errors.push({ line, ...read });
      else rows.push({ line, row: read });
    }
    next.place = end;
    if (rows.length + errors.length >= kind.batch.lines || end.offset - from.offset >= kind.batch.bytes)
      return batch;
  }
  return format === 'csv' && !next.columns
    ? fail({ line: 1, code: 'HEADER_INVALID', reason: 'the file has no header' })
    : { ...batch, isLast: true };
}

function readHeader<Row>(
  kind: FileImport<Row>,
  text: string | undefined,
  problem: LineProblem | undefined,
): string[] | LineProblem {
  const cells = text === undefined ? undefined : splitCsv(text);
  const header = cells ? kind.readHeader!(cells) : problem;
  return header && !(header instanceof LineProblem)
    ? header
    : new LineProblem('HEADER_INVALID', header?.reason ?? 'the first line must name the columns');
}
