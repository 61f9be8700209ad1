import { userV1 } from '@headroom/contracts';
import { jobsMigrations, openJobs } from '@headroom/jobs';
import { messagingMigrations, openEventLog } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { openBlobStore, storageMigrations } from '@headroom/storage';
import type { Logger } from '@headroom/telemetry';
import { adminQueryService } from './admin-query';
import { projectorConfig } from './config';
import { createExports, EXPORT_QUEUES, workOnExports } from './exports';
import { openLiveViews } from './live-views';
import { operationsService } from './operations-api';
import { startProjection } from './project';
import { queryService } from './query';
import { rebuild } from './rebuild';
import { ensureVersion, readWatermark } from './repository';
import { findView, VIEWS } from './views';

/** A view that is this far behind is worth an alarm; a rebuild of another view or a batch is not. */
const LATE_MS = 60_000;
/** Long enough to refresh a report, short enough that one that hangs is noticed before it is three minutes old. */
const BULK_STATEMENT_MS = 40_000;

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
    // What takes seconds, reports and files, has connections of its own, so that no shopper waits for one.
    const bulk = life.own(
      openDatabase({
        url: config.DATABASE_URL,
        name: 'views-bulk',
        logger,
        maxConnections: 3,
        statementTimeoutMs: BULK_STATEMENT_MS,
        slowStatementMs: 5_000,
      }),
    );
    const blobs = life.own(await openBlobStore({ url: config.STORAGE_URL, db: bulk, logger }));
    life.health({ name: 'storage', severity: 'degraded', check: () => blobs.ping() });
    const jobs = life.own(await openJobs({ db, logger, queues: EXPORT_QUEUES }));
    const liveViews = life.own(await openLiveViews({ db, views: VIEWS, logger }));

    await life.role('project', async () => {
      const log = life.own(await eventLogOf(config, logger));
      life.health({ name: 'event-log', severity: 'degraded', check: () => log.ping() });
      const projection = startProjection({
        db,
        reportsDb: bulk,
        log,
        views: VIEWS,
        logger,
        graceMs: config.VIEW_GRACE_SECONDS * 1_000,
        reportIntervalMs: config.REPORT_SECONDS * 1_000,
      });
      life.live(() => projection.fatal());
      const exports = await workOnExports({ db: bulk, jobs, blobs, liveViews });
      life.health({
        name: 'jobs',
        severity: 'degraded',
        check: () =>
          jobs.health() === undefined ? Promise.resolve() : Promise.reject(new Error(jobs.health())),
      });
      return {
        async close() {
          await exports.close();
          await projection.close();
        },
      };
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
        services: [
          queryService({ db, liveViews, shopCurrency: config.SHOP_CURRENCY }),
          adminQueryService({ db, liveViews, exports: createExports({ db, jobs, blobs }) }),
          operationsService({ db, jobs }),
        ],
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
      for (const directory of [
        migrationsDirectory(__dirname),
        messagingMigrations('inbox'),
        jobsMigrations(),
        storageMigrations(),
      ])
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
        statementTimeoutMs: BULK_STATEMENT_MS,
      });
      const log = await eventLogOf(config, logger);
      await rebuild({ db, log, view, logger, report: (line) => process.stderr.write(`${line}\n`) });
      await log.close();
      await db.close();
    },
  },
);
