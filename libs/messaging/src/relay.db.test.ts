import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import {
  consumeEvents,
  messagingMigrations,
  openEventLog,
  startRelay,
  writeOutbox,
  type EventLog,
} from './index';

let service: TestDatabase;
let events: TestDatabase;
let log: EventLog;
beforeAll(async () => {
  service = await createTestDatabase(messagingMigrations('outbox'), messagingMigrations('inbox'));
  events = await createTestDatabase(messagingMigrations('event-log'));
  log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
});
afterAll(async () => {
  await log.close();
  await events.drop();
  await service.drop();
});

it('carries an event from the outbox to a consumer', async () => {
  const topic = { name: 'things.v1', partitions: 3, retentionMs: undefined };
  const relay = startRelay({ db: service.db, log, topics: [topic], logger: silentLogger, name: 'test' });
  const seen: string[] = [];
  const consumer = await consumeEvents({
    log,
    db: service.db,
    group: 'readers',
    topics: [topic],
    logger: silentLogger,
    apply: async (tx, { event }) => {
      await tx.rows(sql('test.one')`select 1`);
      seen.push(event.id);
    },
  });
  const id = uuidv7();
  await service.db.transaction((tx) =>
    writeOutbox(
      tx,
      [
        {
          topic: 'things.v1',
          key: 'a',
          event: {
            specversion: '1.0',
            source: '/t',
            id,
            type: 't',
            subject: 'thing/a',
            aggregateversion: 1,
          } as never,
        },
      ],
      relay.wake,
    ),
  );
  await eventually(() => expect(seen).toEqual([id]));
  await eventually(async () =>
    expect(await service.db.rows(sql('test.outbox')`select * from outbox`)).toEqual([]),
  );
  await consumer.close();
  await relay.close();
});
