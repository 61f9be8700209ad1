import { freePort } from '@headroom/embedded-postgres';
import { buildApps } from '@headroom/build';
import { TOPICS, userV1 } from '@headroom/contracts';
import { messagingMigrations, openEventLog } from '@headroom/messaging';
import { createRpcClient } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, testServerUrl, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { PASSWORD, pemKey } from './harness';
import { killAll, run } from './service-process';

jest.setTimeout(60_000);

const root = join(__dirname, '../../..');
let shards: TestDatabase[];
let events: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  await buildApps(root, ['user']);
  shards = [await createTestDatabase(), await createTestDatabase(), await createTestDatabase()];
  events = await createTestDatabase(messagingMigrations('event-log'));
  env = {
    PORT: String(await freePort()),
    DRAIN_SECONDS: '0',
    LOG_LEVEL: 'error',
    USER_SHARD_URLS: shards.map(({ url }) => url).join(','),
    EVENT_LOG_URL: events.url,
    JWT_PRIVATE_KEYS: pemKey() + pemKey(),
    SIGNING_SECRET: 'x'.repeat(32),
    ISSUER: 'https://shop.example',
    MAIL_INBOX: '1',
    ADMIN_EMAIL: 'admin@shop.example',
    ADMIN_PASSWORD: PASSWORD,
  };
});
afterAll(async () => {
  killAll();
  for (const database of [...shards, events]) await database.drop();
});

it('the built service migrates, starts, makes the admin, serves, publishes its events, and stops cleanly', async () => {
  const migration = run(env, 'migrate');
  expect([await migration.exited, migration.output()]).toEqual([0, '']);
  const service = run(env);
  await service.ready();

  const client = createRpcClient(userV1.UserServiceService, { address: `127.0.0.1:${env['PORT']}` });
  const signedIn = await client.signIn({
    email: 'admin@shop.example',
    password: PASSWORD,
    clientAddress: '',
  });
  expect(signedIn.user).toMatchObject({ role: 'admin' });
  expect(JSON.parse((await client.getJwks({})).jwksJson)).toMatchObject({
    keys: [{ use: 'sig' }, { use: 'sig' }],
  });
  const user = await client.register({ email: 'ada@shop.example', password: PASSWORD, name: 'Ada' });

  const log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
  const seen: string[] = [];
  await log.ensureTopics([TOPICS.user]);
  const subscription = await log.subscribe({
    group: 'test',
    topics: [TOPICS.user.name],
    handle: async ({ records }) => void seen.push(...records.map((record) => record.key)),
  });
  await eventually(() => expect(seen.sort()).toEqual([user.id, signedIn.user!.id].sort()), 20_000);
  await subscription.close();
  await log.close();
  client.close();

  service.child.kill('SIGTERM');
  expect([await service.exited, service.output()]).toEqual([0, '']);
});

it('a configuration that is not valid is refused with every problem at once, and no secret', async () => {
  const { exited, output } = run({
    ...env,
    USER_SHARD_URLS: 'mysql://root:hunter2@db/users',
    JWT_PRIVATE_KEYS: 'hunter2',
    SIGNING_SECRET: 'hunter2',
    SIGN_IN_LIMITS: 'few',
    ADMIN_EMAIL: 'admin',
    ACCESS_TOKEN_TTL_SECONDS: '1',
    PASSWORD_RESET_TTL_SECONDS: '0',
    MAIL_INBOX: 'yes',
    SMTP_URL: 'http://user:hunter2@mail',
  });
  expect(await exited).toBe(78);
  for (const name of [
    'USER_SHARD_URLS',
    'JWT_PRIVATE_KEYS',
    'SIGNING_SECRET',
    'SIGN_IN_LIMITS',
    'ADMIN_EMAIL',
    'ACCESS_TOKEN_TTL_SECONDS',
    'PASSWORD_RESET_TTL_SECONDS',
    'MAIL_INBOX',
    'SMTP_URL',
  ])
    expect(output()).toContain(`${name}: found`);
  expect(output()).not.toContain('hunter2');
});

it('a service that has nowhere to put mails is refused at its start, in every role, and told both ways out', async () => {
  const { MAIL_INBOX: _inbox, ...rest } = env;
  const { exited, output } = run({ ...rest, ROLE: 'relay' });
  expect(await exited).toBe(78);
  expect(output()).toMatch(/SMTP_URL: missing, expected .*smtp:.* MAIL_INBOX=1/);
});

it('a database that holds users cannot be left out of the list', async () => {
  const { exited, output } = run({
    ...env,
    USER_SHARD_URLS: shards
      .slice(0, 2)
      .map(({ url }) => url)
      .join(','),
  });
  expect(await exited).toBe(1);
  expect(output()).toContain('USER_SHARD_URLS: found 2 databases');
});

it('it starts while other shards and the event log are away, and serves who lives on the first', async () => {
  const away = testServerUrl('does_not_exist');
  const { ADMIN_EMAIL: _email, ADMIN_PASSWORD: _password, ...rest } = env;
  const service = run({
    ...rest,
    LOG_LEVEL: 'silent',
    PORT: String(await freePort()),
    USER_SHARD_URLS: [shards[0]!.url, away, away].join(','),
    EVENT_LOG_URL: away,
  });
  await service.ready();
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
});
