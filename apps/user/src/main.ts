import { TOPICS } from '@headroom/contracts';
import { messagingMigrations, openEventLog, startRelay, type Relay } from '@headroom/messaging';
import { migrate, migrationsDirectory } from '@headroom/postgres';
import { systemClock } from '@headroom/resilience';
import { createTokenVerifier, serveGrpc } from '@headroom/rpc';
import { runService } from '@headroom/service';
import { createAccessTokens } from './access-tokens';
import { createAccounts } from './accounts';
import { userApi } from './api';
import { userConfig } from './config';
import { userDirectoryApi } from './directory';
import { startHousekeeping } from './jobs';
import { openPasswords } from './passwords';
import { createRegistration } from './registration';
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

    await life.role('relay', async () => {
      const log = await openEventLog({
        url: config.EVENT_LOG_URL,
        kafkaBrokers: config.KAFKA_BROKERS,
        logger,
        name: 'user',
      });
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

    await life.role('jobs', () =>
      startHousekeeping({ shards: shards.all, registration, revocationWindowMs, clock, logger }),
    );

    await life.role('api', async () => {
      const passwords = life.own(await openPasswords());
      const accessTokens = createAccessTokens({
        keys: config.JWT_PRIVATE_KEYS,
        issuer: config.ISSUER,
        ttlSeconds: config.ACCESS_TOKEN_TTL_SECONDS,
        clock,
      });
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
      if (config.ADMIN_EMAIL && config.ADMIN_PASSWORD)
        await accounts.ensureAdmin({ email: config.ADMIN_EMAIL, password: config.ADMIN_PASSWORD });
      const server = await serveGrpc({
        host: config.BIND_ADDRESS,
        port: config.PORT,
        services: [userApi({ accounts, sessions, accessTokens, revocations }), userDirectoryApi(shards)],
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
      await (await openShards({ urls: config.USER_SHARD_URLS, logger })).close();
    },
  },
);
