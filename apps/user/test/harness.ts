import { TOPICS, userAdminV1, userV1 } from '@headroom/contracts';
import { messagingMigrations } from '@headroom/messaging';
import { migrationsDirectory, sql, type Database } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc, withCallContext } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, ManualClock, type TestDatabase } from '@headroom/testing';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createAccessTokens, parseSigningKeys } from '../src/access-tokens';
import { createAccounts } from '../src/accounts';
import { userApi } from '../src/api';
import { userDirectoryApi } from '../src/directory';
import { openPasswords, type Passwords } from '../src/passwords';
import { createRegistration } from '../src/registration';
import { startRevocationFeed } from '../src/revocations';
import { createSessions } from '../src/sessions';
import { initialShardMap, routeShards, type Shard, type Shards } from '../src/shards';
import { createThrottle, type SignInLimits } from '../src/throttle';

jest.setTimeout(20_000); // many real password hashes, on machines that do other things too

export const ISSUER = 'https://shop.example';
export const PASSWORD = 'correct horse battery staple';

/** An Ed25519 private key as an operator would give it. */
export const pemKey = (): string =>
  generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

export const newEmail = (): string => `${randomUUID()}@shop.example`;

export interface TestShards extends Shards {
  databases: TestDatabase[];
  drop(): Promise<void>;
}

/** Three user databases with the map of a fresh system. */
export async function createTestShards(): Promise<TestShards> {
  const directories = [migrationsDirectory(join(__dirname, '../src')), messagingMigrations('outbox')];
  const databases: TestDatabase[] = [];
  for (let count = 0; count < 3; count += 1) databases.push(await createTestDatabase(...directories));
  return {
    ...shardsOf(databases.map(({ db }) => db)),
    databases,
    async drop() {
      for (const database of databases) await database.drop();
    },
  };
}

/** Shards over any databases, for tests that put something in between. */
export function shardsOf(databases: Database[]): Shards {
  const all = databases.map((db, number): Shard => ({ number, db, wake: () => undefined }));
  const map = initialShardMap(all.length);
  return routeShards(all, new Map(map.map(({ logical, database }) => [logical, database])));
}

/** Events that wait in the outboxes about one user, in order. */
export async function eventsOf(shards: Shards, userId: string) {
  const rows = await shards.of(userId).db.rows<{
    topic: string;
    event: { type: string; aggregateversion: number; subject: string; data: Record<string, unknown> };
  }>(sql('test.events')`select topic, event from outbox where key = ${userId} order by id`);
  for (const row of rows) expect(row.topic).toBe(TOPICS.user.name);
  return rows.map((row) => row.event);
}

/** The service as it runs, over real gRPC, with a clock that the test moves. */
export async function startUserService(options: {
  shards: Shards;
  passwords?: Passwords;
  clock?: ManualClock;
  limits?: SignInLimits;
  keys?: string;
  signingSecret?: string;
  windowMs?: number;
}) {
  const { shards } = options;
  const clock = options.clock ?? new ManualClock(Date.now());
  const logger = silentLogger;
  const passwords = options.passwords ?? (await openPasswords({ threads: 1 }));
  const accessTokens = createAccessTokens({
    keys: parseSigningKeys(options.keys ?? pemKey())!,
    issuer: ISSUER,
    ttlSeconds: 600,
    clock,
  });
  const registration = createRegistration({ shards, clock, logger });
  const revocations = startRevocationFeed({
    shards: shards.all,
    windowMs: options.windowMs ?? 660_000,
    logger,
  });
  const sessions = createSessions({
    shards,
    registration,
    passwords,
    accessTokens,
    throttle: createThrottle({ shards, clock, limits: options.limits ?? {} }),
    signingSecret: options.signingSecret ?? 'a secret that only this test knows, 32+',
    clock,
    revoked: revocations.kick,
  });
  const accounts = createAccounts({
    shards,
    registration,
    passwords,
    sessions,
    clock: { ...clockOf(clock), sleep: async (ms) => clock.advance(ms) },
    logger,
  });
  const verifyToken = createTokenVerifier({
    issuer: ISSUER,
    clock,
    fetchKeys: async () => accessTokens.jwks(),
  });
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [userApi({ accounts, sessions, accessTokens, revocations }), userDirectoryApi(shards)],
    verifyToken,
    logger,
  });
  const address = `127.0.0.1:${server.port}`;
  const client = createRpcClient(userV1.UserServiceService, { address });
  const directory = createRpcClient(userAdminV1.UserDirectoryServiceService, { address });
  const as = <T>(accessToken: string | undefined, work: () => Promise<T>): Promise<T> =>
    withCallContext({ deadlineAt: Date.now() + 10_000, requestId: randomUUID(), accessToken }, work);

  return {
    client,
    directory,
    clock,
    accounts,
    registration,
    sessions,
    verifyToken,
    /** Makes calls with an access token. */
    as,
    async customer(email = newEmail()) {
      const user = await client.register({ email, password: PASSWORD, name: 'Ada' });
      const tokens = await client.signIn({ email, password: PASSWORD, clientAddress: '192.0.2.1' });
      return { ...tokens, user, email };
    },
    async admin() {
      const email = newEmail();
      await accounts.ensureAdmin({ email, password: PASSWORD });
      return (await client.signIn({ email, password: PASSWORD, clientAddress: '192.0.2.1' })).accessToken;
    },
    async close() {
      client.close();
      directory.close();
      await revocations.close();
      await server.close();
      if (!options.passwords) await passwords.close();
    },
  };
}

const clockOf = (clock: Clock): Clock => ({
  now: () => clock.now(),
  sleep: (ms, signal) => clock.sleep(ms, signal),
});
