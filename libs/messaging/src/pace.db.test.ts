import { sql } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, type TestDatabase } from '@headroom/testing';
import type { EventLog } from './event-log';
import { messagingMigrations } from './migrations';
import { writeOutbox } from './outbox';
import { createPace } from './pace';

jest.setTimeout(60_000);

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase(messagingMigrations('outbox'));
});
afterAll(() => test.drop());
beforeEach(() => test.db.execute(sql('test.clear')`delete from outbox`));

const write = (count: number) =>
  test.db.transaction((tx) =>
    writeOutbox(
      tx,
      Array.from({ length: count }, (_, n) => ({
        topic: 'topic',
        key: `${n}`,
        event: { id: `${n}`, type: 'test', subject: `test/${n}`, aggregateversion: 1 },
      })),
    ),
  );

/** Readers that are so far behind, by the names of their groups; undefined: the log is away. */
function setUp(lags: Record<string, number> | undefined, whileAsleep = () => {}) {
  let nowMs = 0;
  const clock = {
    now: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
      whileAsleep();
    },
  };
  const warn = jest.fn();
  const log = {
    groups: async (prefix: string) => {
      if (!lags) throw new Error('the log is away');
      return Object.keys(lags).filter((name) => name.startsWith(prefix));
    },
    positions: async (group: string) => [{ committed: 0n, end: BigInt(lags![group]!) }],
  } as unknown as EventLog;
  const pace = createPace({
    db: test.db,
    log: () => log,
    topics: ['topic'],
    groupPrefixes: ['views.a.', 'views.b.'],
    most: 10,
    clock,
    logger: { ...silentLogger, warn },
  });
  return { clock, warn, pace };
}

it('lets a writer go on while its outbox and its slowest reader together are not too far behind', async () => {
  await write(4);
  expect(await setUp({ 'views.a.v1': 6, 'views.b.v1': 1 }).pace.wait({ budgetMs: 0 })).toBe(true);
  expect(await setUp({ 'views.a.v1': 1, 'views.b.v1': 7 }).pace.wait({ budgetMs: 0 })).toBe(false);
  expect(await setUp({ 'views.b.v1': 50, 'views.b.v2': 6, other: 99 }).pace.wait({ budgetMs: 0 })).toBe(true);
  await write(7);
  expect(await setUp({}).pace.wait({ budgetMs: 0 })).toBe(false);
});

it('waits until the readers have come up, no longer than its budget, and not beyond an abort', async () => {
  const lags = { 'views.a.v1': 100 };
  const { clock, pace } = setUp(lags, () => (lags['views.a.v1'] -= 30));
  expect(await pace.wait({ budgetMs: 5_000 })).toBe(true);
  expect(lags['views.a.v1']).toBe(10);
  lags['views.a.v1'] = 1_000;
  const startedMs = clock.now();
  expect(await pace.wait({ budgetMs: 1_000 })).toBe(false);
  expect(clock.now() - startedMs).toBe(1_000);
  expect(await pace.wait({ budgetMs: 1_000, signal: AbortSignal.abort() })).toBe(false);
});

it('does not hold a writer up when the log cannot tell, and warns once', async () => {
  const { pace, warn } = setUp(undefined);
  expect(await pace.wait({ budgetMs: 0 })).toBe(true);
  expect(await pace.wait({ budgetMs: 0 })).toBe(true);
  expect(warn).toHaveBeenCalledTimes(1);
});
