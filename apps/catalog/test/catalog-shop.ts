import { catalogV1 } from '@headroom/contracts';
import { jobsMigrations } from '@headroom/jobs';
import { messagingMigrations } from '@headroom/messaging';
import { migrationsDirectory, openDatabase, sql, type Database } from '@headroom/postgres';
import { createRpcClient, serveGrpc, withCallContext, type RpcClient } from '@headroom/rpc';
import { storageMigrations } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, ManualClock, trustTokens, type TestDatabase } from '@headroom/testing';
import { catalogService } from '../src/api';
import { trackContention, type Contention } from '../src/contention';
import { directoryService } from '../src/directory';
import { createHolds, type Holds } from '../src/holds';

/** A catalog on a database of its own, behind a real gRPC server, with a clock that stands still. */
export interface CatalogShop {
  test: TestDatabase;
  /** The service's own pool. */
  db: Database;
  clock: ManualClock;
  holds: Holds;
  /** Calls as whoever `as` says: a shopper carries no token. */
  as(role: 'admin' | 'customer' | 'nobody'): RpcClient<typeof catalogV1.CatalogServiceService>;
  /** Where another service finds products by SKU. */
  directory: RpcClient<typeof catalogV1.CatalogDirectoryServiceService>;
  /** A product that was just made. */
  addProduct(options?: Partial<catalogV1.CreateProductRequest>): Promise<catalogV1.Product>;
  /** Events written for a key, in the order in which they will be published. */
  events(
    key: string,
  ): Promise<Array<{ type: string; subject: string; version: number; data: Record<string, unknown> }>>;
  /** Units of a product: of the buckets, the live holds and the ledger, each by itself. */
  books(productId: string): Promise<{ available: bigint; held: bigint; ledger: bigint; buckets: number }>;
  close(): Promise<void>;
}

/** Opens it; `maxConnections` is of the service's pool. */
export async function openCatalogShop(
  options: { maxConnections?: number; contention?: Contention } = {},
): Promise<CatalogShop> {
  const test = await createTestDatabase(
    migrationsDirectory(`${__dirname}/../src`),
    messagingMigrations('outbox'),
    jobsMigrations(),
    storageMigrations(),
  );
  const db = openDatabase({
    url: test.url,
    name: 'catalog',
    logger: silentLogger,
    maxConnections: options.maxConnections ?? 16,
  });
  const clock = new ManualClock();
  const contention = options.contention ?? trackContention({ thresholdMs: Number.POSITIVE_INFINITY });
  const holds = createHolds({ db, clock, logger: silentLogger, contention });
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [
      catalogService({ db, clock, holds, shopCurrency: 'EUR', holdTtlSeconds: 900 }),
      directoryService({ db }),
    ],
    verifyToken: trustTokens,
    logger: silentLogger,
    graceMs: 100,
  });
  const client = createRpcClient(catalogV1.CatalogServiceService, {
    address: `127.0.0.1:${server.port}`,
    timeoutMs: 20_000,
  });
  const directory = createRpcClient(catalogV1.CatalogDirectoryServiceService, {
    address: `127.0.0.1:${server.port}`,
    timeoutMs: 20_000,
  });
  const as: CatalogShop['as'] = (role) =>
    new Proxy(client, {
      get: (target, method: keyof typeof client) => (request: never) =>
        withCallContext(
          {
            deadlineAt: Date.now() + 20_000,
            requestId: 'test',
            accessToken: role === 'nobody' ? undefined : role,
          },
          () => (target[method] as (request: never) => unknown)(request),
        ),
    });
  let number = 0;
  return {
    test,
    db,
    clock,
    holds,
    as,
    directory,
    async addProduct(product = {}) {
      number += 1;
      const written = await as('admin').createProduct({
        sku: `SKU-${number}`,
        name: `Product ${number}`,
        description: '',
        category: 'kitchen/mugs',
        price: { amountMinor: 1_999n, currency: '' },
        onHand: 10n,
        imageUrl: '',
        ...product,
      });
      return written.product!;
    },
    async events(key) {
      const rows = await test.db.rows<{
        event: { type: string; subject: string; aggregateversion: number; data: Record<string, unknown> };
      }>(sql('test.events')`select event from outbox where key = ${key} order by id`);
      return rows.map(({ event }) => ({
        type: event.type,
        subject: event.subject,
        version: event.aggregateversion,
        data: event.data,
      }));
    },
    async books(productId) {
      const row = await test.db.row<{ available: bigint; held: bigint; ledger: bigint; buckets: bigint }>(
        sql('test.books')`select
          (select sum(available)::bigint from stock_buckets where product_id = ${productId}) as available,
          (select coalesce(sum(quantity), 0)::bigint from held_units where product_id = ${productId}) as held,
          (select coalesce(sum(delta), 0)::bigint from stock_ledger where product_id = ${productId}) as ledger,
          (select count(*) from stock_buckets where product_id = ${productId}) as buckets`,
      );
      return { ...row!, buckets: Number(row!.buckets) };
    },
    async close() {
      client.close();
      directory.close();
      await holds.close();
      await server.close();
      await db.close();
      await test.drop();
    },
  };
}
