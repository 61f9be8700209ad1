import {
  importedFiles,
  importStep,
  loadTrackedJob,
  openJobs,
  type Jobs,
  type TrackedJob,
} from '@headroom/jobs';
import { uuidv7 } from '@headroom/resilience';
import { createUploads, openBlobStore, PART_BYTES, type BlobStore, type Uploads } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { makeNextStep } from '@headroom/testing';
import {
  historyImport,
  ORDER_IMPORT,
  ORDER_IMPORT_QUEUE,
  ORDER_IMPORT_TYPES,
  type EmailDirectory,
  type SkuDirectory,
} from '../src/history-import';
import { createMortality, type Death, type OrderShop } from './order-shop';

/** A line of a file of history. */
export interface HistoryLine {
  externalId: string;
  email?: string;
  placedAt: string;
  items: Array<{ sku: string; quantity: number; unitPrice: { amountMinor: number; currency: string } }>;
}

/** The systems around an import, and imports whose process may die at any call. */
export interface HistoryShop {
  jobs: Jobs;
  blobs: BlobStore;
  uploads: Uploads;
  /** SKUs that the catalog knows. */
  skus: Map<string, { productId: string; name: string }>;
  /** Accounts by e-mail, in lower case. */
  accounts: Map<string, string>;
  /** Runs inside every call to a directory. */
  onCall: () => Promise<void> | void;
  /** Keeps the file and enters its job. */
  upload(lines: ReadonlyArray<HistoryLine | string>): Promise<Import>;
  /** Makes steps until the job has ended; false when the process died before. */
  run(what: Import, options?: { death?: Death; mostOrders?: number; pieceBytes?: number }): Promise<boolean>;
  job(what: Import): Promise<TrackedJob>;
  close(): Promise<void>;
}

/** One job and its file. */
export interface Import {
  jobId: string;
  uploadId: string;
}

/**
 * Opens what an import needs over a shop's database; no process works on imports by itself. `history-import.db.test.ts` runs an
 * import by a worker too.
 */
export async function openHistoryShop(shop: OrderShop): Promise<HistoryShop> {
  const { db } = shop.test;
  const { clock } = shop;
  const jobs = await openJobs({
    ...{ db, clock, logger: silentLogger },
    queues: { [ORDER_IMPORT]: { ...ORDER_IMPORT_QUEUE, maxQueued: 100_000 } },
  });
  const blobs = await openBlobStore({ url: undefined, db, logger: silentLogger });
  const uploads = createUploads({
    ...{ db, blobs, clock },
    kinds: {
      [ORDER_IMPORT]: importedFiles({ name: ORDER_IMPORT, contentTypes: ORDER_IMPORT_TYPES, jobs, clock }),
    },
  });
  const skus: HistoryShop['skus'] = new Map();
  const accounts: HistoryShop['accounts'] = new Map();

  const catalog: SkuDirectory = {
    async resolveSkus({ skus: asked }) {
      await historyShop.onCall();
      if (asked.length > 1_000) throw new Error('at most 1,000 at a time');
      return { products: asked.flatMap((sku) => (skus.has(sku) ? [{ sku, ...skus.get(sku)! }] : [])) };
    },
  };
  const users: EmailDirectory = {
    async resolveEmails({ emails }) {
      await historyShop.onCall();
      if (emails.length > 1_000) throw new Error('at most 1,000 at a time');
      return {
        users: emails.flatMap((email) => {
          const userId = accounts.get(email.toLowerCase());
          return userId === undefined ? [] : [{ email, userId }];
        }),
      };
    },
  };

  const historyShop: HistoryShop = {
    jobs,
    blobs,
    uploads,
    skus,
    accounts,
    onCall: () => undefined,
    async upload(lines) {
      const content = Buffer.from(
        lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
      );
      const uploadId = await uploads.begin({
        kind: ORDER_IMPORT,
        contentType: 'application/x-ndjson',
        subjectId: '',
      });
      let parts = 0;
      for (let at = 0; at < content.length; at += PART_BYTES, parts += 1)
        await uploads.append({ uploadId, index: parts, content: content.subarray(at, at + PART_BYTES) });
      return { uploadId, jobId: await uploads.complete({ uploadId, parts }) };
    },
    async run(what, { death, mostOrders, pieceBytes } = {}) {
      const mortality = createMortality(death);
      const mortalDb = mortality.wrap(db, ['rows', 'row', 'execute', 'transaction']);
      const kind = historyImport({
        db: mortalDb,
        catalog: mortality.wrap(catalog, ['resolveSkus']),
        users: mortality.wrap(users, ['resolveEmails']),
        clock,
      });
      const handler = importStep(
        {
          ...kind,
          mostLines: mostOrders ?? kind.mostLines,
          batch: { ...kind.batch, bytes: pieceBytes ?? kind.batch.bytes },
        },
        {
          db: mortalDb,
          blobs,
          uploads: mortality.wrap(uploads, ['remove']),
          pace: { wait: async () => true },
          clock,
        },
      );
      const makeAll = async () => {
        while (await makeNextStep({ db, jobs, queue: ORDER_IMPORT, trackedJobId: what.jobId, handler }));
      };
      await Promise.race([makeAll(), mortality.death]);
      return !mortality.dead();
    },
    async job({ jobId }) {
      const job = await loadTrackedJob(db, jobId);
      if (!job) throw new Error(`there is no job ${jobId}`);
      return job;
    },
    async close() {
      await jobs.close();
      await blobs.close();
    },
  };
  return historyShop;
}

/** Makes `count` SKUs known to the shop's catalog and returns them. */
export function addSkus(history: HistoryShop, count: number): string[] {
  return Array.from({ length: count }, () => {
    const productId = uuidv7();
    const sku = `SKU-${productId}`;
    history.skus.set(sku, { productId, name: `Product ${sku}` });
    return sku;
  });
}
