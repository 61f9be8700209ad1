import { freePort } from '@headroom/embedded-postgres';
import { buildApps } from '@headroom/build';
import { userAdminV1, userV1 } from '@headroom/contracts';
import { messagingMigrations } from '@headroom/messaging';
import { sql } from '@headroom/postgres';
import { createRpcClient } from '@headroom/rpc';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { listMails } from '../src/repository';
import { newEmail, PASSWORD, pemKey } from './harness';
import { killAll, run } from './service-process';
import { closeSmtpServers, startSmtpServer } from './smtp-double';

jest.setTimeout(90_000); // a dead process is missed after a good quarter of a minute

let home: TestDatabase;
let events: TestDatabase;
let env: Record<string, string>;
beforeAll(async () => {
  await buildApps(join(__dirname, '../../..'), ['user']);
  home = await createTestDatabase();
  events = await createTestDatabase(messagingMigrations('event-log'));
  env = {
    DRAIN_SECONDS: '0',
    LOG_LEVEL: 'silent',
    USER_SHARD_URLS: home.url,
    EVENT_LOG_URL: events.url,
    JWT_PRIVATE_KEYS: pemKey(),
    SIGNING_SECRET: 'x'.repeat(32),
    ISSUER: 'https://shop.example',
    MAIL_INBOX: '1',
  };
  expect(await run(env, 'migrate').exited).toBe(0);
});
afterAll(async () => {
  killAll();
  await closeSmtpServers();
  await home.drop();
  await events.drop();
});

/** The whole service, and clients of it. */
async function start(variables: Record<string, string> = {}) {
  const port = await freePort();
  const service = run({ ...env, ...variables, PORT: String(port) });
  await service.ready();
  const address = `127.0.0.1:${port}`;
  const users = createRpcClient(userV1.UserServiceService, { address });
  const resets = createRpcClient(userAdminV1.PasswordResetServiceService, { address });
  return {
    ...service,
    users,
    resets,
    async stop() {
      users.close();
      resets.close();
      service.child.kill('SIGTERM');
      expect(await service.exited).toBe(0);
    },
  };
}

const noMailWaits = () =>
  eventually(async () =>
    expect(
      await home.db.rows(
        sql('test.waiting')`select 1 from jobs.job where name in ('mails', 'password-resets')`,
      ),
    ).toEqual([]),
  );

/** Until a process waits for a lock in this statement. */
const blockedIn = (statement: string) =>
  eventually(async () =>
    expect(
      await home.db.rows(sql('test.blocked')`
        select 1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like ${`%/* ${statement} */`}`),
    ).toHaveLength(1),
  );

it('a process that is killed between keeping a mail and completing its job keeps it once', async () => {
  const doomed = await start();
  const email = newEmail();
  await home.db.transaction(async (job) => {
    await home.db.transaction(async (mails) => {
      await mails.execute(sql('test.lock-mails')`lock table mails in access exclusive mode`);
      await doomed.users.register({ email, password: PASSWORD, name: 'Ada' });
      await blockedIn('user.mail.keep');
      await job.rows(sql('test.lock-job')`
        select 1 from jobs.job_common where name = 'mails' and state = 'active' for update`);
    });
    await blockedIn('jobs.complete'); // the mail is in
    doomed.child.kill('SIGKILL');
    await doomed.exited;
  });

  const next = await start();
  const mails = () => listMails(home.db, { to: email, limit: 10, afterId: undefined });
  await eventually(async () => expect(await mails()).toHaveLength(1), 60_000);
  await noMailWaits();
  expect(await mails()).toHaveLength(1);
  await next.stop();
  doomed.users.close();
  doomed.resets.close();
});

it('a process that is killed before the mail server’s answer sends again, recognizably, and the token works', async () => {
  const email = newEmail();
  const server = await startSmtpServer({
    onMail: ({ subject }) => {
      if (subject === 'Reset your password' && doomed.child.signalCode === null) doomed.child.kill('SIGKILL');
    },
  });
  const smtp = { MAIL_INBOX: '0', SMTP_URL: server.url, MAIL_FROM: 'shop@shop.example' };
  const doomed = await start(smtp);
  await doomed.users.register({ email, password: 'the old battery staple', name: 'Ada' });
  await doomed.resets.requestPasswordReset({ email });
  await doomed.exited;

  const next = await start(smtp);
  const resets = () => server.mails.filter(({ subject }) => subject === 'Reset your password');
  await eventually(() => expect(resets()).toHaveLength(2), 60_000);
  expect(resets()[0]!.messageId).toBe(resets()[1]!.messageId);
  const token = /^[A-Za-z0-9_-]{44}\r$/m.exec(resets()[0]!.raw)![0].trim();
  await next.resets.confirmPasswordReset({ token, password: PASSWORD });
  await next.users.signIn({ email, password: PASSWORD, clientAddress: '' });
  await noMailWaits();
  expect(resets()).toHaveLength(2);
  await next.stop();
  doomed.users.close();
  doomed.resets.close();
  await server.close();
});
