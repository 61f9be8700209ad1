import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { productEvent, viewEvent } from '../test/events';
import { startRecommendationSystem, type RecommendationSystem } from '../test/system';
import { startLearning } from './learn';
import { applyActivities, historyOf, keepPartitions } from './model-repository';
import { schemaNameOf, schemaOf } from './models-repository';
import type { ActivityEvent } from '@headroom/contracts';

const DAY = 24 * 3_600_000;
const root = join(__dirname, '..', '..', '..');

jest.setTimeout(30_000); // real databases, beside whatever else the machine does

let system: RecommendationSystem;
beforeEach(async () => {
  system = await startRecommendationSystem();
});
afterEach(() => system.close());

/** A process that takes activities until it gets a signal; what it had taken and written by its own report. */
async function takeUntil(signal: 'SIGKILL' | 'SIGTERM') {
  const productId = uuidv7();
  const learning = startLearning({ db: system.learnt.db, log: system.log, logger: silentLogger });
  await system.append(productEvent(1, { id: productId }));
  await system.settled();
  await learning.close();
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', join(__dirname, '../test/activity-process.ts')],
      ...[system.learnt.url, system.events.url, productId],
    ],
    {
      cwd: root,
      env: { ...process.env, TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  );
  const taken: string[] = [];
  const batches: string[][] = [];
  child.on('message', (message: { taken: string } | { written: string[] }) => {
    if ('taken' in message) taken.push(message.taken);
    else batches.push(message.written);
    // In the middle of an interval: some are written, and some wait.
    if (batches.length === 3 && 'taken' in message) child.kill(signal);
  });
  await once(child, 'exit');
  const rows = await system.events.db.rows<{ id: string }>(sql('test.recorded')`
    select value::jsonb->>'id' as id from log_records where topic = 'headroom.activity.v1'`);
  return { taken, batches, recorded: rows.map(({ id }) => id) };
}

it('loses by kill -9 only what it took since its last write', async () => {
  const { taken, batches, recorded } = await takeUntil('SIGKILL');
  const written = batches.flat();
  expect(written.length).toBeGreaterThan(0);
  expect(recorded).toEqual(expect.arrayContaining(written));
  const lastWritten = taken.indexOf(written.at(-1)!);
  const lost = taken.filter((id) => !recorded.includes(id));
  expect(lost.every((id) => taken.indexOf(id) > lastWritten)).toBe(true);
}, 60_000);

it('loses nothing by a stop in good order', async () => {
  const { taken, recorded } = await takeUntil('SIGTERM');
  expect(taken.length).toBeGreaterThan(0);
  // An append whose answer came too late is made again, so that some may stand twice.
  expect([...new Set(recorded)].sort()).toEqual([...taken].sort());
}, 60_000);

describe('what people looked at', () => {
  const now = Date.now();
  const model = { version: 1 };
  const schema = schemaOf(model);
  const partitions = async (): Promise<string[]> => {
    const rows = await system.learnt.db.rows<{ name: string }>(sql('test.partitions')`
      select inhrelid::regclass::text as name from pg_inherits
      where inhparent = ${`${schemaNameOf(model)}.activity`}::regclass order by 1`);
    return rows.map(({ name }) => name);
  };
  const keep = (nowMs: number) =>
    keepPartitions(system.learnt.db, { schema, name: schemaNameOf(model) }, nowMs);
  const apply = (events: Array<ReturnType<typeof viewEvent>>, nowMs: number) =>
    system.learnt.db.transaction((tx) =>
      applyActivities(
        tx,
        schema,
        events.map(({ event }) => event as ActivityEvent),
        nowMs,
      ),
    );

  it('is kept for 30 days in partitions that are made ahead and dropped whole, never in more of them', async () => {
    await keep(now);
    const before = await partitions();
    const user = uuidv7();
    const views = [0, 10, 29, 31].map((days) => viewEvent(uuidv7(), user, new Date(now - days * DAY)));
    await apply(views, now);
    const count = () =>
      system.learnt.db.row(sql('test.count')`select count(*)::int as kept from ${schema}.activity`);
    expect(await count()).toEqual({ kept: 3 }); // the oldest was left out
    await keep(now);
    expect(await partitions()).toEqual(before);
    await keep(now + 10 * DAY);
    const after = await partitions();
    expect(after).toHaveLength(before.length);
    expect(after).not.toContain(before[0]);
    expect(after).not.toContain(before[1]);
    await keep(now + 365 * DAY);
    expect(await partitions()).toHaveLength(before.length);
    expect(await count()).toEqual({ kept: 0 });
  });

  it('is looked up in the partitions of the retention alone, by an index', async () => {
    await keep(now);
    await keep(now + 10 * DAY); // partitions of other times are there, too
    await keep(now);
    const user = uuidv7();
    await apply(
      Array.from({ length: 2_000 }, (_, index) =>
        viewEvent(uuidv7(), index % 100 === 0 ? user : uuidv7(), new Date(now - (index % 28) * DAY)),
      ),
      now,
    );
    await system.learnt.db.execute(sql('test.analyze')`analyze ${schema}.activity`);
    const plan = await system.learnt.db.rows<{ 'QUERY PLAN': string }>(sql('test.plan')`
      explain select product_id, at from ${schema}.activity
      where actor = ${`user/${user}`} and at between ${new Date(now - 2 * DAY)} and ${new Date(now)} order by at desc limit 100`);
    const text = plan.map((row) => row['QUERY PLAN']).join('\n');
    expect(text).toMatch(/Index (Only )?Scan/);
    const scanned = new Set([...text.matchAll(/on (activity_\d+)/g)].map((match) => match[1]));
    expect(scanned.size).toBeGreaterThan(0);
    expect(scanned.size).toBeLessThanOrEqual(2);
    const history = await historyOf(system.learnt.db, schema, user, {
      orders: 20,
      activities: 7,
      nowMs: now,
    });
    expect(history).toHaveLength(7);
    expect(history.map(({ atMs }) => atMs)).toEqual(history.map(({ atMs }) => atMs).sort((a, b) => b - a));
  });

  it('does not stop the rest when its time is not one of the clock', async () => {
    await keep(now);
    const future = viewEvent(uuidv7(), uuidv7(), new Date(now + 365 * DAY));
    await apply([future, viewEvent(uuidv7(), uuidv7(), new Date(now))], now);
    await eventually(async () => {
      const rows = await system.learnt.db.rows<{ at: Date }>(
        sql('test.times')`select at from ${schema}.activity`,
      );
      expect(rows.map(({ at }) => at.getTime())).toEqual([now, now]);
    });
  });
});
