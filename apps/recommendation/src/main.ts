import { operationsV1, userV1 } from '@headroom/contracts';
import { operationsHandlers } from '@headroom/jobs';
import { messagingMigrations, openEventLog, parkedDeadLetters } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { createRpcClient, createTokenVerifier, implement, serveGrpc, type ServerCall } from '@headroom/rpc';
import { runService } from '@headroom/service';
import type { Logger } from '@headroom/telemetry';
import { publishKnown, startActivityBuffer } from './activity';
import { recommendationService } from './api';
import { recommendationConfig } from './config';
import { startLearning } from './learn';
import { openLiveModel } from './live-model';
import { ensureModel } from './models-repository';
import { rebuild } from './rebuild';

const eventLogOf = (config: { EVENT_LOG_URL: string; KAFKA_BROKERS: string[] }, logger: Logger) =>
  openEventLog({
    url: config.EVENT_LOG_URL,
    kafkaBrokers: config.KAFKA_BROKERS,
    logger,
    name: 'recommendation',
  });

void runService(
  'recommendation',
  recommendationConfig,
  async (config, life) => {
    const { logger } = life;
    const db = life.own(openDatabase({ url: config.DATABASE_URL, name: 'recommendation', logger }));
    life.health({ name: 'database', severity: 'unhealthy', check: () => db.ping() });
    const log = life.own(await eventLogOf(config, logger));
    life.health({ name: 'event-log', severity: 'degraded', check: () => log.ping() });

    await life.role('consumers', () => {
      const learning = startLearning({ db, log, logger, graceMs: config.MODEL_GRACE_SECONDS * 1_000 });
      life.live(() => learning.fatal());
      return learning;
    });

    await life.role('api', async () => {
      const users = life.own(
        createRpcClient(userV1.UserServiceService, { address: config.USER_ADDRESS, timeoutMs: 3_000 }),
      );
      const liveModel = life.own(await openLiveModel({ db, logger }));
      life.ready(() => liveModel.problem());
      // Owned, so that it is closed after the listener: what was accepted is written before the log closes.
      const activity = life.own(
        startActivityBuffer({ publish: publishKnown({ db, log, liveModel }), logger }),
      );
      return serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [
          recommendationService({ db, liveModel, activity }),
          implement(
            'headroom.operations.v1.OperationsService',
            operationsV1.OperationsServiceService,
            operationsHandlers<ServerCall>({
              deadLetters: parkedDeadLetters(db),
              authorize: (call) => call.admin(),
            }),
          ),
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
    /** Makes the tables of versions and offsets, and the first version. */
    async migrate(config, { logger }) {
      const direct = config.DATABASE_DIRECT_URL ?? config.DATABASE_URL;
      for (const directory of [migrationsDirectory(__dirname), messagingMigrations('inbox')])
        await migrate({ url: config.MIGRATION_DATABASE_URL ?? direct, directory, logger });
      const db = openDatabase({ url: direct, name: 'recommendation', logger });
      await ensureModel(db);
      await db.close();
    },

    /** Learns everything anew from the log and swaps it in, while the old lists are read on. */
    async rebuild(config, { logger }) {
      const db = openDatabase({
        url: config.DATABASE_DIRECT_URL ?? config.DATABASE_URL,
        name: 'recommendation',
        logger,
      });
      const log = await eventLogOf(config, logger);
      await rebuild({ db, log, logger, report: (line) => process.stderr.write(`${line}\n`) });
      await log.close();
      await db.close();
    },
  },
);
