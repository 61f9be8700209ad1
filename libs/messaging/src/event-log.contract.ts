import { sql, type Database } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { consumeEvents, type CloudEvent, type ConsumerOptions } from './consumer';
import type { Batch, ConsumeOptions, EventLog, LogRecord, Subscription } from './event-log';
import { lagOf } from './lag';
import { messagingMigrations } from './migrations';
import { discardParked, listParked, requeueParked } from './parked';

/** A running log, as the suite needs it. */
export interface LogUnderTest {
  /** Another client of the same log, as another process would have one; closed by the suite. */
  open(): Promise<EventLog>;
  /** A client that can be cut off as if its process was stopped, and let go on. */
  openFreezable(): Promise<{ log: EventLog; freeze(): void; thaw(): void }>;
  /** Silence after which a member loses its partitions. */
  memberTtlMs: number;
  stop(): Promise<void>;
}

/** How many events the test of bounded memory sends. */
export const MANY_EVENTS = 1_000_000;

/**
 * What every transport of the event log guarantees. A transport passes it unchanged: assertions speak of the port alone, and
 * repetitions are allowed wherever the port allows them.
 */
export function describeEventLog(name: string, start: () => Promise<LogUnderTest>): void {
  describe(`the event log on ${name}`, () => {
    let under: LogUnderTest;
    let log: EventLog;
    let reader: TestDatabase;
    const running: Subscription[] = [];
    const clients: EventLog[] = [];
    const gates: Array<() => void> = [];

    beforeAll(async () => {
      under = await start();
      log = await under.open();
      reader = await createTestDatabase(messagingMigrations('inbox'));
      await reader.db.execute(sql('test.effects')`
        create table effects (id bigint generated always as identity primary key, key text not null, number int not null)`);
    });
    /** A promise that the test resolves, and the end of the test at the latest: a failure must not hang. */
    const newGate = () => {
      let open!: () => void;
      const opened = new Promise<void>((resolve) => (open = resolve));
      gates.push(open);
      return { opened, open };
    };
    const openFreezable = async () => {
      const client = await under.openFreezable();
      gates.push(client.thaw);
      clients.push(client.log);
      return client;
    };

    afterEach(async () => {
      for (const open of gates.splice(0)) open();
      await Promise.all(running.splice(0).map((each) => each.close()));
      await Promise.all(clients.splice(0).map((each) => each.close()));
    });
    afterAll(async () => {
      await log.close();
      await reader.drop();
      await under.stop();
    });

    const openClient = async () => {
      const client = await under.open();
      clients.push(client);
      return client;
    };
    const newTopic = async (partitions = 4) => {
      const topic = `test.${randomUUID()}`;
      await log.ensureTopics([{ name: topic, partitions, retentionMs: undefined }]);
      return topic;
    };
    const subscribe = async (client: EventLog, options: ConsumeOptions) => {
      const subscription = await client.subscribe(options);
      running.push(subscription);
      return subscription;
    };
    /** Appends numbers under keys: key k<i mod keys>, value <writer>:<i>. */
    const appendNumbers = async (
      client: EventLog,
      topic: string,
      from: number,
      to: number,
      keys = 5,
      writer = 'w',
    ) => {
      const records = [];
      for (let n = from; n < to; n += 1)
        records.push({ topic, key: `k${n % keys}`, value: `${writer}:${n}` });
      await client.append(records);
    };
    const committedAndEnd = async (group: string, topic: string) => {
      const positions = await log.positions(group, [topic]);
      const sum = (pick: (each: (typeof positions)[number]) => bigint) =>
        positions.reduce((all, each) => all + pick(each), 0n);
      return { committed: sum((each) => each.committed), end: sum((each) => each.end) };
    };
    const untilHandled = (group: string, topic: string, timeoutMs = 20_000) =>
      eventually(async () => {
        const { committed, end } = await committedAndEnd(group, topic);
        expect(committed).toBe(end);
      }, timeoutMs);

    it('gives a key one partition and keeps its order, whoever appends', async () => {
      const topic = await newTopic();
      const other = await openClient();
      for (let n = 0; n < 40; n += 1) await appendNumbers(n % 2 ? other : log, topic, n, n + 1);
      const history = newHistory();
      await subscribe(log, { group: randomUUID(), topics: [topic], handle: history.handle });
      await eventually(() => expect(history.count()).toBe(40));
      expect(history.problems()).toEqual([]);
      expect(history.partitionsOfKeys().every((partitions) => partitions.size === 1)).toBe(true);
      expect(new Set(history.partitionsOfKeys().flatMap((each) => [...each])).size).toBeGreaterThan(1);
    });

    it('shows a new group everything from the start, and each group everything', async () => {
      const topic = await newTopic();
      await appendNumbers(log, topic, 0, 30);
      for (const group of [randomUUID(), randomUUID()]) {
        const history = newHistory();
        await subscribe(log, { group, topics: [topic], handle: history.handle });
        await eventually(() => expect(history.count()).toBe(30));
        expect(history.problems()).toEqual([]);
      }
    });

    it('keeps topics as they were made', async () => {
      const topic = await newTopic(3);
      await log.ensureTopics([{ name: topic, partitions: 9, retentionMs: 1_000 }]);
      expect(await log.positions(randomUUID(), [topic])).toHaveLength(3);
    });

    it('refuses records for a topic that does not exist', async () => {
      await expect(log.append([{ topic: 'no.such.topic', key: 'k', value: 'v' }])).rejects.toThrow(
        'no.such.topic',
      );
    });

    it('carries keys, values and headers unchanged', async () => {
      const topic = await newTopic(1);
      const odd = {
        key: 'a"b\\c,{é}',
        value: '{"text":"line\\nbreak \\\\ \\"quoted\\" ✓ NULL"}',
        headers: { h: 'ä,{}"\\' },
      };
      await log.append([{ topic, ...odd }]);
      const seen: LogRecord[] = [];
      await subscribe(log, {
        group: randomUUID(),
        topics: [topic],
        handle: (batch) => Promise.resolve(void seen.push(...batch.records)),
      });
      await eventually(() => expect(seen).toHaveLength(1));
      expect(seen[0]).toMatchObject({ topic, partition: 0, offset: 0n, ...odd });
      expect(Math.abs(seen[0]!.appendedAtMs - Date.now())).toBeLessThan(60_000);
    });

    it('skips nothing while many append and one reads', async () => {
      const topic = await newTopic();
      const group = randomUUID();
      const history = newHistory();
      await subscribe(log, {
        group,
        topics: [topic],
        handle: history.handle,
        concurrency: 4,
        maxRecords: 50,
      });
      const writers = await Promise.all(Array.from({ length: 6 }, openClient));
      let written = 0;
      await Promise.all(
        writers.map(async (client, index) => {
          // Batches of odd sizes, so that long and short appends overlap.
          for (let n = 0; n < 600;) {
            const size = 1 + ((n + index) % 7);
            await appendNumbers(client, topic, n, n + size, 5, `w${index}`);
            n += size;
            written += size;
          }
        }),
      );
      await untilHandled(group, topic);
      expect(history.problems()).toEqual([]);
      expect(history.count()).toBe(written);
      expect((await committedAndEnd(group, topic)).end).toBe(BigInt(written));
    });

    it('brings the same records again when the handler fails, and nothing behind them before', async () => {
      const topic = await newTopic(2);
      await appendNumbers(log, topic, 0, 20, 4);
      const history = newHistory();
      let failures = 3;
      const failed: bigint[] = [];
      await subscribe(log, {
        group: randomUUID(),
        topics: [topic],
        maxRecords: 3,
        handle: (batch) => {
          if (batch.partition === 0 && batch.records[0]!.offset >= 3n && failures > 0) {
            failures -= 1;
            failed.push(...batch.records.map((record) => record.offset));
            return Promise.reject(new Error('no'));
          }
          return history.handle(batch);
        },
      });
      await eventually(() => expect(history.count()).toBe(20));
      expect(new Set(failed).size).toBe(failed.length / 3);
      expect(history.problems()).toEqual([]);
      expect(history.repeated()).toBe(0); // a batch that failed was not handled, so nothing was handled twice
    });

    it('shares the partitions evenly', async () => {
      const topic = await newTopic(6);
      const group = randomUUID();
      const seen = [new Set<number>(), new Set<number>(), new Set<number>()];
      for (const set of seen)
        await subscribe(await openClient(), {
          group,
          topics: [topic],
          handle: (batch) => Promise.resolve(void set.add(batch.partition)),
        });
      await eventually(async () => {
        for (const set of seen) set.clear();
        await appendNumbers(log, topic, 0, 100, 100);
        await untilHandled(group, topic);
        expect(seen.map((set) => set.size)).toEqual([2, 2, 2]);
        expect(new Set(seen.flatMap((set) => [...set])).size).toBe(6);
      });
    });

    it('loses nothing and keeps the order while members join and leave under load', async () => {
      const topic = await newTopic(6);
      const group = randomUUID();
      const history = newHistory();
      const join = async () =>
        subscribe(await openClient(), {
          group,
          topics: [topic],
          handle: history.handle,
          maxRecords: 20,
          concurrency: 2,
        });
      const members = [await join()];
      let writing = true;
      let written = 0;
      const load = (async () => {
        while (writing) {
          await appendNumbers(log, topic, written, written + 40, 20);
          written += 40;
        }
      })();
      for (let step = 0; step < 6; step += 1) {
        const before = history.count();
        if (step % 3 < 2) members.push(await join());
        else await members.shift()!.close();
        await eventually(() => expect(history.count()).toBeGreaterThan(before + 2_000));
      }
      writing = false;
      await load;
      await untilHandled(group, topic);
      expect(history.count()).toBe(written);
      expect(history.problems()).toEqual([]);
    });

    it('hands partitions over at once when a member closes', async () => {
      const topic = await newTopic(2);
      const group = randomUUID();
      const first = newHistory();
      const second = newHistory();
      const leaving = await (await openClient()).subscribe({ group, topics: [topic], handle: first.handle });
      await appendNumbers(log, topic, 0, 10);
      await untilHandled(group, topic);
      await subscribe(log, { group, topics: [topic], handle: second.handle });
      await leaving.close();
      const closed = performance.now();
      await appendNumbers(log, topic, 10, 20);
      await untilHandled(group, topic);
      expect(performance.now() - closed).toBeLessThan(under.memberTtlMs / 2);
      expect(first.count() + second.count()).toBe(20);
      expect(second.count()).toBeGreaterThanOrEqual(10);
    });

    it('gives the partitions of a frozen member to others and refuses its late commit', async () => {
      const topic = await newTopic(1);
      const group = randomUUID();
      await appendNumbers(log, topic, 0, 10);
      const zombie = await openFreezable();
      let batch: Batch | undefined;
      await subscribe(zombie.log, {
        group,
        topics: [topic],
        handle: (got) => {
          batch ??= got;
          if (batch === got) zombie.freeze(); // between the effect and the commit
          return Promise.resolve();
        },
      });
      await eventually(() => expect(batch).toBeDefined());
      let taken = false;
      const gate = newGate();
      const history = newHistory();
      await subscribe(await openClient(), {
        group,
        topics: [topic],
        handle: async (got) => {
          taken = true;
          await gate.opened;
          await history.handle(got);
        },
      });
      await eventually(() => expect(taken).toBe(true), under.memberTtlMs * 3 + 10_000);
      zombie.thaw();
      await eventually(() => expect(batch!.signal.aborted).toBe(true));
      expect((await committedAndEnd(group, topic)).committed).toBe(0n);
      gate.open();
      await untilHandled(group, topic);
      expect(history.count()).toBe(10);
    });

    it('takes the partitions from a member whose handler hangs, and lets it join again', async () => {
      const topic = await newTopic(2);
      const group = randomUUID();
      await appendNumbers(log, topic, 0, 10, 10);
      let hung: Batch | undefined;
      const gate = newGate();
      const late = newHistory();
      const slow = await subscribe(await openClient(), {
        group,
        topics: [topic],
        handleTimeoutMs: 500,
        handle: async (batch) => {
          if (!hung) {
            hung = batch;
            await gate.opened;
          } else await late.handle(batch);
        },
      });
      await eventually(() => expect(hung).toBeDefined());
      const history = newHistory();
      const other = await (await openClient()).subscribe({ group, topics: [topic], handle: history.handle });
      await untilHandled(group, topic);
      expect(history.count() + late.count()).toBeGreaterThanOrEqual(10);
      expect(hung!.signal.aborted).toBe(true);
      await eventually(() => expect(slow.fatal()).toContain('has not returned'));
      gate.open();
      await other.close();
      await appendNumbers(log, topic, 10, 20, 10);
      await untilHandled(group, topic);
      expect(late.count()).toBeGreaterThanOrEqual(10);
      expect(slow.fatal()).toBeUndefined();
    });

    it('resets the offsets of a group that does not run, and only of such a one', async () => {
      const topic = await newTopic(2);
      const group = randomUUID();
      await appendNumbers(log, topic, 0, 40, 8);
      const read = async () => {
        const history = newHistory();
        const member = await log.subscribe({ group, topics: [topic], handle: history.handle });
        try {
          await untilHandled(group, topic);
          await expect(log.resetOffsets(group, topic, 'start')).rejects.toMatchObject({
            code: 'GROUP_RUNNING',
          });
          await expect(log.deleteGroup(group)).rejects.toMatchObject({ code: 'GROUP_RUNNING' });
        } finally {
          await member.close();
        }
        return history.count();
      };
      expect(await read()).toBe(40);
      expect(await read()).toBe(0);
      await log.resetOffsets(group, topic, 'start');
      expect(await read()).toBe(40);
      const [first, second] = await log.positions(group, [topic]);
      await log.resetOffsets(group, topic, new Map([[first!.partition, first!.end - 3n]]));
      expect(await read()).toBe(3);
      expect((await log.positions(group, [topic]))[1]).toEqual(second);
      await log.deleteGroup(group);
      expect((await committedAndEnd(group, topic)).committed).toBe(0n);
      await log.resetOffsets(group, topic, 'end');
      expect(await read()).toBe(0);
    });

    it('tells a writer how far the reader is that is furthest ahead, whichever version of it that is', async () => {
      const topic = await newTopic(3);
      const prefix = `reader-${randomUUID()}.`;
      await appendNumbers(log, topic, 0, 30, 10);
      expect(await lagOf(log, prefix, [topic])).toBe(0);
      const gate = newGate();
      await subscribe(log, { group: `${prefix}v2`, topics: [topic], handle: () => gate.opened });
      await eventually(async () => expect(await lagOf(log, prefix, [topic])).toBe(30));
      const ready = await log.subscribe({
        group: `${prefix}v1`,
        topics: [topic],
        handle: () => Promise.resolve(),
      });
      running.push(ready);
      await eventually(async () => expect(await lagOf(log, prefix, [topic])).toBe(0));
      expect(await log.groups(prefix)).toEqual([`${prefix}v1`, `${prefix}v2`]);
      await ready.close();
      await appendNumbers(log, topic, 30, 35, 10);
      expect(await lagOf(log, prefix, [topic])).toBe(5);
    });

    it('starts where the reader says, whatever the group had committed', async () => {
      const topic = await newTopic(1);
      await appendNumbers(log, topic, 0, 10);
      const seen: bigint[] = [];
      await subscribe(log, {
        group: randomUUID(),
        topics: [topic],
        startAt: () => Promise.resolve(7n),
        handle: (batch) => Promise.resolve(void seen.push(...batch.records.map((record) => record.offset))),
      });
      await eventually(() => expect(seen).toEqual([7n, 8n, 9n]));
    });

    it('reports how fresh a reader is, also while nothing arrives', async () => {
      const topic = await newTopic(2);
      const group = randomUUID();
      const handled = new Map<number, number>();
      const reports: Array<{ partition: number; atMs: number; handledUpToMs: number }> = [];
      await subscribe(log, {
        group,
        topics: [topic],
        handle: (batch) =>
          Promise.resolve(void handled.set(batch.partition, batch.records.at(-1)!.appendedAtMs)),
        onCaughtUp: (_, partition, atMs) =>
          void reports.push({ partition, atMs, handledUpToMs: handled.get(partition) ?? 0 }),
      });
      await appendNumbers(log, topic, 0, 20, 10);
      await untilHandled(group, topic);
      const since = Math.max(...handled.values());
      await eventually(() => {
        for (const partition of [0, 1])
          expect(
            reports.filter((each) => each.partition === partition && each.atMs > since).length,
          ).toBeGreaterThan(1);
      });
      for (const partition of [0, 1]) {
        const times = reports.filter((each) => each.partition === partition).map((each) => each.atMs);
        expect(times).toEqual([...times].sort((a, b) => a - b));
      }
    });

    describe.each(['event by event', 'by batch'])('with consumeEvents, %s', (mode) => {
      const event = (key: string, number: number): CloudEvent => ({
        specversion: '1.0',
        id: randomUUID(),
        source: '/test',
        type: 'test.counted',
        subject: `thing/${key}`,
        time: new Date(0).toISOString(),
        aggregateversion: number,
        data: { number },
      });
      const appendEvents = (topic: string, keys: string[], from: number, to: number) =>
        log.append(
          Array.from({ length: to - from }, (_, n) =>
            keys.map((key) => ({ topic, key, value: JSON.stringify(event(key, from + n)) })),
          ).flat(),
        );
      const effectsOf = async (group: string) => {
        const rows = await reader.db.rows<{ key: string; number: number }>(
          sql('test.effectsOf')`select key, number from effects where key like ${`${group}/%`} order by id`,
        );
        const byKey: Record<string, number[]> = {};
        for (const row of rows) (byKey[row.key.slice(group.length + 1)] ??= []).push(row.number);
        return byKey;
      };
      const consume = async (
        client: EventLog,
        group: string,
        topic: string,
        check: (received: CloudEvent) => void | Promise<void> = () => undefined,
        maxRecords = 500,
        db: Database = reader.db,
      ) => {
        const applyBatch: NonNullable<ConsumerOptions<CloudEvent>['applyBatch']> = async (tx, received) => {
          const keys = received.map(({ key }) => `${group}/${key}`);
          const effects = received.map(({ event: { data } }) => (data as { number: number }).number);
          await tx.execute(sql('test.effect')`
            insert into effects (key, number)
            select key, number from unnest(${keys}::text[], ${effects}::int[]) with ordinality as e (key, number, n) order by n`);
          for (const each of received) await check(each.event);
        };
        const consumer = await consumeEvents({
          log: client,
          db,
          group,
          topics: [topic],
          logger: silentLogger,
          maxRecords,
          apply: (tx, received) => applyBatch(tx, [received]),
          ...(mode === 'by batch' ? { applyBatch } : {}),
        });
        running.push(consumer);
        return consumer;
      };
      const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

      it('applies every event once, also when the group is set back to the start', async () => {
        const topic = await newTopic();
        const group = randomUUID();
        await appendEvents(topic, ['a', 'b', 'c'], 1, 51);
        const consumer = await consume(log, group, topic);
        await untilHandled(group, topic);
        await consumer.close();
        await log.resetOffsets(group, topic, 'start');
        await consume(log, group, topic);
        await appendEvents(topic, ['a', 'b', 'c'], 51, 61);
        await untilHandled(group, topic);
        expect(await effectsOf(group)).toEqual({ a: numbers(1, 61), b: numbers(1, 61), c: numbers(1, 61) });
      });

      it('applies every event once while members join and leave', async () => {
        const topic = await newTopic(6);
        const group = randomUUID();
        const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
        await consume(await openClient(), group, topic, undefined, 10);
        for (let step = 0; step < 5; step += 1) {
          const member = await consume(await openClient(), group, topic, undefined, 10);
          await appendEvents(topic, keys, 1 + step * 50, 51 + step * 50);
          if (step % 2 === 0) await member.close();
        }
        await untilHandled(group, topic);
        expect(await effectsOf(group)).toEqual(Object.fromEntries(keys.map((key) => [key, numbers(1, 251)])));
      });

      it('applies every event once when a frozen member finishes under its successor', async () => {
        const topic = await newTopic(1);
        const group = randomUUID();
        await appendEvents(topic, ['a', 'b'], 1, 4);
        const zombie = await openFreezable();
        const gate = newGate();
        let frozen = false;
        await consume(zombie.log, group, topic, async () => {
          if (frozen) return;
          frozen = true;
          zombie.freeze(); // in the middle of its transaction
          await gate.opened;
        });
        await eventually(() => expect(frozen).toBe(true));
        let tried = false;
        const noting: Database = {
          ...reader.db,
          transaction: (work, options) =>
            reader.db.transaction(
              (tx) =>
                work({
                  ...tx,
                  row: (statement) => {
                    tried ||= statement.name === 'inbox.lockOffset';
                    return tx.row(statement);
                  },
                }),
              options,
            ),
        };
        await consume(await openClient(), group, topic, undefined, 500, noting);
        await eventually(() => expect(tried).toBe(true), under.memberTtlMs * 3 + 10_000);
        gate.open();
        zombie.thaw();
        await untilHandled(group, topic);
        expect(await effectsOf(group)).toEqual({ a: numbers(1, 4), b: numbers(1, 4) });
      });

      it('brings a batch again after a transient fault, with no effect of the failed try', async () => {
        const topic = await newTopic(1);
        const group = randomUUID();
        await appendEvents(topic, ['a', 'b'], 1, 6);
        let failures = 2;
        await consume(log, group, topic, ({ data }) => {
          if ((data as { number: number }).number === 3 && failures > 0) {
            failures -= 1;
            throw Object.assign(new Error('deadlock detected'), { code: '40P01' });
          }
        });
        await untilHandled(group, topic);
        expect(failures).toBe(0);
        expect(await effectsOf(group)).toEqual({ a: numbers(1, 6), b: numbers(1, 6) });
        expect(await listParked(reader.db, { group, limit: 10 })).toEqual([]);
      });

      it('parks the key of a poison event while others flow; requeued, its events apply in order', async () => {
        const topic = await newTopic(1);
        const group = randomUUID();
        let broken = true;
        await consume(log, group, topic, ({ subject, data }) => {
          if (broken && subject === 'thing/bad' && (data as { number: number }).number === 3)
            throw new TypeError('boom');
        });
        await appendEvents(topic, ['good', 'bad'], 1, 6);
        await untilHandled(group, topic);
        await appendEvents(topic, ['good', 'bad'], 6, 8); // a later batch waits behind the poison one too
        await untilHandled(group, topic);
        expect(await effectsOf(group)).toEqual({ good: numbers(1, 8), bad: [1, 2] });
        const [parked, ...more] = await listParked(reader.db, { group, limit: 10 });
        expect(more).toEqual([]);
        expect(parked).toMatchObject({
          group,
          topic,
          key: 'bad',
          error: 'boom',
          attempts: 1,
          waiting: 4,
          requeued: false,
        });

        expect(await requeueParked(reader.db, parked!.id)).toBe(true);
        await eventually(async () =>
          expect(await listParked(reader.db, { group, limit: 10 })).toMatchObject([
            { attempts: 2, requeued: false },
          ]),
        );
        broken = false;
        await requeueParked(reader.db, parked!.id);
        await appendEvents(topic, ['good', 'bad'], 8, 10);
        await eventually(async () =>
          expect(await effectsOf(group)).toEqual({ good: numbers(1, 10), bad: numbers(1, 10) }),
        );
        expect(await listParked(reader.db, { group, limit: 10 })).toEqual([]);
        expect(await requeueParked(reader.db, parked!.id)).toBe(false);
        await eventually(async () =>
          expect(await committedAndEnd('x', `${topic}.${group}.dlq`)).toMatchObject({ end: 1n }),
        );
      });

      it('drops a poison event on demand and applies those behind it', async () => {
        const topic = await newTopic(1);
        const group = randomUUID();
        await log.append([{ topic, key: 'bad', value: 'no JSON at all' }]);
        await appendEvents(topic, ['bad', 'good'], 1, 4);
        await consume(log, group, topic);
        await untilHandled(group, topic);
        expect(await effectsOf(group)).toEqual({ good: numbers(1, 4) });
        const [parked] = await listParked(reader.db, { group, limit: 10 });
        expect(parked).toMatchObject({ eventId: null, payload: 'no JSON at all', waiting: 3 });
        expect(await discardParked(reader.db, parked!.id)).toBe(true);
        await eventually(async () =>
          expect(await effectsOf(group)).toEqual({ good: numbers(1, 4), bad: numbers(1, 4) }),
        );
        expect(await discardParked(reader.db, parked!.id)).toBe(false);
      });
    });

    it(`reads ${MANY_EVENTS.toLocaleString('en')} events in bounded memory`, async () => {
      const topic = await newTopic(6);
      const value = 'x'.repeat(200);
      const batch = 1_000;
      for (let n = 0; n < MANY_EVENTS; n += batch)
        await log.append(
          Array.from({ length: batch }, (_, index) => ({ topic, key: String((n + index) % 5_000), value })),
        );
      const group = randomUUID();
      const next = new Map<number, bigint>();
      const gaps: string[] = [];
      let count = 0;
      let peak = 0;
      const before = heapNow();
      await subscribe(log, {
        group,
        topics: [topic],
        concurrency: 2,
        handle: ({ partition, records }) => {
          for (const record of records) {
            if (record.offset !== (next.get(partition) ?? 0n)) gaps.push(`${partition}/${record.offset}`);
            next.set(partition, record.offset + 1n);
          }
          count += records.length;
          if (count % 100_000 < records.length) peak = Math.max(peak, heapNow() - before);
          return Promise.resolve();
        },
      });
      await eventually(() => expect(count).toBe(MANY_EVENTS), 200_000);
      expect(gaps).toEqual([]);
      expect(peak / 1e6).toBeLessThan(10);
    }, 400_000);
  });
}

/** Bytes in use after a full collection. */
function heapNow(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

/** Notes what was handled and finds what must not be: gaps, and records of a key out of order. */
function newHistory() {
  const byPartition = new Map<number, LogRecord[]>();
  return {
    handle: ({ partition, records }: Batch) => {
      const seen = byPartition.get(partition) ?? [];
      byPartition.set(partition, seen);
      seen.push(...records);
      return Promise.resolve();
    },
    count: () =>
      [...byPartition.values()].reduce(
        (sum, seen) => sum + new Set(seen.map((record) => record.offset)).size,
        0,
      ),
    repeated: () =>
      [...byPartition.values()].reduce(
        (sum, seen) => sum + seen.length - new Set(seen.map((record) => record.offset)).size,
        0,
      ),
    partitionsOfKeys: () => {
      const partitions = new Map<string, Set<number>>();
      for (const [partition, seen] of byPartition)
        for (const { key } of seen) partitions.set(key, (partitions.get(key) ?? new Set()).add(partition));
      return [...partitions.values()];
    },
    problems: () => {
      const problems: string[] = [];
      for (const [partition, seen] of byPartition) {
        const offsets = [...new Set(seen.map((record) => record.offset))];
        if (new Set(seen.map((record) => `${record.offset} ${record.value}`)).size > offsets.length)
          problems.push(`partition ${partition}: two records with one offset`);
        // First sights come in order and without a gap: a repetition may follow, a later record may not come before.
        offsets.forEach((offset, index) => {
          if (index > 0 && offset !== offsets[index - 1]! + 1n)
            problems.push(`partition ${partition}: ${offset} after ${offsets[index - 1]}`);
        });
        const last = new Map<string, number>();
        const first = [...new Map(seen.map((record) => [record.offset, record])).values()];
        for (const { key, value } of first) {
          const [writer, number] = value.split(':');
          const name = `${key}/${writer}`;
          if (Number(number) <= (last.get(name) ?? -1))
            problems.push(`key ${key}: ${value} after ${last.get(name)}`);
          last.set(name, Number(number));
        }
      }
      return problems;
    },
  };
}
