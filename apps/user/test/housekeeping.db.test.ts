import { sql } from '@headroom/postgres';
import { unindexedForeignKeys } from '@headroom/testing';
import { tidy } from '../src/jobs';
import { markMailed, putReset } from '../src/repository';
import { createTestShards, newEmail, startUserService, type TestShards } from './harness';

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({
    shards,
    limits: { account: { count: 3, windowMs: 900_000 }, address: { count: 9, windowMs: 900_000 } },
  });
});
afterAll(async () => {
  await service.close();
  await shards.drop();
});

const DAY_MS = 24 * 3_600_000;
const tidyAll = async () => {
  const { registration, clock } = service;
  for (const shard of shards.all) await tidy(shard, { registration, clock, revocationWindowMs: 660_000 });
};
async function rows() {
  const counts = { tokens: 0, sessions: 0, failures: 0, revocations: 0 };
  for (const { db } of shards.all) {
    const row = await db.row<typeof counts>(sql('test.counts')`
      select (select count(*)::int from refresh_tokens) as tokens, (select count(*)::int from sessions) as sessions,
        (select count(*)::int from sign_in_failures) as failures, (select count(*)::int from revocations) as revocations`);
    for (const name of Object.keys(counts) as Array<keyof typeof counts>) counts[name] += row![name];
  }
  return counts;
}

it('what nothing will ask for again is deleted, and nothing else', async () => {
  const { clock, client } = service;
  const gone = await service.customer();
  const kept = await service.customer();
  await client
    .signIn({ email: newEmail(), password: 'not the right one', clientAddress: '192.0.2.9' })
    .catch(() => undefined);
  await service.as(gone.accessToken, () => client.signOut({ everywhere: false }));
  await shards.all[0]!.db.execute(sql('test.old')`
    insert into revocations (sid, revoked_at) values (gen_random_uuid(), now() - interval '2 hours')`);
  expect(await rows()).toEqual({ tokens: 2, sessions: 2, failures: 2, revocations: 2 });

  await tidyAll();
  expect(await rows()).toEqual({ tokens: 2, sessions: 2, failures: 2, revocations: 1 });

  clock.advance(20 * DAY_MS);
  const next = await client.refresh({ refreshToken: kept.refreshToken });
  await tidyAll();
  expect(await rows()).toEqual({ tokens: 3, sessions: 2, failures: 0, revocations: 1 });

  clock.advance(11 * DAY_MS + 1);
  await tidyAll();
  expect(await rows()).toEqual({ tokens: 1, sessions: 1, failures: 0, revocations: 1 });
  await client.refresh({ refreshToken: next.refreshToken });
});

it('reset tokens go a day after they have expired, and the marks of mailed events when events of their age mail nobody', async () => {
  const { clock } = service;
  const home = shards.all[0]!.db;
  const { user } = await service.customer();
  const now = new Date(clock.now());
  await shards
    .of(user.id)
    .db.transaction((tx) =>
      putReset(tx, { userId: user.id, tokenHash: Buffer.alloc(32), requestedAt: now, expiresAt: now }),
    );
  await home.transaction((tx) => markMailed(tx, 'an event', now));
  const left = async () => [
    await shards.of(user.id).db.rows(sql('test.resets')`select 1 from password_resets`),
    await home.rows(sql('test.marks')`select 1 from mailed_events`),
  ];
  clock.advance(DAY_MS);
  await tidyAll();
  expect(await left()).toEqual([[expect.anything()], [expect.anything()]]);
  clock.advance(1);
  await tidyAll();
  expect(await left()).toEqual([[], [expect.anything()]]);
  clock.advance(DAY_MS);
  await tidyAll();
  expect(await left()).toEqual([[], []]);
});

it('every foreign key has an index', async () => {
  for (const { db } of shards.all) expect(await unindexedForeignKeys(db)).toEqual([]);
});
