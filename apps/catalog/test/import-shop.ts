import {
  importedFiles,
  importStep,
  loadTrackedJob,
  openJobs,
  type Jobs,
  type TrackedJob,
} from '@headroom/jobs';
import type { Pace } from '@headroom/messaging';
import { sql, type Database } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createUploads, openBlobStore, PART_BYTES, type BlobStore, type Uploads } from '@headroom/storage';
import { interrupted, makeNextStep } from '@headroom/testing';
import {
  IMPORT_QUEUES,
  PRODUCT_IMPORT,
  PRODUCT_IMPORT_TYPES,
  productImport,
  type ProductImportDeps,
} from '../src/import';
import { openCatalogShop, type CatalogShop } from './catalog-shop';

export type ImportType = 'application/x-ndjson' | 'text/csv';

/** The process that makes a step, and how much it takes at once. */
export type Worker = Partial<ProductImportDeps> & { batchLines?: number };

/** A catalog that takes in files of products; no process works on them by itself. */
export interface ImportShop extends CatalogShop {
  jobs: Jobs;
  blobs: BlobStore;
  uploads: Uploads;
  deps: ProductImportDeps;
  /** Uploads a file whole; the id of its job, which is queued. */
  upload(type: ImportType, content: string | Uint8Array): Promise<string>;
  /** Makes one step of an import, as this worker would; true when another one has to follow. */
  step(jobId: string, deps?: Worker): Promise<boolean>;
  /** Uploads a file and runs all its steps. */
  importFile(type: ImportType, content: string | Uint8Array, deps?: Worker): Promise<TrackedJob>;
  job(jobId: string): Promise<TrackedJob>;
  /** Every product with its units, by SKU, in the words of this test. */
  catalogue(): Promise<Record<string, CataloguedProduct>>;
  /** How many rows are left of what an import needs while it runs. */
  leftovers(): Promise<{ skus: number; files: number }>;
}

export interface CataloguedProduct {
  id: string;
  name: string;
  description: string;
  category: string;
  priceMinor: number;
  currency: string;
  imageUrl: string;
  onHand: number;
  archived: boolean;
  /** Of its events. */
  versions: number[];
  stockEvents: number;
}

/** Opens it, on a database of its own. */
export async function openImportShop(): Promise<ImportShop> {
  const shop = await openCatalogShop();
  const { db, clock } = shop;
  // Steps run without a worker leave their jobs in the queue.
  const queues = {
    ...IMPORT_QUEUES,
    [PRODUCT_IMPORT]: { ...IMPORT_QUEUES[PRODUCT_IMPORT]!, maxQueued: 100_000 },
  };
  const jobs = await openJobs({ db, logger: silentLogger, clock, queues });
  const blobs = await openBlobStore({ url: undefined, db, logger: silentLogger });
  const uploads = createUploads({
    db,
    blobs,
    clock,
    kinds: {
      [PRODUCT_IMPORT]: importedFiles({
        name: PRODUCT_IMPORT,
        contentTypes: PRODUCT_IMPORT_TYPES,
        jobs,
        clock,
      }),
    },
  });
  const pace: Pace = { wait: () => Promise.resolve(true) };
  const deps: ProductImportDeps = { db, blobs, uploads, pace, clock, shopCurrency: 'EUR' };

  const upload: ImportShop['upload'] = async (contentType, content) => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const uploadId = await uploads.begin({ kind: PRODUCT_IMPORT, contentType, subjectId: '' });
    let parts = 0;
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      await uploads.append({ uploadId, index: parts, content: bytes.subarray(at, at + PART_BYTES) });
      parts += 1;
    }
    return uploads.complete({ uploadId, parts });
  };
  const job = async (jobId: string) => (await loadTrackedJob(db, jobId))!;
  const step: ImportShop['step'] = (jobId, { batchLines, ...changed } = {}) => {
    const worker = { ...deps, ...changed };
    const kind = productImport(worker);
    const lines = batchLines ?? kind.batch.lines;
    return makeNextStep({
      ...{ db, jobs, queue: PRODUCT_IMPORT, trackedJobId: jobId },
      handler: importStep({ ...kind, batch: { ...kind.batch, lines } }, worker),
    });
  };
  return {
    ...shop,
    jobs,
    blobs,
    uploads,
    deps,
    upload,
    step,
    job,
    async importFile(type, content, changed) {
      const jobId = await upload(type, content);
      while (await step(jobId, changed));
      return job(jobId);
    },
    async catalogue() {
      const rows = await shop.test.db.rows<CataloguedProduct & { sku: string }>(sql('test.catalogue')`
        select p.id, p.sku, p.name, p.description, p.category, p.price_minor::int as "priceMinor", p.currency,
          p.image_url as "imageUrl", p.archived,
          (select coalesce(sum(delta), 0)::int from stock_ledger l where l.product_id = p.id) as "onHand",
          array(select (event->>'aggregateversion')::int from outbox where key = p.id::text
                and event->>'subject' = 'product/' || p.id order by id) as versions,
          (select count(*)::int from outbox where key = p.id::text and event->>'subject' = 'stock/' || p.id
            and (event->'data'->>'onHand')::int = (select sum(available) from stock_buckets b where b.product_id = p.id)) as "stockEvents"
        from products p`);
      return Object.fromEntries(rows.map(({ sku, ...product }) => [sku, product]));
    },
    async leftovers() {
      const row = await shop.test.db.row<{ skus: number }>(sql('test.leftovers')`
        select count(*)::int as skus from import_skus`);
      const files = [];
      for await (const name of blobs.list('uploads/')) files.push(name);
      return { ...row!, files: files.length };
    },
    async close() {
      await jobs.close();
      await blobs.close();
      await shop.close();
    },
  };
}

/** The database as a process sees it that is killed before its next statement, after so many of them. */
export function dyingAfter(db: Database, statements: number): Database {
  const mortal = interrupted(db);
  let left = statements;
  const count = <T>(run: () => Promise<T>): Promise<T> => {
    left -= 1;
    if (left < 0) mortal.kill();
    return run();
  };
  return {
    ...mortal.db,
    row: <Row>(statement: Parameters<Database['row']>[0]) => count(() => mortal.db.row<Row>(statement)),
    transaction: (work, options) =>
      mortal.db.transaction(
        (tx) =>
          work({
            rows: (statement) => count(() => tx.rows(statement)),
            row: (statement) => count(() => tx.row(statement)),
            execute: (statement) => count(() => tx.execute(statement)),
            afterCommit: (action) => tx.afterCommit(action),
          }),
        options,
      ),
  };
}
