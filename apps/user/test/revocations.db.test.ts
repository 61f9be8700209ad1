import type { userV1 } from '@headroom/contracts';
import { sql, type Database } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { decodeJwt } from 'jose';
import { randomUUID } from 'node:crypto';
import { startRevocationFeed } from '../src/revocations';
import { createTestShards, shardsOf, startUserService, type TestShards } from './harness';

jest.setTimeout(30_000); // silence is waited for, and a reader that failed pauses for up to 5 s

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

/** Writes a revocation as some replica did `ageSeconds` ago. */
async function revoked(shard: number, ageSeconds: number): Promise<string> {
  const sid = randomUUID();
  await shards.all[shard]!.db.execute(sql('test.revoke')`
    insert into revocations (sid, revoked_at) values (${sid}, now() - make_interval(secs => ${ageSeconds}))`);
  return sid;
}

/** A stream being read: what it has said so far, and when each batch came. */
function follow(watch: (signal: AbortSignal) => AsyncIterable<userV1.RevocationBatch>) {
  const stop = new AbortController();
  const batches: Array<userV1.RevocationBatch & { at: number }> = [];
  const done = (async () => {
    for await (const batch of watch(stop.signal)) batches.push({ ...batch, at: Date.now() });
  })();
  opened.push(async () => {
    stop.abort();
    await done;
  });
  return {
    batches,
    sids: () => batches.flatMap((batch) => batch.revocations.map((each) => each.sessionId)),
    caughtUp: () => eventually(() => expect(batches.some((batch) => batch.caughtUp)).toBe(true)),
  };
}
/** What a test opened, closed after it, whatever its end. */
const opened: Array<() => Promise<void>> = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});
const followService = () => follow((signal) => service.client.watchRevocations({}, { signal }));
const feedOver = (databases: Database[]) => {
  const feed = startRevocationFeed({
    shards: shardsOf(databases).all,
    windowMs: 660_000,
    logger: silentLogger,
  });
  opened.push(feed.close);
  return feed;
};
const databases = () => shards.all.map(({ db }) => db);

it('a stream begins with the last 11 minutes of every database, says so once, and goes on with each new one', async () => {
  const recent = await Promise.all([revoked(0, 1), revoked(1, 300), revoked(2, 650)]);
  const past = await revoked(0, 700);
  const feed = feedOver(databases());
  const stream = follow(feed.watch);
  await stream.caughtUp();
  const before = stream.sids();
  expect(before).toEqual(expect.arrayContaining(recent));
  expect(before).not.toContain(past);
  const later = await revoked(1, 0);
  await eventually(() => expect(stream.sids()).toContain(later), 1_500);
  await eventually(() => expect(stream.batches.length).toBeGreaterThan(5));
  expect(stream.batches.filter((batch) => batch.caughtUp)).toHaveLength(1);
  expect(new Set(stream.sids()).size).toBe(stream.sids().length);
});

it('signing out reaches every stream within a second', async () => {
  const [first, second] = [followService(), followService()];
  await Promise.all([first.caughtUp(), second.caughtUp()]);
  const { accessToken } = await service.customer();
  await service.as(accessToken, () => service.client.signOut({ everywhere: false }));
  const sid = decodeJwt(accessToken)['sid'];
  for (const stream of [first, second]) await eventually(() => expect(stream.sids()).toContain(sid), 1_000);
});

it('a revocation that becomes visible later than its time says is not missed', async () => {
  const stream = followService();
  await stream.caughtUp();
  const late = await revoked(2, 20); // as if its transaction had been open for 20 s
  await eventually(() => expect(stream.sids()).toContain(late), 2_000);
});

it('a stream says something at least every second, and nothing once a database cannot be read', async () => {
  let down = false;
  const [first, ...others] = databases() as [Database, ...Database[]];
  const flaky: Database = {
    ...first,
    rows: (statement) => (down ? Promise.reject(new Error('down')) : first.rows(statement)),
  };
  const feed = feedOver([flaky, ...others]);
  const stream = follow(feed.watch);
  await eventually(() => expect(stream.batches.length).toBeGreaterThan(4));
  const gaps = stream.batches.slice(1).map((batch, index) => batch.at - stream.batches[index]!.at);
  expect(gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)]).toBeLessThan(1_000);

  down = true;
  await eventually(() => expect(Date.now() - stream.batches.at(-1)!.at).toBeGreaterThan(1_200));
  const silent = stream.batches.length;
  const meanwhile = await revoked(1, 0);
  const newcomer = follow(feed.watch);
  await eventually(() => expect(Date.now() - stream.batches.at(-1)!.at).toBeGreaterThan(2_000));
  expect([stream.batches.length, newcomer.batches.length]).toEqual([silent, 0]);

  down = false;
  await eventually(() => expect(stream.sids()).toContain(meanwhile));
  await newcomer.caughtUp();
  expect(newcomer.sids()).toContain(meanwhile);
});

it('a large backlog comes in bounded batches, and caught up only with the last', async () => {
  await shards.all[1]!.db.execute(sql('test.many')`
    insert into revocations (sid) select gen_random_uuid() from generate_series(1, 2500)`);
  const feed = feedOver(databases());
  const stream = follow(feed.watch);
  await stream.caughtUp();
  const last = stream.batches.findIndex((batch) => batch.caughtUp);
  expect(last).toBeGreaterThanOrEqual(2);
  expect(Math.max(...stream.batches.map((batch) => batch.revocations.length))).toBeLessThanOrEqual(1_000);
  expect(stream.batches.slice(0, last + 1).flatMap((batch) => batch.revocations).length).toBeGreaterThan(
    2_500,
  );
});

it('closing the feed ends its streams', async () => {
  const feed = feedOver(databases());
  const ended: string[] = [];
  const reading = (async () => {
    for await (const batch of feed.watch(new AbortController().signal))
      if (batch.caughtUp) ended.push('caught up');
    ended.push('ended');
  })();
  await eventually(() => expect(ended).toEqual(['caught up']));
  await feed.close();
  await reading;
  expect(ended).toEqual(['caught up', 'ended']);
});
