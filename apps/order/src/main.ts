import { catalogV1, TOPICS, userV1 } from '@headroom/contracts';
import { messagingMigrations, openEventLog, startRelay, type Relay } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { systemClock } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { guestCartService, orderService } from './api';
import { createCarts } from './cart';
import { createCheckout } from './checkout';
import { orderConfig } from './config';
import { createGuestCarts } from './guest-cart';
import { createSagaRunner, startUpkeep } from './jobs';
import { createPayments } from './payment';
import { findOrders } from './repository';
import { createOrderWatch } from './watch';

/** How long a cancellation waits for the catalog to take the units back before it answers without. */
const RETURN_BUDGET_MS = 1_500;

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
    const payments = createPayments({ url: config.PAYMENT_URL });
    life.health({ name: 'database', severity: 'unhealthy', check: () => db.ping() });
    life.health({ name: 'catalog', severity: 'degraded', check: () => catalog.connected(900) });
    life.health({ name: 'payment', severity: 'degraded', check: () => payments.ping() });

    let relay: Relay | undefined;
    await life.role('relay', async () => {
      const log = await openEventLog({
        url: config.EVENT_LOG_URL,
        ...(config.KAFKA_BROKERS.length > 0 ? { kafkaBrokers: config.KAFKA_BROKERS } : {}),
        logger,
        name: 'order',
      });
      life.own(log);
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
    await life.role('jobs', () => {
      sagas.start();
      const upkeep = startUpkeep({ db, clock, logger });
      return {
        async close() {
          await sagas.close(); // before the relay, so that the last events still go out
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
      for (const directory of [migrationsDirectory(__dirname), messagingMigrations('outbox')])
        await migrate({ url, directory, logger });
    },
  },
);
