import { logicalShardOf } from '../src/shards';
import { reserveEmail } from '../src/repository';
import { createTestShards, newEmail, shardsOf, startUserService, type TestShards } from './harness';
import { resolveEmails } from '../src/directory';
import { uuidv7 } from '@headroom/resilience';

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({ shards });
});
afterAll(async () => {
  await service.close();
  await shards.drop();
});

const register = (email: string) =>
  service.registration.register({ email, name: 'Ada', passwordHash: 'not asked for' });

it('accounts are found by e-mails of any case, on every shard, and unknown ones are left out', async () => {
  const emails = Array.from({ length: 40 }, newEmail);
  const users = new Map<string, string>();
  for (const email of emails) users.set(email.toUpperCase(), (await register(email)).id);

  const asked = [...users.keys(), newEmail(), 'not an e-mail', 'nul\0@shop.example', ''];
  const { users: found } = await service.directory.resolveEmails({ emails: asked });

  expect(new Map(found.map(({ email, userId }) => [email, userId]))).toEqual(users);
});

it('an e-mail that is only reserved belongs to nobody until its user exists', async () => {
  const email = newEmail();
  const userId = uuidv7();
  const { db } = shards.of(email);
  await reserveEmail(db, { emailKey: email, logical: logicalShardOf(email), userId, now: new Date() });
  expect(await service.directory.resolveEmails({ emails: [email] })).toEqual({ users: [] });
});

it('more than 1,000 e-mails at a time are refused by name', async () => {
  await expect(
    service.directory.resolveEmails({ emails: Array(1_001).fill(newEmail()) }),
  ).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'emails' }],
  });
});

it('no account is taken for absent while a database cannot be asked', async () => {
  const away = () => Promise.reject(new Error('away'));
  const broken = shardsOf([
    shards.all[0]!.db,
    { ...shards.all[1]!.db, rows: away },
    { ...shards.all[2]!.db, rows: away },
  ]);
  await expect(resolveEmails(broken, Array.from({ length: 40 }, newEmail))).rejects.toThrow('away');
});
