import { openDatabase, sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { currentTraceparent, inSpan, scrape, silentLogger, startTracing } from '@headroom/telemetry';
import {
  createTestDatabase,
  eventually,
  interrupted,
  ManualClock,
  type TestDatabase,
} from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  consumeEvents,
  messagingMigrations,
  openEventLog,
  OUTBOX_SHARDS,
  startRelay,
  writeOutbox,
  type EventLog,
  type Relay,
  type TopicSpec,
} from './index';

jest.setTimeout(60_000);

const LEASE_MS = 1_500;

let service: TestDatabase;
let events: TestDatabase;
let log: EventLog;
const opened: Array<{ close(): Promise<unknown> }> = [];
/** Opened at the end of a test at the latest, so that a failure does not hang. */
const gates: Array<() => void> = [];
const newGate = () => {
  let open!: () => void;
  const passed = new Promise<void>((resolve) => (open = resolve));
  gates.push(open);
  return { passed, open };
};
const interruptedService = () => {
  const service = interrupted(own(connect()));
  gates.push(service.thaw);
  return service;
};

beforeAll(async () => {
  service = await createTestDatabase(messagingMigrations('outbox'), messagingMigrations('inbox'));
  await service.db.execute(
    sql('test.counters')`create table counters (key text primary key, version int not null)`,
  );
  events = await createTestDatabase(messagingMigrations('event-log'));
  log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
});
afterEach(async () => {
  for (const open of gates.splice(0)) open();
  for (const each of opened.splice(0).reverse()) await each.close();
  await service.db.execute(
    sql('test.clear')`truncate outbox, outbox_members, outbox_leases, outbox_groups, counters`,
  );
});
afterAll(async () => {
  await log.close();
  await events.drop();
  await service.drop();
});

const own = <T extends { close(): Promise<unknown> }>(resource: T): T => {
  opened.push(resource);
  return resource;
};
const newTopic = (): TopicSpec => ({ name: `test.${randomUUID()}`, partitions: 3, retentionMs: undefined });
const connect = () =>
  openDatabase({ url: service.url, name: 'service', logger: silentLogger, maxConnections: 8 });
const relayOf = (
  topic: TopicSpec,
  more: { db?: Database; log?: EventLog; clock?: ManualClock } = {},
): Relay =>
  own(
    startRelay({
      db: service.db,
      log,
      topics: [topic],
      logger: silentLogger,
      name: 'test',
      leaseMs: LEASE_MS,
      ...more,
    }),
  );

/** Raises the version of an aggregate under its row's lock and writes the event of it, as a service does. */
const raise = (db: Database, topic: TopicSpec, key: string, wake?: () => void) =>
  db.transaction(async (tx) => {
    const row = await tx.row<{ version: number }>(sql('test.raise')`
      insert into counters as c (key, version) values (${key}, 1)
      on conflict (key) do update set version = c.version + 1 returning version`);
    const event = {
      specversion: '1.0',
      source: '/test',
      id: uuidv7(),
      type: 'test.raised',
      subject: `counter/${key}`,
      aggregateversion: row!.version,
      ...traced(),
    };
    await writeOutbox(tx, [{ topic: topic.name, key, event }], wake);
    return event.id;
  });
const traced = () => {
  const traceparent = currentTraceparent();
  return traceparent === undefined ? {} : { traceparent };
};

/** Many writers of few aggregates, whose transactions overlap; returns how often each was raised. */
async function writeConcurrently(
  topic: TopicSpec,
  writers: number,
  each: number,
): Promise<Map<string, number>> {
  const db = own(connect());
  const counts = new Map<string, number>();
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let n = 0; n < each; n += 1) {
        const key = `c${(writer * 7 + n * 3) % 12}`;
        await raise(db, topic, key);
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }),
  );
  return counts;
}

/** Reads what was published: versions by key in the order of the log, and the number of repetitions. */
async function readPublished(
  topic: TopicSpec,
): Promise<{ versions: Map<string, number[]>; repeated: number }> {
  const versions = new Map<string, number[]>();
  let repeated = 0;
  let count = 0;
  const subscription = await log.subscribe({
    group: randomUUID(),
    topics: [topic.name],
    handle: ({ records }) => {
      for (const { key, value } of records) {
        count += 1;
        const { aggregateversion } = JSON.parse(value) as { aggregateversion: number };
        const seen = versions.get(key) ?? [];
        versions.set(key, seen);
        if (seen.includes(aggregateversion)) repeated += 1;
        else seen.push(aggregateversion);
      }
      return Promise.resolve();
    },
  });
  const positions = await log.positions('none', [topic.name]);
  await eventually(() => expect(BigInt(count)).toBe(positions.reduce((sum, { end }) => sum + end, 0n)));
  await subscription.close();
  return { versions, repeated };
}

const outboxIsEmpty = () =>
  eventually(async () => {
    expect(await service.db.rows(sql('test.outbox')`select id from outbox limit 5`)).toEqual([]);
  }, 20_000);
const upTo = (counts: Map<string, number>) =>
  new Map([...counts].map(([key, count]) => [key, Array.from({ length: count }, (_, n) => n + 1)]));
const sorted = <T>(map: Map<string, T>) => [...map].sort(([a], [b]) => a.localeCompare(b));

it('publishes every event once and in order per aggregate while writers commit across one another', async () => {
  const topic = newTopic();
  relayOf(topic);
  const counts = await writeConcurrently(topic, 8, 60);
  await outboxIsEmpty();
  const { versions, repeated } = await readPublished(topic);
  expect(sorted(versions)).toEqual(sorted(upTo(counts)));
  expect(repeated).toBe(0);
});

it('shares the shards between relays, still in order and without repetition', async () => {
  const topic = newTopic();
  relayOf(topic, { db: own(connect()) });
  const writing = writeConcurrently(topic, 8, 120);
  relayOf(topic, { db: own(connect()) });
  await eventually(async () => {
    const owners = await service.db.rows<{ count: bigint }>(sql('test.owners')`
      select count(*) as count from outbox_leases where owner is not null group by owner`);
    expect(owners.map((row) => Number(row.count))).toEqual([OUTBOX_SHARDS / 2, OUTBOX_SHARDS / 2]);
  });
  const counts = await writing;
  await outboxIsEmpty();
  const { versions, repeated } = await readPublished(topic);
  expect(sorted(versions)).toEqual(sorted(upTo(counts)));
  expect(repeated).toBe(0);
});

it('loses nothing and keeps the order when a relay dies between publishing and noting it', async () => {
  const topic = newTopic();
  const dying = interruptedService();
  let batches = 0;
  const killer: EventLog = {
    ...log,
    append: async (records) => {
      await log.append(records);
      batches += 1;
      if (batches === 3) dying.kill();
    },
  };
  relayOf(topic, { db: dying.db, log: killer });
  const writing = writeConcurrently(topic, 8, 80);
  await eventually(() => expect(batches).toBeGreaterThanOrEqual(3));
  relayOf(topic, { db: own(connect()) });
  const counts = await writing;
  await outboxIsEmpty();
  const { versions, repeated } = await readPublished(topic);
  expect(sorted(versions)).toEqual(sorted(upTo(counts)));
  expect(repeated).toBeGreaterThan(0); // the batch whose publication was not noted
});

it('publishes nothing that it read before it froze and lost its shards', async () => {
  const topic = newTopic();
  const frozen = interruptedService();
  let read = false;
  const held = newGate();
  const freezing: Database = {
    ...frozen.db,
    rows: async (statement) => {
      const rows = await frozen.db.rows<never>(statement);
      if (statement.name === 'outbox.read' && rows.length > 0 && !read) {
        read = true;
        frozen.freeze();
        await held.passed;
      }
      return rows;
    },
  };
  let published = 0;
  relayOf(topic, {
    db: freezing,
    log: { ...log, append: (records) => ((published += 1), log.append(records)) },
  });
  await raise(service.db, topic, 'a');
  await eventually(() => expect(read).toBe(true));
  relayOf(topic, { db: own(connect()) });
  await raise(service.db, topic, 'a');
  await outboxIsEmpty();
  frozen.thaw();
  held.open();
  await raise(service.db, topic, 'b');
  await outboxIsEmpty();
  const { versions, repeated } = await readPublished(topic);
  expect(sorted(versions)).toEqual([
    ['a', [1, 2]],
    ['b', [1]],
  ]);
  expect(repeated).toBe(0);
  expect(published).toBeLessThanOrEqual(1); // at most `b`, after it had come back
});

it('leaves the rows of shards to their new owner when it froze while publishing', async () => {
  const topic = newTopic();
  const frozen = interruptedService();
  const held = newGate();
  let sent = 0;
  const slow: EventLog = {
    ...log,
    append: async () => {
      sent += 1;
      frozen.freeze();
      await held.passed; // and then believes that its batch was published
    },
  };
  relayOf(topic, { db: frozen.db, log: slow });
  await raise(service.db, topic, 'a');
  await eventually(() => expect(sent).toBe(1));
  const blocked = newGate();
  let taken = false;
  relayOf(topic, {
    db: own(connect()),
    log: { ...log, append: async (records) => ((taken = true), await blocked.passed, log.append(records)) },
  });
  await eventually(() => expect(taken).toBe(true));
  held.open();
  frozen.thaw();
  // The zombie's delete has been refused by the time it holds shards again (those that the other one gives up to it).
  await eventually(async () => {
    const owners = await service.db.rows(sql('test.members')`
      select member from outbox_members where expires_at > clock_timestamp()`);
    expect(owners).toHaveLength(2);
  });
  expect(await service.db.rows(sql('test.left')`select key from outbox`)).toEqual([{ key: 'a' }]);
  blocked.open();
  await outboxIsEmpty();
});

it('sends a batch that failed again, whole, until it is confirmed', async () => {
  const topic = newTopic();
  await writeConcurrently(topic, 1, 10);
  const batches: string[][] = [];
  relayOf(topic, {
    log: {
      ...log,
      append: (records) => {
        batches.push(records.map((record) => record.value));
        return batches.length < 3 ? Promise.reject(new Error('the log is away')) : log.append(records);
      },
    },
  });
  await outboxIsEmpty();
  expect(batches.slice(0, 3).map((batch) => batch.length)).toEqual([10, 10, 10]);
  expect(batches[2]).toEqual(batches[0]);
  expect((await readPublished(topic)).repeated).toBe(0);
});

it('publishes right after the commit when woken, and measures what waits', async () => {
  const topic = newTopic();
  const clock = new ManualClock(); // stands still: no look for work by time
  let away = false;
  const relay = relayOf(topic, {
    clock,
    log: { ...log, append: (records) => (away ? Promise.reject(new Error('away')) : log.append(records)) },
  });
  await raise(service.db, topic, 'a');
  await eventually(async () => {
    relay.wake(); // until it holds the shards
    expect(await service.db.rows(sql('test.outbox')`select id from outbox`)).toEqual([]);
  });
  await raise(service.db, topic, 'b', relay.wake);
  await outboxIsEmpty();
  away = true;
  await raise(service.db, topic, 'c', relay.wake);
  await eventually(() => {
    clock.advance(5_000);
    expect(relay.oldestUnpublishedMs()).toBeGreaterThan(0);
  });
  const { body } = await scrape();
  expect(body).toContain('outbox_unpublished{outbox="test"} 1');
  expect(body).toMatch(new RegExp(`outbox_published_total\\{outbox="test",topic="${topic.name}"\\} 2`));
});

it('hands its shards over at once when it closes', async () => {
  const topic = newTopic();
  const first = startRelay({
    db: service.db,
    log,
    topics: [topic],
    logger: silentLogger,
    name: 'test',
    leaseMs: 60_000,
  });
  await raise(service.db, topic, 'a');
  await outboxIsEmpty();
  await first.close();
  relayOf(topic);
  await raise(service.db, topic, 'a');
  await outboxIsEmpty();
});

it('makes one trace of the change, its publication and its effect, and no spans while idle', async () => {
  const topic = newTopic();
  const spans: Array<{ name: string; id: string; parent: string | undefined; trace: string }> = [];
  const tracing = await startTracing({
    service: 'test',
    exporter: {
      export(batch, done) {
        for (const span of batch)
          spans.push({
            name: span.name,
            id: span.spanContext().spanId,
            parent: span.parentSpanContext?.spanId,
            trace: span.spanContext().traceId,
          });
        done({ code: 0 });
      },
      shutdown: () => Promise.resolve(),
    },
  });
  const relay = relayOf(topic);
  const seen: string[] = [];
  own(
    await consumeEvents({
      log,
      db: service.db,
      group: randomUUID(),
      topics: [topic],
      logger: silentLogger,
      apply: async (tx, { event }) => {
        await tx.execute(sql('test.effect')`select 1`);
        seen.push(event.id);
      },
    }),
  );
  const id = await inSpan('change', {}, () => raise(service.db, topic, 'a', relay.wake));
  await eventually(() => expect(seen).toEqual([id]));
  await outboxIsEmpty();
  for (const each of opened.splice(0).reverse()) await each.close();
  await tracing.close();
  const one = (name: string) => spans.filter((span) => span.name === name);
  const [change] = one('change');
  const [publish] = one('outbox publish');
  const [consume] = one('consume test.raised');
  const [effect] = one('sql test.effect');
  expect(change).toBeDefined();
  expect(publish!.parent).toBe(change!.id);
  expect(consume!.parent).toBe(publish!.id);
  expect(effect!.parent).toBe(consume!.id);
  const traces = new Set(
    spans
      .filter((span) => !/^sql test\.(outbox|clear)|^sql (begin|commit)/.test(span.name))
      .map((span) => span.trace),
  );
  expect([...traces]).toEqual([change!.trace]);
});
