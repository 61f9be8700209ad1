import { TOPICS, userV1 } from '@headroom/contracts';
import { importedFiles, jobsMigrations, openJobs } from '@headroom/jobs';
import {
  createPace,
  messagingMigrations,
  openEventLog,
  startRelay,
  type EventLog,
  type Relay,
} from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase, sheddingDatabase } from '@headroom/postgres';
import { systemClock, type Poller } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { createUploads, openBlobStore, storageMigrations } from '@headroom/storage';
import { parseArgs } from 'node:util';
import { catalogService } from './api';
import { catalogConfig } from './config';
import { trackContention } from './contention';
import { directoryService } from './directory';
import { createHolds } from './holds';
import { imageService } from './image-api';
import { IMAGE_QUEUES, PRODUCT_IMAGE, uploadedImages, workOnImages } from './images';
import { IMPORT_QUEUES, PRODUCT_IMPORT, PRODUCT_IMPORT_TYPES, workOnImports } from './import';
import { startHoldExpiry, startStockPublisher, startUploadCleanUp } from './jobs';
import { operationsService } from './operations-api';
import { readSeedArguments, seedCatalogue } from './seed';
import { uploadService } from './uploads-api';

/** The consumer groups that build what shoppers see of products, without the version of each view. */
const VIEWS_OF_PRODUCTS = ['projector.products.'];

void runService(
  'catalog',
  catalogConfig,
  async (config, life) => {
    const { logger } = life;
    const clock = systemClock;
    const pool = life.own(openDatabase({ url: config.DATABASE_URL, name: 'catalog', logger }));
    const db = sheddingDatabase(pool);
    const users = life.own(
      createRpcClient(userV1.UserServiceService, { address: config.USER_ADDRESS, timeoutMs: 3_000 }),
    );
    life.health({ name: 'database', severity: 'unhealthy', check: () => pool.ping() });
    life.health({ name: 'user', severity: 'degraded', check: () => users.connected(900) });

    // Work on files is long: it has connections of its own, so that no shopper waits for one.
    const bulk = life.own(
      openDatabase({
        url: config.DATABASE_URL,
        name: 'catalog-bulk',
        logger,
        maxConnections: 3,
        statementTimeoutMs: 20_000,
        slowStatementMs: 2_000,
      }),
    );
    const blobs = life.own(await openBlobStore({ url: config.STORAGE_URL, db: bulk, logger }));
    /** Where shoppers' pictures are read from, past the work on files. */
    const pictures = life.own(await openBlobStore({ url: config.STORAGE_URL, db, logger }));
    life.health({ name: 'storage', severity: 'degraded', check: () => blobs.ping() });
    const jobs = life.own(
      await openJobs({ db: pool, logger, clock, queues: { ...IMPORT_QUEUES, ...IMAGE_QUEUES } }),
    );
    const uploads = createUploads({
      db: bulk,
      blobs,
      clock,
      kinds: {
        [PRODUCT_IMPORT]: importedFiles({
          name: PRODUCT_IMPORT,
          contentTypes: PRODUCT_IMPORT_TYPES,
          jobs,
          clock,
        }),
        [PRODUCT_IMAGE]: uploadedImages({ blobs, clock }, jobs),
      },
    });

    let log: EventLog | undefined;
    /** For the roles that write to the log, or look how far its readers are. */
    const openLog = async (): Promise<EventLog> => {
      if (log) return log;
      const opened = life.own(
        await openEventLog({
          url: config.EVENT_LOG_URL,
          ...(config.KAFKA_BROKERS.length > 0 ? { kafkaBrokers: config.KAFKA_BROKERS } : {}),
          logger,
          name: 'catalog',
        }),
      );
      life.health({ name: 'event-log', severity: 'degraded', check: () => opened.ping() });
      return (log = opened);
    };

    let relay: Relay | undefined;
    await life.role('relay', async () => {
      relay = startRelay({
        db: pool,
        log: await openLog(),
        topics: [TOPICS.catalog],
        logger,
        name: 'catalog',
        clock,
      });
      return relay;
    });
    const wakeRelay = () => relay?.wake();

    let publisher: Poller | undefined;
    await life.role('jobs', async () => {
      publisher = startStockPublisher({ db: pool, clock, logger, wakeRelay });
      const expiry = startHoldExpiry({ db: pool, clock, logger });
      const cleanUp = startUploadCleanUp({ uploads, clock, logger });
      const running = publisher;
      const log = await openLog();
      const pace = createPace({
        db: bulk,
        log: () => log,
        topics: [TOPICS.catalog.name],
        groupPrefixes: VIEWS_OF_PRODUCTS,
        most: config.IMPORT_BACKLOG_EVENTS,
        clock,
        logger,
      });
      const imports = await workOnImports(
        { db: bulk, blobs, uploads, pace, clock, shopCurrency: config.SHOP_CURRENCY, wakeRelay },
        jobs,
      );
      const images = await workOnImages({ db: pool, blobs, uploads, clock, wakeRelay }, jobs);
      life.health({
        name: 'jobs',
        severity: 'degraded',
        check: () =>
          jobs.health() === undefined ? Promise.resolve() : Promise.reject(new Error(jobs.health())),
      });
      return {
        async close() {
          await images.close();
          await imports.close();
          await cleanUp.close();
          await expiry.close();
          await running.close(); // before the relay, so that the last events still go out
        },
      };
    });

    const holds = life.own(createHolds({ db, clock, logger, contention: trackContention({ clock }) }));
    await life.role('api', () =>
      serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [
          catalogService({
            db,
            clock,
            holds,
            shopCurrency: config.SHOP_CURRENCY,
            holdTtlSeconds: config.HOLD_TTL_SECONDS,
            wakeRelay,
            wakePublisher: () => publisher?.kick(),
          }),
          directoryService({ db }),
          uploadService({ db, uploads }),
          imageService({ blobs: pictures }),
          operationsService({ db, jobs }),
        ],
        verifyToken: createTokenVerifier({
          issuer: config.ISSUER,
          fetchKeys: async () => JSON.parse((await users.getJwks({})).jwksJson),
        }),
        logger,
      }),
    );
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
    async seed(config, { logger, arguments: args }) {
      const { values } = parseArgs({
        args,
        options: { products: { type: 'string' }, seed: { type: 'string' } },
      });
      const { products, seed } = readSeedArguments(values);
      const db = openDatabase({
        url: config.DATABASE_DIRECT_URL ?? config.DATABASE_URL,
        name: 'catalog-seed',
        logger,
        maxConnections: 1,
        statementTimeoutMs: 60_000,
        slowStatementMs: 5_000,
      });
      try {
        const added = await seedCatalogue({
          db,
          products,
          seed,
          currency: config.SHOP_CURRENCY,
          onProgress: (done) => void process.stderr.write(`seed: ${done} of ${products} products\n`),
        });
        process.stderr.write(`seed: ${added} products added\n`);
      } finally {
        await db.close();
      }
    },
  },
);
