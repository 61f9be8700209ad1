import { catalogV1, TOPICS, userAdminV1, userV1 } from '@headroom/contracts';
import { importedFiles, importStep, jobsMigrations, openJobs } from '@headroom/jobs';
import {
  createPace,
  messagingMigrations,
  openEventLog,
  startRelay,
  type EventLog,
  type Relay,
} from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { systemClock } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { createUploads, openBlobStore, storageMigrations } from '@headroom/storage';
import { guestCartService, orderService } from './api';
import { createCarts } from './cart';
import { createCheckout } from './checkout';
import { orderConfig } from './config';
import { createGuestCarts } from './guest-cart';
import { historyImport, ORDER_IMPORT, ORDER_IMPORT_QUEUE, ORDER_IMPORT_TYPES } from './history-import';
import { createSagaRunner, startUpkeep } from './jobs';
import { operationsService, uploadService } from './operations';
import { createPayments } from './payment';
import { findOrders } from './repository';
import { createOrderWatch } from './watch';

/** How long a cancellation waits for the catalog to take the units back before it answers without. */
const RETURN_BUDGET_MS = 1_500;
/** How many events the views may be behind while history is brought in: about a second's worth of their work. */
const MOST_EVENTS_BEHIND = 5_000;

void runService(
  'order',
  orderConfig,
  async (config, life) => {
    const { logger } = life;
    const clock = systemClock;
    const db = life.own(openDatabase({ url: config.DATABASE_URL, name: 'order', logger }));
    const users = life.own(
      createRpcClient(userV1.UserServiceService, { address: config.USER_ADDRESS, timeoutMs: 3_000 }),
    );
    const catalog = life.own(
      createRpcClient(catalogV1.CatalogServiceService, { address: config.CATALOG_ADDRESS, timeoutMs: 3_000 }),
    );
    const directory = life.own(
      createRpcClient(catalogV1.CatalogDirectoryServiceService, {
        address: config.CATALOG_ADDRESS,
        timeoutMs: 5_000,
      }),
    );
    const accounts = life.own(
      createRpcClient(userAdminV1.UserDirectoryServiceService, {
        address: config.USER_ADDRESS,
        timeoutMs: 5_000,
      }),
    );
    const payments = createPayments({ url: config.PAYMENT_URL });
    life.health({ name: 'database', severity: 'unhealthy', check: () => db.ping() });
    life.health({ name: 'catalog', severity: 'degraded', check: () => catalog.connected(900) });
    life.health({ name: 'payment', severity: 'degraded', check: () => payments.ping() });

    const blobs = life.own(await openBlobStore({ url: config.STORAGE_URL, db, logger }));
    const jobs = life.own(
      await openJobs({ db, logger, queues: { [ORDER_IMPORT]: ORDER_IMPORT_QUEUE }, clock }),
    );
    const uploads = createUploads({
      db,
      blobs,
      kinds: {
        [ORDER_IMPORT]: importedFiles({ name: ORDER_IMPORT, contentTypes: ORDER_IMPORT_TYPES, jobs, clock }),
      },
      clock,
    });
    life.health({ name: 'storage', severity: 'degraded', check: () => blobs.ping() });
    life.health({
      name: 'jobs',
      severity: 'degraded',
      check: async () => {
        const problem = jobs.health();
        if (problem !== undefined) throw new Error(problem);
      },
    });

    let openedLog: Promise<EventLog> | undefined;
    const eventLog = () =>
      (openedLog ??= openEventLog({
        url: config.EVENT_LOG_URL,
        ...(config.KAFKA_BROKERS.length > 0 ? { kafkaBrokers: config.KAFKA_BROKERS } : {}),
        logger,
        name: 'order',
      }).then((log) => life.own(log)));

    let relay: Relay | undefined;
    await life.role('relay', async () => {
      const log = await eventLog();
      relay = startRelay({ db, log, topics: [TOPICS.order], logger, name: 'order' });
      return relay;
    });
    const wakeRelay = () => relay?.wake();

    const watch = life.own(createOrderWatch({ load: (ids) => findOrders(db, ids), clock, logger }));
    const sagas = life.own(
      createSagaRunner({
        db,
        holds: catalog,
        payments,
        clock,
        logger,
        wakeRelay,
        onChange: (order) => watch.changed(order),
      }),
    );
    await life.role('jobs', async () => {
      const log = await eventLog();
      const imports = await jobs.work(
        ORDER_IMPORT,
        importStep(historyImport({ db, catalog: directory, users: accounts, clock, wakeRelay }), {
          db,
          blobs,
          uploads,
          pace: createPace({
            db,
            log: () => log,
            topics: [TOPICS.order.name],
            groupPrefixes: ['projector.orders.', 'projector.sales.', 'projector.products.'],
            most: MOST_EVENTS_BEHIND,
            clock,
            logger,
          }),
          clock,
        }),
      );
      sagas.start();
      const upkeep = startUpkeep({ db, uploads, clock, logger });
      return {
        async close() {
          // Before the relay, so that the last events still go out.
          await imports.close();
          await sagas.close();
          await upkeep.close();
        },
      };
    });

    await life.role('api', async () => {
      const verifyToken = createTokenVerifier({
        issuer: config.ISSUER,
        fetchKeys: async () => JSON.parse((await users.getJwks({})).jwksJson),
      });
      const checkout = createCheckout({
        db,
        holds: catalog,
        clock,
        logger,
        holdTtlSeconds: config.HOLD_TTL_SECONDS,
        paymentTimeoutSeconds: config.ORDER_PAYMENT_TIMEOUT_SECONDS,
        wakeRelay,
        wakeSagas: () => sagas.kick(),
        onChange: (order) => watch.changed(order),
        returnUnits: (orderId) => sagas.step(orderId, RETURN_BUDGET_MS),
      });
      const carts = createCarts({ db, catalog, clock, shopCurrency: config.SHOP_CURRENCY });
      const guestCarts = createGuestCarts({ db, carts, catalog, clock });
      const server = await serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [
          orderService({ db, carts, guestCarts, checkout, watch }),
          guestCartService({ guestCarts }),
          operationsService({ db, jobs }),
          uploadService({ db, uploads }),
        ],
        verifyToken,
        logger,
      });
      return {
        async close() {
          await watch.close(); // its streams would otherwise keep the server open
          await server.close();
        },
      };
    });
  },
  {
    async migrate(config, { logger }) {
      const url = config.MIGRATION_DATABASE_URL ?? config.DATABASE_DIRECT_URL ?? config.DATABASE_URL;
      for (const directory of [
        migrationsDirectory(__dirname),
        messagingMigrations('outbox'),
        jobsMigrations(),
        storageMigrations(),
      ])
        await migrate({ url, directory, logger });
    },
  },
);
