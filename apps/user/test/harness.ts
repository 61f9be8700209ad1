import { operationsV1, TOPICS, userAdminV1, userV1 } from '@headroom/contracts';
import { jobsMigrations, openJobs, type Jobs } from '@headroom/jobs';
import { messagingMigrations } from '@headroom/messaging';
import { migrationsDirectory, sql, type Database } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import { createRpcClient, createTokenVerifier, serveGrpc, withCallContext } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, ManualClock, type TestDatabase } from '@headroom/testing';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createAccessTokens, parseSigningKeys, type AccessTokens } from '../src/access-tokens';
import { createAccounts } from '../src/accounts';
import { userAdminApi } from '../src/admin-api';
import { passwordResetApi, userApi } from '../src/api';
import { userDirectoryApi } from '../src/directory';
import { mailInbox, type MailDelivery } from '../src/mail-delivery';
import { MAIL_QUEUES, workOnMails } from '../src/mails';
import type { SalesReports } from '../src/digest';
import { operationsApi } from '../src/operations';
import { openPasswords, type Passwords } from '../src/passwords';
import { createRegistration } from '../src/registration';
import { createPasswordResets, createResetIssuer } from '../src/resets';
import { startRevocationFeed } from '../src/revocations';
import { createSessions } from '../src/sessions';
import { initialShardMap, routeShards, type Shard, type Shards } from '../src/shards';
import { createThrottle, type SignInLimits } from '../src/throttle';

jest.setTimeout(20_000); // many real password hashes, on machines that do other things too

export const ISSUER = 'https://shop.example';
/** Of the service, unless a test brings its own. */
const SIGNING_SECRET = 'a secret that only this test knows, 32+';
export const PASSWORD = 'correct horse battery staple';

/** An Ed25519 private key as an operator would give it. */
export const pemKey = (): string =>
  generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

export const newEmail = (): string => `${randomUUID()}@shop.example`;

export interface TestShards extends Shards {
  databases: TestDatabase[];
  drop(): Promise<void>;
}

/** Three user databases with the map of a fresh system; the first has the queues. */
export async function createTestShards(): Promise<TestShards> {
  const directories = [migrationsDirectory(join(__dirname, '../src')), messagingMigrations('outbox')];
  const home = [...directories, messagingMigrations('inbox'), jobsMigrations()];
  const databases: TestDatabase[] = [await createTestDatabase(...home)];
  while (databases.length < 3) databases.push(await createTestDatabase(...directories));
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

/** The work on mails as the service does it, kept in place of being sent unless told otherwise. */
export async function startMails(options: {
  shards: Shards;
  jobs: Jobs;
  clock: Clock;
  delivery?: MailDelivery;
  signingSecret?: string;
  digest?: { reports: SalesReports; accessTokens: Pick<AccessTokens, 'issue'> };
}) {
  const { shards, clock } = options;
  const logger = silentLogger;
  return workOnMails({
    jobs: options.jobs,
    shards,
    delivery: options.delivery ?? mailInbox({ clock }),
    issueReset: createResetIssuer({
      shards,
      registration: createRegistration({ shards, clock, logger }),
      signingSecret: options.signingSecret ?? SIGNING_SECRET,
      ttlSeconds: 3_600,
      clock,
    }),
    resetTtlSeconds: 3_600,
    digest: options.digest,
    clock,
    logger,
  });
}

/** The queues of mails, in the first database. */
export const openMailJobs = (shards: Shards, clock: Clock): Promise<Jobs> =>
  openJobs({
    db: shards.all[0]!.db,
    logger: silentLogger,
    queues: MAIL_QUEUES,
    clock,
    random: () => 0, // no pause before another try
  });

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
    signingSecret: options.signingSecret ?? SIGNING_SECRET,
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
  const jobs = await openMailJobs(shards, clock);
  const resets = createPasswordResets({
    shards,
    passwords,
    sessions,
    enqueueMail: (tx, request) => jobs.enqueue(tx, 'password-resets', request),
    clock,
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
    services: [
      userApi({ accounts, sessions, accessTokens, revocations }),
      passwordResetApi(resets),
      userAdminApi({ shards }),
      userDirectoryApi(shards),
      operationsApi({ home: shards.all[0]!.db, jobs }),
    ],
    verifyToken,
    logger,
  });
  const address = `127.0.0.1:${server.port}`;
  const client = createRpcClient(userV1.UserServiceService, { address });
  const directory = createRpcClient(userAdminV1.UserDirectoryServiceService, { address });
  const resetClient = createRpcClient(userAdminV1.PasswordResetServiceService, { address });
  const operations = createRpcClient(operationsV1.OperationsServiceService, { address });
  const adminClient = createRpcClient(userAdminV1.UserAdminServiceService, { address });
  const as = <T>(accessToken: string | undefined, work: () => Promise<T>): Promise<T> =>
    withCallContext({ deadlineAt: Date.now() + 10_000, requestId: randomUUID(), accessToken }, work);

  return {
    client,
    directory,
    resets: resetClient,
    lists: adminClient,
    operations,
    jobs,
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
      resetClient.close();
      adminClient.close();
      operations.close();
      await revocations.close();
      await server.close();
      await jobs.close();
      if (!options.passwords) await passwords.close();
    },
  };
}

const clockOf = (clock: Clock): Clock => ({
  now: () => clock.now(),
  sleep: (ms, signal) => clock.sleep(ms, signal),
});
