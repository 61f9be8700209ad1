import { userV1 } from '@headroom/contracts';
import { messagingMigrations, openEventLog } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import type { Logger } from '@headroom/telemetry';
import { projectorConfig } from './config';
import { openLiveViews } from './live-views';
import { startProjection } from './project';
import { queryService } from './query';
import { rebuild } from './rebuild';
import { ensureVersion, readWatermark } from './repository';
import { findView, VIEWS } from './views';

/** A view that is this far behind is worth an alarm; a rebuild of another view or a batch is not. */
const LATE_MS = 60_000;

const eventLogOf = (config: { EVENT_LOG_URL: string; KAFKA_BROKERS: string[] }, logger: Logger) =>
  openEventLog({
    url: config.EVENT_LOG_URL,
    kafkaBrokers: config.KAFKA_BROKERS,
    logger,
    name: 'projector',
  });

void runService(
  'projector',
  projectorConfig,
  async (config, life) => {
    const { logger } = life;
    const db = life.own(
      openDatabase({ url: config.DATABASE_URL, name: 'views', logger, maxConnections: 12 }),
    );
    life.health({ name: 'database', severity: 'unhealthy', check: () => db.ping() });
    const liveViews = life.own(await openLiveViews({ db, views: VIEWS, logger }));

    await life.role('project', async () => {
      const log = life.own(await eventLogOf(config, logger));
      life.health({ name: 'event-log', severity: 'degraded', check: () => log.ping() });
      const projection = startProjection({
        db,
        log,
        views: VIEWS,
        logger,
        graceMs: config.VIEW_GRACE_SECONDS * 1_000,
      });
      life.live(() => projection.fatal());
      return projection;
    });

    await life.role('query', async () => {
      const users = life.own(
        createRpcClient(userV1.UserServiceService, { address: config.USER_ADDRESS, timeoutMs: 3_000 }),
      );
      life.ready(() => liveViews.problem());
      life.health({
        name: 'views',
        severity: 'degraded',
        async check() {
          const ages = await Promise.all(
            VIEWS.map(async (view) => {
              const watermarkMs = await readWatermark(db, view, liveViews.of(view));
              return [view.name, Date.now() - watermarkMs] as const;
            }),
          );
          const late = ages.filter(([, ageMs]) => ageMs > LATE_MS).map(([name]) => name);
          if (late.length > 0) throw new Error(`more than ${LATE_MS / 1_000} s behind: ${late.join(', ')}`);
          return { behindMs: Object.fromEntries(ages) };
        },
      });
      return serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [queryService({ db, liveViews, shopCurrency: config.SHOP_CURRENCY })],
        verifyToken: createTokenVerifier({
          issuer: config.ISSUER,
          fetchKeys: async () => JSON.parse((await users.getJwks({})).jwksJson),
        }),
        logger,
      });
    });
  },
  {
    /** Makes the tables of versions and offsets, and the first version of each view. */
    async migrate(config, { logger }) {
      const direct = config.DATABASE_DIRECT_URL ?? config.DATABASE_URL;
      for (const directory of [migrationsDirectory(__dirname), messagingMigrations('inbox')])
        await migrate({ url: config.MIGRATION_DATABASE_URL ?? direct, directory, logger });
      const db = openDatabase({ url: direct, name: 'views', logger });
      for (const view of VIEWS) await ensureVersion(db, view);
      await db.close();
    },

    /** Builds the next version of a view and swaps it in, while the old one is read on. */
    async rebuild(config, { logger, arguments: [name = ''] }) {
      const view = findView(name);
      if (!view) {
        const names = VIEWS.map((each) => each.name).join(', ');
        process.stderr.write(`there is no view ${JSON.stringify(name)}, only ${names}\n`);
        process.exit(64);
      }
      const db = openDatabase({
        url: config.DATABASE_DIRECT_URL ?? config.DATABASE_URL,
        name: 'views',
        logger,
      });
      const log = await eventLogOf(config, logger);
      await rebuild({ db, log, view, logger, report: (line) => process.stderr.write(`${line}\n`) });
      await log.close();
      await db.close();
    },
  },
);
