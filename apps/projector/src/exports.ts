import { fault } from '@headroom/contracts';
import {
  addProgress,
  createTrackedJob,
  finishTrackedJob,
  loadTrackedJob,
  type Jobs,
  type QueueOptions,
  type RunningJob,
  type TrackedJob,
} from '@headroom/jobs';
import type { Database } from '@headroom/postgres';
import { systemClock, uuidv7, uuidv7TimeMs, type Clock } from '@headroom/resilience';
import { PART_BYTES, type BlobStore, type UploadedPart } from '@headroom/storage';
import { csvRecord } from './csv';
import { copySales, dropCopied, readCopied } from './export-repository';
import type { LiveViews } from './live-views';
import { readAsOf } from './repository';
import { reportOf, sales, type SalesGrouping } from './views/sales';

const EXPORT = 'sales-export';
const RETENTION = 'sales-export-retention';
/** Files are removed when they are older than this. */
const KEPT_MS = 7 * 24 * 3_600_000;
/** Uploads that were begun and never finished are removed when they are older than this. */
const UNFINISHED_MS = 24 * 3_600_000;
const READ_ROWS = 5_000;
const DROP_ROWS = 10_000;
const CHUNK_BYTES = 1024 * 1024;
const CONTENT_TYPE = 'text/csv; charset=utf-8';
const HEADERS = { day: 'day', product: 'productId', category: 'category' };

/** The queues of the projector: exports, and every night the removal of old ones. */
export const EXPORT_QUEUES: Readonly<Record<string, QueueOptions>> = {
  [EXPORT]: { retryLimit: 5, retryDelaySeconds: 2, expireInSeconds: 45, maxQueued: 100 },
  [RETENTION]: {
    retryLimit: 5,
    retryDelaySeconds: 30,
    expireInSeconds: 45,
    maxQueued: 2,
    cron: '20 3 * * *',
  },
};

export interface ExportRequest {
  by: SalesGrouping;
  /** YYYY-MM-DD, inclusive. */
  from: string;
  /** YYYY-MM-DD, exclusive. */
  to: string;
}

export interface Exports {
  /** Queues the work and returns the job that shows its progress. */
  begin(request: ExportRequest): Promise<TrackedJob>;
  /** Up to 1 MiB of a finished export's file; undefined where there is none, or none any more. */
  read(
    jobId: string,
    offset: number,
  ): Promise<{ content: Buffer; sizeBytes: bigint; contentType: string } | undefined>;
}

interface ExportOptions {
  db: Database;
  jobs: Jobs;
  blobs: BlobStore;
  clock?: Clock;
}

export function createExports({ db, jobs, blobs, clock = systemClock }: ExportOptions): Exports {
  return {
    begin: (request) =>
      db.transaction(async (tx) => {
        const job = await createTrackedJob(tx, { type: EXPORT }, clock.now());
        await jobs.enqueue(tx, EXPORT, request, { trackedJobId: job.id });
        return job;
      }),

    async read(jobId, offset) {
      const job = await loadTrackedJob(db, jobId);
      if (job?.type !== EXPORT || job.status !== 'succeeded') return undefined;
      const info = await blobs.stat(fileOf(jobId));
      if (!info) return undefined;
      const pieces: Uint8Array[] = [];
      if (offset < info.sizeBytes)
        for await (const piece of blobs.read(fileOf(jobId), { from: offset, length: CHUNK_BYTES }))
          pieces.push(piece);
      return {
        content: Buffer.concat(pieces),
        sizeBytes: BigInt(info.sizeBytes),
        contentType: info.contentType,
      };
    },
  };
}

/** How far the file of an export is: what a step of the chain hands to the next. */
interface FileProgress {
  by: SalesGrouping;
  handle: string;
  parts: UploadedPart[];
  /** The last row that has been read. */
  line: number;
  /** In base64: the end of that row, where it did not fit into the last part. */
  rest: string;
  /** All parts are stored. */
  written: boolean;
}

/**
 * Writes exports, each a chain of short steps: the first copies the report's rows, so that the file shows one moment of it; each of
 * the others stores one part of the file; the last one makes it visible and drops the rows. A step that is repeated does the
 * same again. Also removes what is old, every night.
 */
export async function workOnExports(
  options: ExportOptions & { liveViews: LiveViews },
): Promise<{ close(): Promise<void> }> {
  const { db, jobs, blobs, liveViews, clock = systemClock } = options;
  type Job = RunningJob<ExportRequest | FileProgress>;

  const copy = async (job: Job, { by, from, to }: ExportRequest) => {
    const exportId = job.trackedJobId!;
    const live = liveViews.of(sales);
    if (by !== 'day' && (await readAsOf(db, { view: sales.name, version: live.version }, reportOf(by))) === 0)
      throw fault('DEPENDENCY_UNAVAILABLE', { detail: 'the report is being made for the first time' });
    const handle = await blobs.startUpload(fileOf(exportId), { contentType: CONTENT_TYPE });
    const rest = Buffer.from(headerOf(by)).toString('base64');
    await db.transaction(async (tx) => {
      const total = await copySales(tx, live.schema, exportId, by, { from, to });
      await addProgress(tx, exportId, { total });
      const first: FileProgress = { by, handle, parts: [], line: 0, rest, written: false };
      await job.continueWith(tx, first);
    });
  };

  const writePart = async (job: Job, progress: FileProgress) => {
    const exportId = job.trackedJobId!;
    const { content, line, written } = await readPart(exportId, progress);
    const parts = [...progress.parts];
    if (content.byteLength > 0) {
      const index = parts.length;
      const tag = await blobs.putPart(progress.handle, index, content.subarray(0, PART_BYTES));
      parts.push({ index, tag });
    }
    const rest = content.subarray(PART_BYTES).toString('base64');
    await db.transaction(async (tx) => {
      await addProgress(tx, exportId, { processed: line - progress.line });
      await job.continueWith(tx, { ...progress, parts, line, rest, written });
    });
  };

  /** What was left over and the next rows, until a part is full; `written`: there are no more. */
  const readPart = async (exportId: string, progress: FileProgress) => {
    const pieces = [Buffer.from(progress.rest, 'base64')];
    let { line } = progress;
    let sizeBytes = pieces[0]!.byteLength;
    for (;;) {
      const rows = await readCopied(db, exportId, line, READ_ROWS);
      for (const row of rows) {
        const piece = Buffer.from(
          csvRecord([row.group, row.currency, row.orders, row.units, row.revenue_minor]),
        );
        pieces.push(piece);
        sizeBytes += piece.byteLength;
        line += 1;
        if (sizeBytes >= PART_BYTES) return { content: Buffer.concat(pieces), line, written: false };
      }
      if (rows.length < READ_ROWS) return { content: Buffer.concat(pieces), line, written: true };
    }
  };

  const finish = async (job: Job, { handle, parts }: FileProgress) => {
    const exportId = job.trackedJobId!;
    await blobs.finishUpload(handle, parts);
    while ((await dropCopied(db, { from: exportId, to: exportId, limit: DROP_ROWS })) > 0);
    await db.transaction(async (tx) => {
      const resultUrl = `/v1/admin/reports/sales/exports/${exportId}`;
      await finishTrackedJob(tx, exportId, 'succeeded', { resultUrl, nowMs: clock.now() });
      await job.complete(tx);
    });
  };

  const step = (job: Job) => {
    const { payload } = job;
    if (!('handle' in payload)) return copy(job, payload);
    return payload.written ? finish(job, payload) : writePart(job, payload);
  };

  const removeOld = async (signal: AbortSignal) => {
    const before = clock.now() - KEPT_MS;
    for await (const name of blobs.list(`${EXPORT}/`)) {
      if (signal.aborted) return;
      if (uuidv7TimeMs(name.slice(EXPORT.length + 1, -'.csv'.length)) < before) await blobs.delete(name);
    }
    const old = { from: firstIdOf(0), to: firstIdOf(before), limit: DROP_ROWS };
    while (!signal.aborted && (await dropCopied(db, old)) > 0);
    await blobs.sweep(new Date(clock.now() - UNFINISHED_MS));
  };

  const workers = [await jobs.work(EXPORT, step), await jobs.work(RETENTION, (job) => removeOld(job.signal))];
  return {
    async close() {
      await Promise.all(workers.map((worker) => worker.close()));
    },
  };
}

const fileOf = (exportId: string): string => `${EXPORT}/${exportId}.csv`;

const headerOf = (by: SalesGrouping): string =>
  csvRecord([HEADERS[by], 'currency', 'orders', 'units', 'revenueMinor']);

/** The smallest id of a moment. */
const firstIdOf = (ms: number): string => uuidv7(ms, Buffer.alloc(10));
