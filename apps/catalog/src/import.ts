import {
  importStep,
  splitCsv,
  type FileImport,
  type Jobs,
  type QueueOptions,
  type RunningJob,
} from '@headroom/jobs';
import type { Pace } from '@headroom/messaging';
import { isUniqueViolation, type Database } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { BlobStore, Uploads } from '@headroom/storage';
import { SlugTaken, writeBatch } from './import-batch';
import { readCsvHeader, readCsvProduct, readJsonProduct, type ImportedProduct } from './import-product';
import { findOrphans, forgetSkus } from './import-repository';

/** The type of the tracked job, the kind of upload, and the queue of an import of products. */
export const PRODUCT_IMPORT = 'product-import';
export const PRODUCT_IMPORT_TYPES = ['application/x-ndjson', 'text/csv'];
const CLEANUP = 'product-import-cleanup';

const MOST_LINES = 1_000_000;
/**
 * Every product that is valid fits, even if each of its characters is escaped as JSON can: a description of 10,000 characters then
 * takes 120,000 bytes.
 */
const LONGEST_LINE_BYTES = 131_072;
const BATCH = { lines: 500, bytes: 2_000_000 };
const FORGET_LINES = 20_000;
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

export interface ProductImportDeps {
  db: Database;
  blobs: Pick<BlobStore, 'read'>;
  uploads: Pick<Uploads, 'release' | 'remove'>;
  pace: Pace;
  clock: Clock;
  shopCurrency: string;
  wakeRelay?: () => void;
}

/** How files of products are read, and what becomes of a batch of them. */
export function productImport(
  deps: Pick<ProductImportDeps, 'clock' | 'shopCurrency' | 'wakeRelay'>,
): FileImport<ImportedProduct> {
  const { clock, shopCurrency, wakeRelay } = deps;
  return {
    name: PRODUCT_IMPORT,
    mostLines: MOST_LINES,
    longestLineBytes: LONGEST_LINE_BYTES,
    batch: BATCH,
    readHeader: readCsvHeader,
    readLine: (text, columns) => (columns ? readCsvProduct(columns, splitCsv(text)!) : readJsonProduct(text)),
    prepare: (lines, jobId) =>
      Promise.resolve((tx) => writeBatch(tx, lines, { jobId, shopCurrency, nowMs: clock.now(), wakeRelay })),
    // Somebody has made such a product at the same time: the next try finds it.
    isRace: (error) => error instanceof SlugTaken || isUniqueViolation(error, 'products_sku'),
    end: (tx, job) => job.continueWith(tx, { jobId: job.trackedJobId }, { queue: CLEANUP }),
  };
}

/** Works on imports in this process until closed. */
export async function workOnImports(
  deps: ProductImportDeps,
  jobs: Jobs,
): Promise<{ close(): Promise<void> }> {
  const reading = await jobs.work(PRODUCT_IMPORT, importStep(productImport(deps), deps));
  const cleaning = await jobs.work<CleanUp>(CLEANUP, (job) => cleanUpStep(deps, job));
  return {
    async close() {
      await Promise.all([reading.close(), cleaning.close()]);
    },
  };
}

interface CleanUp {
  jobId?: string;
}

/**
 * Forgets the SKUs of a file that has been read, a piece at a time. Nightly, without a job's id: of imports that were given up
 * and whose job is no longer on record.
 */
export async function cleanUpStep(
  { db }: { db: Database },
  job: Pick<RunningJob<CleanUp>, 'payload' | 'complete' | 'continueWith'>,
): Promise<void> {
  const { jobId } = job.payload;
  const jobIds = jobId === undefined ? await findOrphans(db, MOST_ORPHANS) : [jobId];
  for (const each of jobIds)
    await db.transaction(async (tx) => {
      const isLast = (await forgetSkus(tx, each, FORGET_LINES)) < FORGET_LINES;
      if (jobId === undefined) return;
      if (isLast) await job.complete(tx);
      else await job.continueWith(tx, { jobId });
    });
}
