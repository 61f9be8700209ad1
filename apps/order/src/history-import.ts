import type { catalogV1, userAdminV1 } from '@headroom/contracts';
import type { FileImport, LineError, QueueOptions } from '@headroom/jobs';
import { writeOutbox } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import { orderEvent } from './events';
import { readHistoricOrder, recordHistory, type HistoricOrder, type KnownProduct } from './history';
import { findImported, insertHistory, insertImported } from './history-repository';
import { makePartitionOf } from './jobs';

/** The type of the tracked job, the kind of upload, and the queue of an import of orders. */
export const ORDER_IMPORT = 'order-import';
export const ORDER_IMPORT_TYPES = ['application/x-ndjson'];

/** How the queue treats them: enough attempts to outlast a quarter of an hour without the catalog or the user service. */
export const ORDER_IMPORT_QUEUE: QueueOptions = {
  retryLimit: 25,
  retryDelaySeconds: 1,
  retryDelayMaxSeconds: 60,
  expireInSeconds: 45,
  maxQueued: 100,
};

/** What an import needs of the catalog: products by SKU, archived ones too. */
export interface SkuDirectory {
  resolveSkus(request: catalogV1.ResolveSkusRequest): Promise<catalogV1.ResolveSkusResponse>;
}

/** What an import needs of the user service: accounts by e-mail. */
export interface EmailDirectory {
  resolveEmails(request: userAdminV1.ResolveEmailsRequest): Promise<userAdminV1.ResolveEmailsResponse>;
}

const MOST_ORDERS = 1_000_000;
/** An order of 1,000 lines fits with SKUs of 100 characters, even if each of these is escaped as JSON can. */
const LONGEST_LINE_BYTES = 1024 * 1024;
/** A few hundred orders of usual size, whose transaction takes well under a second. */
const BATCH = { lines: 1_000, bytes: 128 * 1024 };
/** How many names one call to a directory may ask for. */
const NAMES_PER_CALL = 1_000;

/**
 * How files of history are read, and what becomes of a batch of orders: the directories are asked while no transaction is open. An
 * order is entered once by its external id, whatever files, and however many at once, hold it.
 */
export function historyImport(deps: {
  db: Database;
  catalog: SkuDirectory;
  users: EmailDirectory;
  clock: Clock;
  wakeRelay?: (() => void) | undefined;
}): FileImport<HistoricOrder> {
  const { db, clock } = deps;
  const monthsMade = new Set<string>();

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

  return {
    name: ORDER_IMPORT,
    mostLines: MOST_ORDERS,
    longestLineBytes: LONGEST_LINE_BYTES,
    batch: BATCH,
    readLine: (text) => readHistoricOrder(text, clock.now()),
    async prepare(lines) {
      const nowMs = clock.now();
      const orders = lines.map(({ row }) => row);
      const known = await findImported(
        db,
        orders.map((order) => order.externalId),
      );
      const fresh = orders.filter((order) => !known.has(order.externalId));
      const products = await productsOf(fresh);
      const accounts = await accountsOf(fresh);
      /** By external id: the first order of the batch that can be entered. */
      const candidates = new Map<string, HistoricOrder>();
      for (const order of fresh)
        if (!candidates.has(order.externalId) && unknownSkus(order, products).length === 0)
          candidates.set(order.externalId, order);
      await makePartitions([...candidates.values()]);

      return async (tx) => {
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

        const errors: LineError[] = [];
        let unchanged = 0;
        for (const { line, row: order } of lines) {
          if (candidates.get(order.externalId) === order && entered.has(order.externalId)) continue;
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
        return { created: created.length, updated: 0, unchanged, errors };
      };
    },
  };
}

/** The SKUs of an order that no product has, each once. */
const unknownSkus = (order: HistoricOrder, products: ReadonlyMap<string, KnownProduct>): string[] => [
  ...new Set(order.items.map((item) => item.sku).filter((sku) => !products.has(sku))),
];
