import { openDatabase, sql, type Database, type Statement } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, interrupted, type TestDatabase } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import type { EventLog, Subscription } from './event-log';
import { describeEventLog } from './event-log.contract';
import { messagingMigrations } from './migrations';
import { postgresLog } from './postgres-log';

jest.setTimeout(60_000);

const memberTtlMs = 3_000;

describeEventLog('PostgreSQL', async () => {
  const events = await createTestDatabase(messagingMigrations('event-log'));
  const connect = () =>
    openDatabase({ url: events.url, name: 'log', logger: silentLogger, maxConnections: 4 });
  return {
    memberTtlMs,
    open: () => Promise.resolve(postgresLog({ db: connect(), logger: silentLogger, memberTtlMs })),
    openFreezable: () => {
      const { db, freeze, thaw } = interrupted(connect());
      return Promise.resolve({ log: postgresLog({ db, logger: silentLogger, memberTtlMs }), freeze, thaw });
    },
    stop: () => events.drop(),
  };
});

describe('the event log in PostgreSQL', () => {
  const DAY_MS = 24 * 3_600_000;
  let events: TestDatabase;
  let log: EventLog;
  const statements: Statement[] = [];
  const running: Subscription[] = [];

  beforeAll(async () => {
    events = await createTestDatabase(messagingMigrations('event-log'));
    const db = openDatabase({ url: events.url, name: 'log', logger: silentLogger, maxConnections: 4 });
    log = postgresLog({ db: counting(db, statements), logger: silentLogger, memberTtlMs });
  });
  afterEach(() => Promise.all(running.splice(0).map((each) => each.close())));
  afterAll(async () => {
    await log.close();
    await events.drop();
  });

  const newTopic = async (retentionMs?: number) => {
    const topic = `test.${randomUUID()}`;
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs }]);
    return topic;
  };
  /** Appends as if the time was at least `atMs`. */
  const appendAt = (topic: string, value: string, atMs: number) =>
    events.db.execute(sql('test.appendAt')`
      select log_append(${[topic]}, ${[0]}, ${['k']}, ${[value]}, ${['{}']}::jsonb[], ${new Date(atMs)})`);
  const read = async (topic: string, onCaughtUp?: (atMs: number) => void) => {
    const values: string[] = [];
    const subscription = await log.subscribe({
      group: randomUUID(),
      topics: [topic],
      handle: ({ records }) => Promise.resolve(void values.push(...records.map((record) => record.value))),
      ...(onCaughtUp ? { onCaughtUp: (_topic, _partition, atMs) => onCaughtUp(atMs) } : {}),
    });
    running.push(subscription);
    return values;
  };
  const segmentsOf = async (topic: string) =>
    (
      await events.db.rows<{ table_name: string }>(
        sql('test.segments')`select table_name from log_segments where topic = ${topic} order by starts_at`,
      )
    ).map((row) => row.table_name);

  it('neither shows nor skips an append that has not committed, and never claims to be fresher than it', async () => {
    const topic = await newTopic();
    const reports: number[] = [];
    const values = await read(topic, (atMs) => void reports.push(atMs));
    let commit!: () => void;
    const held = new Promise<void>((resolve) => (commit = resolve));
    let stampMs = 0;
    const slow = events.db.transaction(async (tx) => {
      await tx.execute(sql('test.append')`
        select log_append(${[topic]}, ${[0]}, ${['k']}, ${['slow']}, ${['{}']}::jsonb[])`);
      const row = await tx.row<{ ms: number }>(sql('test.stamp')`
        select extract(epoch from last_appended_at)::float8 * 1000 as ms from log_partitions where topic = ${topic}`);
      stampMs = row!.ms;
      await held;
    });
    await eventually(() => expect(stampMs).toBeGreaterThan(0));
    const next = log.append([{ topic, key: 'k', value: 'next' }]); // waits for the partition
    const looks = () => statements.filter((each) => each.name === 'log.look').length;
    const before = looks();
    await eventually(() => expect(looks()).toBeGreaterThan(before + 18)); // more than a second of looking
    expect(values).toEqual([]);
    expect(reports.filter((atMs) => atMs > stampMs)).toEqual([]);
    commit();
    await Promise.all([slow, next]);
    await eventually(() => expect(values).toEqual(['slow', 'next']));
    await eventually(() => expect(reports.at(-1)).toBeGreaterThan(stampMs));
  });

  it('reads on across the segments of months, made as they are needed, and looks at no older one', async () => {
    const topic = await newTopic();
    const now = Date.now();
    for (const [value, days] of [
      ['today', 0],
      ['next month', 32],
      ['in a quarter', 95],
    ] as const)
      await appendAt(topic, value, now + days * DAY_MS);
    expect((await segmentsOf(topic)).length).toBeGreaterThanOrEqual(4);
    const values = await read(topic);
    await eventually(() => expect(values).toEqual(['today', 'next month', 'in a quarter']));
    const plan = await events.db.rows<{ 'QUERY PLAN': string }>(sql('test.explain')`
      explain select * from log_records
      where topic = ${topic} and partition = 0 and record_offset >= 2 and appended_at >= ${new Date(now + 95 * DAY_MS)}
      order by record_offset limit 500`);
    const scanned = plan.map((row) => row['QUERY PLAN']).filter((line) => line.includes(' on log_records_'));
    expect(scanned).toHaveLength(1);
  });

  it('drops whole days of a topic with a retention, nothing of one without, and reads on behind the gap', async () => {
    const [dropped, kept] = [await newTopic(2 * DAY_MS), await newTopic()];
    const now = Date.now();
    for (const topic of [dropped, kept]) {
      await appendAt(topic, 'old', now);
      await appendAt(topic, 'young', now + 5 * DAY_MS);
    }
    const before = await segmentsOf(dropped);
    await events.db.execute(sql('test.maintain')`select log_maintain(${new Date(now + 6 * DAY_MS)})`);
    const after = await segmentsOf(dropped);
    expect(after.length).toBeGreaterThan(0);
    expect(after).not.toContain(before[0]);
    const [some, all] = [await read(dropped), await read(kept)];
    await eventually(() => expect([some, all]).toEqual([['young'], ['old', 'young']]));

    await events.db.execute(sql('test.maintain')`select log_maintain(${new Date(now + 30 * DAY_MS)})`);
    const none = await read(dropped);
    await appendAt(dropped, 'new', now + 31 * DAY_MS);
    await eventually(() => expect(none).toEqual(['new']));
    // Segments are made ahead of their time, so that no append has to.
    const covered = await events.db.row<{ ahead: boolean }>(sql('test.covered')`
      select covered_until >= ${new Date(now + 33 * DAY_MS)} as ahead from log_topics where name = ${dropped}`);
    expect(covered!.ahead).toBe(true);
  });

  it('maintains by itself while somebody reads, once an hour in all', async () => {
    await events.db.execute(sql('test.due')`update log_maintenance set next_at = '-infinity'`);
    const count = () => statements.filter((each) => each.name === 'log.maintain').length;
    const before = count();
    await read(await newTopic());
    await eventually(() => expect(count()).toBe(before + 1));
    await eventually(async () => {
      const due = await events.db.row<{ later: boolean }>(
        sql('test.due')`select next_at > now() + interval '50 minutes' as later from log_maintenance`,
      );
      expect(due!.later).toBe(true);
    });
    await read(await newTopic());
    await eventually(() => expect(statements.at(-1)!.name).toBe('log.look'));
    expect(count()).toBe(before + 1);
  });

  it('costs an idle reader about 20 cheap statements a second', async () => {
    await read(await newTopic());
    const beats = () => statements.filter((each) => each.name === 'lease.beat').length;
    const start = beats();
    await eventually(() => expect(beats()).toBeGreaterThan(start + 1));
    const from = statements.length;
    await eventually(() => expect(beats()).toBeGreaterThan(start + 5)); // 4 heartbeats of 0.6 s each
    expect((statements.length - from) / 2.4).toBeLessThan(30);
  });
});

/** Notes every statement that passes. */
function counting(db: Database, statements: Statement[]): Database {
  const note = (statement: Statement) => (statements.push(statement), statement);
  return {
    ...db,
    rows: (statement) => db.rows(note(statement)),
    row: (statement) => db.row(note(statement)),
    execute: (statement) => db.execute(note(statement)),
    transaction: (work, options) =>
      db.transaction(
        (tx) =>
          work({
            ...tx,
            rows: (statement) => tx.rows(note(statement)),
            row: (statement) => tx.row(note(statement)),
            execute: (statement) => tx.execute(note(statement)),
          }),
        options,
      ),
  };
}
