import { sql } from '@headroom/postgres';
import { uuidv7, type Fault } from '@headroom/resilience';
import { eventually } from '@headroom/testing';
import { createHash } from 'node:crypto';
import { listMails } from '../src/repository';
import {
  createTestShards,
  newEmail,
  PASSWORD,
  startMails,
  startUserService,
  type TestShards,
} from './harness';

const NEW_PASSWORD = 'quite another battery staple';
const HOUR_MS = 3_600_000;

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
let mails: { close(): Promise<void> };
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({
    shards,
    limits: { account: { count: 3, windowMs: 15 * 60_000 } },
  });
  mails = await startMails({ shards, jobs: service.jobs, clock: service.clock });
});
afterAll(async () => {
  await mails.close();
  await service.close();
  await shards.drop();
});

const mailsTo = (email: string) =>
  listMails(shards.all[0]!.db, { to: email, limit: 100, afterId: undefined });

/** The token on the line of its own in the newest of `count` mails. */
async function tokenSentTo(email: string, count = 1): Promise<string> {
  const found = await eventually(async () => {
    const list = await mailsTo(email);
    expect(list).toHaveLength(count);
    return list;
  });
  const lines = found[0]!.text.split('\n').filter((line) => /^[A-Za-z0-9_-]{44}$/.test(line));
  expect(lines).toHaveLength(1);
  return lines[0]!;
}

/** Asks for a mail and waits for it; a moment later than the last request. */
async function requestToken(email: string, count = 1): Promise<string> {
  service.clock.advance(1);
  await service.resets.requestPasswordReset({ email });
  return tokenSentTo(email, count);
}

const confirm = (token: string, password = NEW_PASSWORD) =>
  service.resets.confirmPasswordReset({ token, password });
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error as Fault).code,
  );
const signIn = (email: string, password: string, clientAddress = '192.0.2.1') =>
  service.client.signIn({ email, password, clientAddress });
/** Until no request waits any more. */
const queueEmpty = () =>
  eventually(async () =>
    expect(
      await shards.all[0]!.db.rows(
        sql('test.waiting')`select 1 from jobs.job where name = 'password-resets'`,
      ),
    ).toEqual([]),
  );

it('the mail holds a token that sets the password, whatever the case of the e-mail', async () => {
  const { email } = await service.customer();
  const token = await requestToken(email.toUpperCase());
  await confirm(token);
  await signIn(email, NEW_PASSWORD);
  expect(await codeOf(signIn(email, PASSWORD))).toBe('CREDENTIALS_INVALID');
});

it('a reset ends every session of the user, access tokens too, and nobody else’s', async () => {
  const one = await service.customer();
  const other = await service.customer();
  const second = await signIn(one.email, PASSWORD);
  const sids = await Promise.all(
    [one, second].map(async ({ accessToken }) => (await service.verifyToken(accessToken)).sessionId),
  );

  await confirm(await requestToken(one.email));

  for (const { refreshToken } of [one, second])
    expect(await codeOf(service.client.refresh({ refreshToken }))).toBe('REFRESH_REVOKED');
  const revoked = await shards
    .of(one.user.id)
    .db.rows<{ sid: string }>(
      sql('test.revoked')`select sid from revocations where sid = any(${sids}::uuid[])`,
    );
  expect(revoked.map(({ sid }) => sid).sort()).toEqual(sids.sort());
  await service.client.refresh({ refreshToken: other.refreshToken });
});

it('a token works once, also when it is used many times at once', async () => {
  const { email } = await service.customer();
  const token = await requestToken(email);
  const passwords = Array.from({ length: 6 }, (_, index) => `${NEW_PASSWORD} ${index}`);
  const codes = await Promise.all(passwords.map((password) => codeOf(confirm(token, password))));

  expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
  expect(codes.filter((code) => code === 'RESET_TOKEN_INVALID')).toHaveLength(5);
  await signIn(email, passwords[codes.indexOf('ok')]!);
  expect(await codeOf(confirm(token))).toBe('RESET_TOKEN_INVALID');
});

it('a password that is refused leaves the token as it was', async () => {
  const { email } = await service.customer();
  const token = await requestToken(email);
  await expect(confirm(token, 'short')).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'password' }],
  });
  expect(await codeOf(confirm(token, 'password123'))).toBe('PASSWORD_TOO_COMMON');
  await confirm(token);
});

it('only the newest mail’s token works', async () => {
  const { email } = await service.customer();
  const first = await requestToken(email);
  const second = await requestToken(email, 2);
  expect(await codeOf(confirm(first))).toBe('RESET_TOKEN_INVALID');
  await confirm(second);
});

it('a token dies with its hour, and unknown ones are told alike', async () => {
  const { email } = await service.customer();
  const token = await requestToken(email);
  service.clock.advance(HOUR_MS);
  expect(await codeOf(confirm(token))).toBe('RESET_TOKEN_INVALID');
  for (const unknown of ['', 'x', token.slice(1), `A${'a'.repeat(43)}`, '_'.repeat(44)])
    expect(await codeOf(confirm(unknown))).toBe('RESET_TOKEN_INVALID');
});

it('a mail that is sent a second time cannot bring a used token back', async () => {
  const { email } = await service.customer();
  const request = { email, requestedAtMs: service.clock.now(), nonce: uuidv7() };
  const again = () =>
    shards.all[0]!.db.transaction((tx) => service.jobs.enqueue(tx, 'password-resets', request));
  await again();
  const token = await tokenSentTo(email);
  await confirm(token);
  await again();
  await queueEmpty();
  expect(await mailsTo(email)).toHaveLength(1);
  expect(await codeOf(confirm(token))).toBe('RESET_TOKEN_INVALID');
});

it('a request whose job was held up behind a newer one’s sends no mail with a token that does not work', async () => {
  const { email } = await service.customer();
  const token = await requestToken(email);
  await shards.all[0]!.db.transaction((tx) =>
    service.jobs.enqueue(tx, 'password-resets', {
      email,
      requestedAtMs: service.clock.now() - 1,
      nonce: uuidv7(),
    }),
  );
  await queueEmpty();
  expect(await mailsTo(email)).toHaveLength(1);
  await confirm(token);
});

it('an unknown e-mail is answered alike, by the same statements, and gets no mail', async () => {
  const known = await service.customer();
  const unknown = newEmail();
  const jobs = async (email: string) => {
    await mails.close(); // so that the jobs stay to be seen
    await service.resets.requestPasswordReset({ email });
    const rows = await shards.all[0]!.db.rows<{ data: { payload: object } }>(
      sql('test.jobs')`select data from jobs.job where name = 'password-resets'`,
    );
    mails = await startMails({ shards, jobs: service.jobs, clock: service.clock });
    await queueEmpty();
    return rows.map(({ data }) => Object.keys(data.payload));
  };
  expect(await jobs(unknown)).toEqual(await jobs(known.email));
  expect(await mailsTo(unknown)).toEqual([]);
});

it('what is no e-mail is refused by name', async () => {
  await expect(service.resets.requestPasswordReset({ email: 'ada' })).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'email' }],
  });
});

it('five mails an hour go to one e-mail, and more requests are answered as the others', async () => {
  const { email } = await service.customer();
  for (let count = 1; count <= 5; count += 1) await requestToken(email, count);
  service.clock.advance(1);
  await service.resets.requestPasswordReset({ email });
  await queueEmpty();
  expect(await mailsTo(email)).toHaveLength(5);
  service.clock.advance(HOUR_MS);
  await confirm(await requestToken(email, 6));
});

it('a new password forgets the wrong ones, from every address', async () => {
  const { email } = await service.customer();
  const stranger = await service.customer();
  for (const address of ['192.0.2.1', '198.51.100.7'])
    for (let count = 1; count <= 3; count += 1) await codeOf(signIn(email, 'not the right one', address));
  for (let count = 1; count <= 3; count += 1) await codeOf(signIn(stranger.email, 'not the right one'));
  expect(await codeOf(signIn(email, PASSWORD, '198.51.100.7'))).toBe('SIGN_IN_THROTTLED');

  await confirm(await requestToken(email));
  await signIn(email, NEW_PASSWORD, '192.0.2.1');
  await signIn(email, NEW_PASSWORD, '198.51.100.7');
  expect(await codeOf(signIn(stranger.email, PASSWORD))).toBe('SIGN_IN_THROTTLED');
});

it('a disabled account gets its password and stays disabled', async () => {
  const { email, user } = await service.customer();
  await service.accounts.change(user.id, { disabled: true });
  await confirm(await requestToken(email));
  expect(await codeOf(signIn(email, NEW_PASSWORD))).toBe('USER_DISABLED');
});

it('the token is in the mail alone: no other table of any database has it in clear', async () => {
  const { email, user } = await service.customer();
  const token = await requestToken(email);
  const hash = createHash('sha256').update(token).digest();
  const { db } = shards.of(user.id);
  expect(
    await db.row(sql('test.reset')`select 1 from password_resets where token_hash = ${hash}`),
  ).toBeDefined();
  for (const { db: each } of shards.all) {
    const tables = await each.rows<{ name: string }>(sql('test.tables')`
      select format('%I.%I', schemaname, tablename) as name from pg_tables
      where schemaname in ('public', 'jobs') and tablename <> 'mails'`);
    for (const { name } of tables) {
      const [schema, table] = name.split('.').map((part) => part.replaceAll('"', '')) as [string, string];
      const found = await each.rows(sql('test.search')`
        select 1 from ${sql.identifier(schema)}.${sql.identifier(table)} as row where row::text like ${`%${token}%`}`);
      expect([name, found]).toEqual([name, []]);
    }
  }
});
