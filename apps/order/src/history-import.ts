import type { catalogV1, userAdminV1 } from '@headroom/contracts';
import { addProgress, createTrackedJob, finishTrackedJob, type Jobs, type RunningJob } from '@headroom/jobs';
import { writeOutbox, type Pace } from '@headroom/messaging';
import type { Database, Tx } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { BlobStore, UploadKind, Uploads } from '@headroom/storage';
import { orderEvent } from './events';
import { readHistoricOrder, recordHistory, type HistoricOrder, type KnownProduct } from './history';
import { cutLines, LONGEST_LINE_BYTES, START, type Line, type Place } from './history-lines';
import { findImported, insertHistory, insertImported } from './history-repository';
import { makePartitionOf } from './jobs';

/** The queue of the import's steps, and the type of its tracked job. */
export const HISTORY_QUEUE = 'order-import';

/** How the queue treats them: enough attempts to outlast a quarter of an hour without the catalog or the user service. */
export const HISTORY_QUEUE_OPTIONS = {
  retryLimit: 25,
  retryDelaySeconds: 1,
  retryDelayMaxSeconds: 60,
  expireInSeconds: 45,
  maxQueued: 100,
} as const;

/** What one step needs to know; each step makes the next one's. */
export interface HistoryStep {
  uploadId: string;
  /** Of the file in the blob store. */
  name: string;
  place: Place;
  /** Orders before `place`, bad ones included. */
  lines: number;
}

/** What an import needs of the catalog: products by SKU, archived ones too. */
export interface SkuDirectory {
  resolveSkus(request: catalogV1.ResolveSkusRequest): Promise<catalogV1.ResolveSkusResponse>;
}

/** What an import needs of the user service: accounts by e-mail. */
export interface EmailDirectory {
  resolveEmails(request: userAdminV1.ResolveEmailsRequest): Promise<userAdminV1.ResolveEmailsResponse>;
}

const MOST_BYTES = 1024 ** 3;
const MOST_ORDERS = 1_000_000;
/** Bytes per step: a few hundred orders of usual size, whose transaction takes well under a second. */
const PIECE_BYTES = 128 * 1024;
/** How many names one call to a directory may ask for. */
const NAMES_PER_CALL = 1_000;
/** How long a step waits for the readers of its events before it lets another import have its turn. */
const PACE_BUDGET_MS = 5_000;

/** The kind of upload that begins an import: NDJSON of at most 1 GiB. */
export function historyUpload(deps: { jobs: Pick<Jobs, 'enqueue'>; clock: Clock }): UploadKind {
  return {
    maxBytes: MOST_BYTES,
    contentTypes: ['application/x-ndjson'],
    async complete(tx, file) {
      const job = await createTrackedJob(tx, { type: HISTORY_QUEUE }, deps.clock.now());
      const step: HistoryStep = { uploadId: file.uploadId, name: file.name, place: START, lines: 0 };
      await deps.jobs.enqueue(tx, HISTORY_QUEUE, step, { trackedJobId: job.id });
      return job.id;
    },
  };
}

/**
 * Makes the steps of imports. A step reads the orders of one piece of the file, asks the directories (no transaction is open), then
 * writes orders, events, progress and the next step in one transaction. A process that dies anywhere therefore loses one step's work
 * and repeats no effect, and any other goes on. An order is entered once by its external id, whatever files, and however many at
 * once, hold it. A file of more than 1,000,000 orders ends as failed behind that order; what was imported before stays.
 */
export function createHistoryImport(deps: {
  db: Database;
  blobs: Pick<BlobStore, 'stat' | 'read'>;
  uploads: Pick<Uploads, 'release' | 'remove'>;
  catalog: SkuDirectory;
  users: EmailDirectory;
  pace: Pace;
  clock: Clock;
  wakeRelay?: (() => void) | undefined;
  mostOrders?: number;
  pieceBytes?: number;
}): (job: RunningJob<HistoryStep>) => Promise<void> {
  const { db, blobs, uploads, clock, mostOrders = MOST_ORDERS, pieceBytes = PIECE_BYTES } = deps;
  const monthsMade = new Set<string>();

  const readPiece = async (step: HistoryStep) => {
    const { name, place } = step;
    const sizeBytes = (await blobs.stat(name))?.sizeBytes ?? 0; // a file that is gone fails at the reading
    for (const length of [pieceBytes, LONGEST_LINE_BYTES + 1]) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of blobs.read(name, { from: place.offset, length })) chunks.push(chunk);
      const piece = Buffer.concat(chunks);
      const ended = place.offset + piece.length >= sizeBytes;
      const { lines, end } = cutLines(piece, place, ended);
      if (end.offset > place.offset || ended) return { lines, end, ended: end.offset >= sizeBytes };
    }
    throw new Error('a piece of a file brought reading nowhere');
  };

  /** Names that are known, asked for in calls of bounded size. */
  const resolve = async <T>(
    names: Iterable<string>,
    ask: (names: string[]) => Promise<Array<[string, T]>>,
  ): Promise<Map<string, T>> => {
    const all = [...new Set(names)];
    const found = new Map<string, T>();
    for (let at = 0; at < all.length; at += NAMES_PER_CALL)
      for (const [name, value] of await ask(all.slice(at, at + NAMES_PER_CALL))) found.set(name, value);
    return found;
  };
  const productsOf = (orders: readonly HistoricOrder[]) =>
    resolve<KnownProduct>(
      orders.flatMap((order) => order.items.map((item) => item.sku)),
      async (skus) =>
        (await deps.catalog.resolveSkus({ skus })).products.map(({ sku, productId, name }) => [
          sku,
          { productId, name },
        ]),
    );
  const accountsOf = (orders: readonly HistoricOrder[]) =>
    resolve<string>(
      orders.flatMap((order) => (order.email === undefined ? [] : [order.email])),
      async (emails) =>
        (await deps.users.resolveEmails({ emails })).users.map(({ email, userId }) => [email, userId]),
    );

  const makePartitions = async (orders: readonly HistoricOrder[]) => {
    for (const { placedAtMs } of orders) {
      const month = new Date(placedAtMs).toISOString().slice(0, 7);
      if (monthsMade.has(month)) continue;
      await makePartitionOf(db, placedAtMs);
      monthsMade.add(month); // a few hundred at most, since the Unix epoch
    }
  };

  return async (job) => {
    const step = job.payload;
    const trackedJobId = job.trackedJobId!;
    if (!(await deps.pace.wait({ budgetMs: PACE_BUDGET_MS, signal: job.signal }))) {
      await db.transaction((tx) => job.continueWith(tx, step));
      return;
    }
    const piece = await readPiece(step);
    const lines = piece.lines.slice(0, Math.max(0, mostOrders - step.lines));
    const tooMany = piece.lines[lines.length];
    const nowMs = clock.now();
    const read = lines.map((line) => readLine(line, nowMs));
    const orders = read.flatMap(({ order }) => (order ? [order] : []));
    const known = await findImported(
      db,
      orders.map((order) => order.externalId),
    );
    const fresh = orders.filter((order) => !known.has(order.externalId));
    const products = await productsOf(fresh);
    const accounts = await accountsOf(fresh);
    /** By external id: the first order of the piece that can be entered. */
    const candidates = new Map<string, HistoricOrder>();
    for (const order of fresh)
      if (!candidates.has(order.externalId) && unknownSkus(order, products).length === 0)
        candidates.set(order.externalId, order);
    await makePartitions([...candidates.values()]);

    const write = async (tx: Tx) => {
      const changes = [...candidates.values()].map((order) => ({
        ...recordHistory(order, {
          userId: (order.email === undefined ? undefined : accounts.get(order.email)) ?? null,
          products,
          nowMs,
        }),
        historic: order,
      }));
      const entered = await insertImported(
        tx,
        changes.map(({ order, historic: { externalId, fingerprint } }) => ({
          externalId,
          fingerprint,
          orderId: order.id,
        })),
      );
      const created = changes.filter(({ historic }) => entered.has(historic.externalId));
      if (created.length > 0) {
        await insertHistory(
          tx,
          created.map(({ order }) => order),
        );
        await writeOutbox(
          tx,
          created.flatMap(({ events }) => events.map(orderEvent)),
          deps.wakeRelay,
        );
      }
      const overtaken = [...candidates.keys()].filter((externalId) => !entered.has(externalId));
      const here = new Map([
        ...known,
        ...created.map(({ historic }) => [historic.externalId, historic.fingerprint] as const),
        ...(overtaken.length > 0 ? await findImported(tx, overtaken) : []),
      ]);

      const errors: Array<{ line: number; code: string; reason: string }> = [];
      let unchanged = 0;
      for (const { line, order, problem } of read) {
        if (!order) errors.push({ line, ...problem });
        else if (candidates.get(order.externalId) === order && entered.has(order.externalId)) continue;
        else if (!here.has(order.externalId)) {
          const skus = unknownSkus(order, products);
          errors.push({
            line,
            code: 'SKU_UNKNOWN',
            reason: `there is no product ${skus.slice(0, 5).join(', ')}`,
          });
        } else if (here.get(order.externalId)!.equals(order.fingerprint)) unchanged += 1;
        else
          errors.push({
            line,
            code: 'EXTERNAL_ID_CONFLICT',
            reason: `the order ${order.externalId} is here with other content`,
          });
      }
      await addProgress(tx, trackedJobId, {
        processed: read.length,
        created: created.length,
        unchanged,
        rejected: errors.length,
        errors,
        ...(piece.ended && !tooMany ? { total: step.lines + read.length } : {}),
      });
      if (!piece.ended && !tooMany) {
        await job.continueWith(tx, { ...step, place: piece.end, lines: step.lines + read.length });
        return;
      }
      await finishTrackedJob(tx, trackedJobId, tooMany ? 'failed' : 'succeeded', {
        nowMs,
        ...(tooMany
          ? {
              errors: [
                {
                  line: tooMany.line,
                  code: 'FILE_TOO_LONG',
                  reason: `a file may hold at most ${mostOrders} orders; those before this line were read`,
                },
              ],
            }
          : {}),
      });
      await uploads.release(tx, step.uploadId);
      await job.complete(tx);
    };
    await db.transaction(write);
    // The clean-up of uploads does it otherwise.
    if (piece.ended || tooMany) await uploads.remove(step.uploadId);
  };
}

type ReadLine = { line: number } & (
  | { order: HistoricOrder; problem?: undefined }
  | { order?: undefined; problem: { code: string; reason: string } }
);

function readLine(line: Line, nowMs: number): ReadLine {
  if ('problem' in line) return line;
  const read = readHistoricOrder(line.text, nowMs);
  return 'code' in read ? { line: line.line, problem: read } : { line: line.line, order: read };
}

/** The SKUs of an order that no product has, each once. */
const unknownSkus = (order: HistoricOrder, products: ReadonlyMap<string, KnownProduct>): string[] => [
  ...new Set(order.items.map((item) => item.sku).filter((sku) => !products.has(sku))),
];
