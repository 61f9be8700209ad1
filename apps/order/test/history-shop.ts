import { loadTrackedJob, type RunningJob, type TrackedJob } from '@headroom/jobs';
import { sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { createUploads, openBlobStore, PART_BYTES, type BlobStore, type Uploads } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import {
  createHistoryImport,
  HISTORY_QUEUE,
  historyUpload,
  type EmailDirectory,
  type HistoryStep,
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
}

/** One job and the step that is next. */
export interface Import {
  jobId: string;
  uploadId: string;
}

/**
 * Opens what an import needs over a shop's database. Its queue is one row per job whose step is taken and written in the step's own
 * transaction, as the real one does; `history-import.db.test.ts` runs an import by the real one too.
 */
export async function openHistoryShop(shop: OrderShop): Promise<HistoryShop> {
  const { db } = shop.test;
  await db.execute(
    sql(
      'test.steps',
    )`create table test_steps (job_id uuid primary key, attempt bigint not null, payload jsonb)`,
  );
  const blobs = await openBlobStore({ url: undefined, db, logger: silentLogger });
  const enqueue = async (
    tx: Parameters<RunningJob<HistoryStep>['complete']>[0],
    payload: object,
    jobId: string,
  ) => {
    await tx.execute(
      sql('test.enqueue')`insert into test_steps values (${jobId}, 0, ${JSON.stringify(payload)})`,
    );
    return jobId;
  };
  const uploads = createUploads({
    db,
    blobs,
    kinds: {
      [HISTORY_QUEUE]: historyUpload({
        jobs: { enqueue: (tx, _queue, payload, options) => enqueue(tx, payload, options!.trackedJobId!) },
        clock: shop.clock,
      }),
    },
    clock: shop.clock,
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

  const runSteps = async (
    what: Import,
    mortal: { db: Database; step: ReturnType<typeof createHistoryImport> },
  ): Promise<void> => {
    for (;;) {
      const row = await mortal.db.row<{ payload: HistoryStep; attempt: bigint }>(sql('test.take')`
        update test_steps set attempt = attempt + 1 where job_id = ${what.jobId} returning payload, attempt`);
      if (!row) return;
      const settle = async (
        tx: { execute: Database['execute'] },
        statement: ReturnType<ReturnType<typeof sql>>,
      ) => {
        if ((await tx.execute(statement)) !== 1) throw new Error('the step was taken over');
      };
      await mortal.step({
        id: what.jobId,
        queue: HISTORY_QUEUE,
        payload: row.payload,
        attempt: Number(row.attempt),
        trackedJobId: what.jobId,
        signal: new AbortController().signal,
        complete: (tx) =>
          settle(
            tx,
            sql(
              'test.complete',
            )`delete from test_steps where job_id = ${what.jobId} and attempt = ${row.attempt}`,
          ),
        continueWith: (tx, payload) =>
          settle(
            tx,
            sql('test.continue')`
            update test_steps set payload = ${JSON.stringify(payload)}, attempt = attempt + 1
            where job_id = ${what.jobId} and attempt = ${row.attempt}`,
          ),
      });
    }
  };

  const historyShop: HistoryShop = {
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
        kind: HISTORY_QUEUE,
        contentType: 'application/x-ndjson',
        subjectId: '',
      });
      let parts = 0;
      for (let at = 0; at < content.length; at += PART_BYTES, parts += 1)
        await uploads.append({ uploadId, index: parts, content: content.subarray(at, at + PART_BYTES) });
      return { uploadId, jobId: await uploads.complete({ uploadId, parts }) };
    },
    async run(what, { death, ...options } = {}) {
      const mortality = createMortality(death);
      const mortalDb = mortality.wrap(db, ['rows', 'row', 'execute', 'transaction']);
      const step = createHistoryImport({
        db: mortalDb,
        blobs: mortality.wrap(blobs, ['stat']),
        uploads: mortality.wrap(uploads, ['remove']),
        catalog: mortality.wrap(catalog, ['resolveSkus']),
        users: mortality.wrap(users, ['resolveEmails']),
        pace: { wait: async () => true },
        clock: shop.clock,
        ...options,
      });
      await Promise.race([runSteps(what, { db: mortalDb, step }), mortality.death]);
      return !mortality.dead();
    },
    async job({ jobId }) {
      const job = await loadTrackedJob(db, jobId);
      if (!job) throw new Error(`there is no job ${jobId}`);
      return job;
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
