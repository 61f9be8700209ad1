import { TOPICS, userV1 } from '@headroom/contracts';
import { messagingMigrations, openEventLog, startRelay, type Relay } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase, sheddingDatabase } from '@headroom/postgres';
import { systemClock, type Poller } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { parseArgs } from 'node:util';
import { catalogService } from './api';
import { catalogConfig } from './config';
import { trackContention } from './contention';
import { directoryService } from './directory';
import { createHolds } from './holds';
import { startHoldExpiry, startStockPublisher } from './jobs';
import { readSeedArguments, seedCatalogue } from './seed';

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

    let relay: Relay | undefined;
    await life.role('relay', async () => {
      const log = await openEventLog({
        url: config.EVENT_LOG_URL,
        ...(config.KAFKA_BROKERS.length > 0 ? { kafkaBrokers: config.KAFKA_BROKERS } : {}),
        logger,
        name: 'catalog',
      });
      life.own(log);
      life.health({ name: 'event-log', severity: 'degraded', check: () => log.ping() });
      relay = startRelay({ db: pool, log, topics: [TOPICS.catalog], logger, name: 'catalog', clock });
      return relay;
    });
    const wakeRelay = () => relay?.wake();

    let publisher: Poller | undefined;
    await life.role('jobs', () => {
      publisher = startStockPublisher({ db: pool, clock, logger, wakeRelay });
      const expiry = startHoldExpiry({ db: pool, clock, logger });
      const running = publisher;
      return {
        async close() {
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
      for (const directory of [migrationsDirectory(__dirname), messagingMigrations('outbox')])
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
