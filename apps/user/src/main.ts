import { queryAdminV1, queryV1, TOPICS } from '@headroom/contracts';
import { jobsMigrations, openJobs } from '@headroom/jobs';
import {
  consumeEvents,
  messagingMigrations,
  openEventLog,
  startRelay,
  type Relay,
} from '@headroom/messaging';
import { migrate, migrationsDirectory } from '@headroom/postgres';
import { systemClock } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { createAccessTokens } from './access-tokens';
import { createAccounts } from './accounts';
import { userAdminApi } from './admin-api';
import { passwordResetApi, userApi } from './api';
import { userConfig } from './config';
import { userDirectoryApi } from './directory';
import { startHousekeeping } from './jobs';
import { mailInbox, noReplyOf, smtpDelivery } from './mail-delivery';
import { enqueueMails, MAIL_QUEUES, workOnMails } from './mails';
import { operationsApi } from './operations';
import { openPasswords } from './passwords';
import { createRegistration } from './registration';
import { createPasswordResets, createResetIssuer } from './resets';
import { startRevocationFeed } from './revocations';
import { createSessions } from './sessions';
import { openShards } from './shards';
import { createThrottle } from './throttle';

void runService(
  'user',
  userConfig,
  async (config, life) => {
    const { logger } = life;
    const clock = systemClock;
    const relays: Relay[] = [];
    const shards = life.own(
      await openShards({
        urls: config.USER_SHARD_URLS,
        logger,
        wake: (number) => relays[number]?.wake(),
      }),
    );
    // The first database is home to what belongs to no user: queues, kept mails and what the group `mails` has read.
    const home = shards.all[0]!.db;
    const jobs = life.own(await openJobs({ db: home, logger, queues: MAIL_QUEUES, clock }));
    const registration = createRegistration({ shards, clock, logger });
    // An access token that was revoked is dead by itself after its time and the verifiers' tolerance.
    const revocationWindowMs = Math.max(11 * 60_000, (config.ACCESS_TOKEN_TTL_SECONDS + 60) * 1_000);

    for (const { number, db } of shards.all)
      life.health({ name: `database-${number + 1}`, severity: 'degraded', check: () => db.ping() });
    // Users of other shards are still served while one is away.
    life.health({
      name: 'databases',
      severity: 'unhealthy',
      check: async () => {
        await Promise.any(shards.all.map(({ db }) => db.ping()));
      },
    });

    const openLog = () =>
      openEventLog({
        url: config.EVENT_LOG_URL,
        kafkaBrokers: config.KAFKA_BROKERS,
        logger,
        name: 'user',
      });

    await life.role('relay', async () => {
      const log = await openLog();
      life.health({ name: 'event-log', severity: 'degraded', check: () => log.ping() });
      for (const { number, db } of shards.all)
        relays.push(startRelay({ db, log, topics: [TOPICS.user], logger, name: `user-${number + 1}` }));
      return {
        async close() {
          await Promise.all(relays.map((relay) => relay.close()));
          await log.close();
        },
      };
    });

    await life.role('consumers', async () => {
      const log = life.own(await openLog());
      const consumer = await consumeEvents({
        log,
        db: home,
        group: 'mails',
        topics: [TOPICS.user, TOPICS.order],
        logger,
        apply: enqueueMails({ jobs, clock }),
      });
      life.live(() => consumer.fatal());
      return consumer;
    });

    const issueTokens = (ttlSeconds: number) =>
      createAccessTokens({ keys: config.JWT_PRIVATE_KEYS, issuer: config.ISSUER, ttlSeconds, clock });

    await life.role('jobs', async () => {
      const delivery = life.own(
        config.MAIL_INBOX || !config.SMTP_URL
          ? mailInbox({ clock })
          : smtpDelivery({
              url: config.SMTP_URL,
              from: config.MAIL_FROM ?? noReplyOf(config.ISSUER),
            }),
      );
      life.health({ name: 'mail', severity: 'degraded', check: () => delivery.check() });
      life.health({
        name: 'jobs',
        severity: 'degraded',
        async check() {
          const problem = jobs.health();
          if (problem) throw new Error(problem);
        },
      });
      const reports = config.QUERY_ADDRESS
        ? {
            sales: life.own(createRpcClient(queryV1.QueryServiceService, { address: config.QUERY_ADDRESS })),
            products: life.own(
              createRpcClient(queryAdminV1.AdminQueryServiceService, { address: config.QUERY_ADDRESS }),
            ),
          }
        : undefined;
      const mails = await workOnMails({
        jobs,
        shards,
        delivery,
        issueReset: createResetIssuer({
          shards,
          registration,
          signingSecret: config.SIGNING_SECRET,
          ttlSeconds: config.PASSWORD_RESET_TTL_SECONDS,
          clock,
        }),
        resetTtlSeconds: config.PASSWORD_RESET_TTL_SECONDS,
        digest: reports && { reports, accessTokens: issueTokens(60) },
        clock,
        logger,
      });
      const housekeeping = startHousekeeping({
        shards: shards.all,
        registration,
        revocationWindowMs,
        clock,
        logger,
      });
      return {
        async close() {
          await housekeeping.close();
          await mails.close();
        },
      };
    });

    await life.role('api', async () => {
      const passwords = life.own(await openPasswords());
      const accessTokens = issueTokens(config.ACCESS_TOKEN_TTL_SECONDS);
      const revocations = startRevocationFeed({ shards: shards.all, windowMs: revocationWindowMs, logger });
      const sessions = createSessions({
        shards,
        registration,
        passwords,
        accessTokens,
        throttle: createThrottle({ shards, clock, limits: config.SIGN_IN_LIMITS }),
        signingSecret: config.SIGNING_SECRET,
        clock,
        revoked: revocations.kick,
      });
      const accounts = createAccounts({ shards, registration, passwords, sessions, clock, logger });
      const resets = createPasswordResets({
        shards,
        passwords,
        sessions,
        enqueueMail: (tx, request) => jobs.enqueue(tx, 'password-resets', request),
        clock,
        logger,
      });
      if (config.ADMIN_EMAIL && config.ADMIN_PASSWORD)
        await accounts.ensureAdmin({ email: config.ADMIN_EMAIL, password: config.ADMIN_PASSWORD });
      const server = await serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [
          userApi({ accounts, sessions, accessTokens, revocations }),
          passwordResetApi(resets),
          userAdminApi({ shards }),
          userDirectoryApi(shards),
          operationsApi({ home, jobs }),
        ],
        verifyToken: createTokenVerifier({
          issuer: config.ISSUER,
          fetchKeys: async () => accessTokens.jwks(),
        }),
        logger,
      });
      return {
        async close() {
          await revocations.close(); // its streams never end by themselves
          await server.close();
        },
      };
    });
  },
  {
    migrate: async (config, { logger }) => {
      for (const url of config.USER_SHARD_URLS)
        for (const directory of [migrationsDirectory(__dirname), messagingMigrations('outbox')])
          await migrate({ url, directory, logger });
      for (const directory of [messagingMigrations('inbox'), jobsMigrations()])
        await migrate({ url: config.USER_SHARD_URLS[0]!, directory, logger });
      await (await openShards({ urls: config.USER_SHARD_URLS, logger })).close();
    },
  },
);
