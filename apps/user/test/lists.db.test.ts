import { uuidv7 } from '@headroom/resilience';
import { keepMail } from '../src/repository';
import { createTestShards, newEmail, startUserService, type TestShards } from './harness';

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
let admin: string;
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({ shards });
  admin = await service.admin();
});
afterAll(async () => {
  await service.close();
  await shards.drop();
});

const listUsers = (request: { limit: number; afterId?: string; includeTotal?: boolean }) =>
  service.as(admin, () => service.lists.listUsers({ afterId: '', ...request }));
const listMails = (request: { to?: string; limit: number; afterId?: string; includeTotal?: boolean }) =>
  service.as(admin, () => service.lists.listMails({ to: '', afterId: '', ...request }));

it('users are listed newest first over all shards, none twice and none left out while others register', async () => {
  const made: string[] = [];
  const register = async () => {
    service.clock.advance(1);
    const { id } = await service.registration.register({
      email: newEmail(),
      name: 'Ada',
      passwordHash: 'not asked for',
    });
    made.unshift(id);
  };
  for (let count = 0; count < 25; count += 1) await register();
  const expected = [...made];
  expect(new Set(expected.map((id) => shards.of(id).number)).size).toBe(3);

  const first = await listUsers({ limit: 10, includeTotal: true });
  expect(first).toMatchObject({ more: true, total: 26n, totalIsEstimate: false });
  const seen = first.users.map(({ id }) => id);
  for (let more = true; more;) {
    await register();
    const page = await listUsers({ limit: 10, afterId: seen.at(-1)! });
    seen.push(...page.users.map(({ id }) => id));
    more = page.more;
  }
  expect(seen.slice(0, 25)).toEqual(expected);
  expect(seen).toHaveLength(26); // and the admin
  expect(first.users[0]).toMatchObject({ name: 'Ada', role: 'customer', disabled: false, version: 1n });
});

it('kept mails are listed newest first, by recipient without regard to case', async () => {
  const { db } = shards.all[0]!;
  const ids: string[] = [];
  for (let count = 0; count < 7; count += 1) {
    const now = service.clock.now() + count;
    const id = uuidv7(now);
    await db.transaction((tx) =>
      keepMail(tx, {
        id,
        to: count % 2 === 0 ? 'Ada@shop.example' : 'bob@shop.example',
        subject: 'Welcome',
        text: 'Hello\n',
        kind: 'welcome',
        createdAt: new Date(now),
      }),
    );
    ids.unshift(id);
  }
  const page = await listMails({ limit: 5, includeTotal: true });
  expect(page).toMatchObject({ more: true, total: 7n, totalIsEstimate: false });
  expect(page.mails.map(({ id }) => id)).toEqual(ids.slice(0, 5));
  const rest = await listMails({ limit: 5, afterId: ids[4]! });
  expect([rest.mails.map(({ id }) => id), rest.more]).toEqual([ids.slice(5), false]);

  const ofAda = await listMails({ to: 'ada@SHOP.example', limit: 3, includeTotal: true });
  expect(ofAda).toMatchObject({ more: true, total: 4n });
  expect(ofAda.mails[0]).toEqual({
    id: ids[0],
    to: 'Ada@shop.example',
    subject: 'Welcome',
    text: 'Hello\n',
    kind: 'welcome',
    createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  });
});

it('only an admin sees the lists', async () => {
  const { accessToken } = await service.customer();
  const lists: Array<() => Promise<unknown>> = [
    () => service.lists.listUsers({ limit: 1, afterId: '' }),
    () => service.lists.listMails({ to: '', limit: 1, afterId: '' }),
  ];
  for (const token of [undefined, accessToken])
    for (const list of lists)
      await expect(service.as(token, list)).rejects.toMatchObject({
        code: token ? 'FORBIDDEN' : 'UNAUTHENTICATED',
      });
});

it('a limit or place that there is not is refused by name', async () => {
  await expect(listUsers({ limit: 101 })).rejects.toMatchObject({ errors: [{ path: 'limit' }] });
  await expect(listUsers({ limit: 1, afterId: 'x' })).rejects.toMatchObject({
    errors: [{ path: 'afterId' }],
  });
});
