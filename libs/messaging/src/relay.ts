import { sql, type Database } from '@headroom/postgres';
import { startPoller, systemClock, type Clock } from '@headroom/resilience';
import {
  counter,
  currentTraceparent,
  gauge,
  inSpan,
  isRecorded,
  untraced,
  type Logger,
} from '@headroom/telemetry';
import type { EventLog, OutgoingRecord, TopicSpec } from './event-log';
import { holdLeases, type Lease } from './leases';
import { OUTBOX_SHARDS } from './outbox';

const countPublished = counter({
  name: 'outbox_published_total',
  help: 'Events that the log has confirmed',
  labels: ['outbox', 'topic'],
});
const setUnpublished = gauge({
  name: 'outbox_unpublished',
  help: 'Events committed and not published yet (at most 10,000 are counted)',
  labels: ['outbox'],
});
const setOldest = gauge({
  name: 'outbox_oldest_seconds',
  help: 'Age of the oldest event that is not published yet',
  labels: ['outbox'],
});

const IDLE_MS = 150;
/** A batch ends at whichever comes first: so many events, or so many bytes as stored. */
const BATCH = 500;
const BATCH_BYTES = 4_000_000;
const MEASURE_MS = 5_000;

export interface RelayOptions {
  /** The database that holds the outbox. */
  db: Database;
  log: EventLog;
  /** Topics that the events go to; made before the first event is published. */
  topics: readonly TopicSpec[];
  logger: Logger;
  /** Of the outbox, for metrics: a service with several databases has several. */
  name: string;
  clock?: Clock;
  /** Silence after which another relay takes this one's shards, default 5,000 ms. */
  leaseMs?: number;
}

export interface Relay {
  /** Publishes now instead of at the next look; called after a commit that wrote events. */
  wake(): void;
  /** Age in milliseconds of the oldest unpublished event, measured every 5 s; 0 when there is none. */
  oldestUnpublishedMs(): number;
  /** Lets the batch under way end and hands the shards over at once. */
  close(): Promise<void>;
}

interface OutboxRow {
  id: bigint;
  shard: number;
  topic: string;
  key: string;
  event: string;
  id_of_event: string | null;
  type: string | null;
  traceparent: string | null;
}

/**
 * Publishes the outbox: rows of the shards that this process holds, in the order of their ids, at least once, in order per
 * key. Rows are read ("unpublished, oldest first"; a cursor would miss ids that commit late), appended, and only then deleted,
 * if the shards are still held in the same epoch; a batch that failed is sent again whole. A relay that freezes between
 * reading and appending may repeat events that its successor has published: consumers skip what they have applied.
 */
export function startRelay(options: RelayOptions): Relay {
  const { db, log, logger, name, clock = systemClock } = options;
  let topicsMade = false;
  let publishing: Promise<unknown> = Promise.resolve();
  let oldestMs = 0;

  const shards = holdLeases({
    db,
    tables: 'outbox',
    scope: 'relay',
    kinds: ['shard'],
    items: () =>
      Promise.resolve(Array.from({ length: OUTBOX_SHARDS }, (_, number) => ({ kind: 'shard', number }))),
    gained: () => poller.kick(),
    drain: async () => {
      await publishing;
    },
    lost: () => undefined,
    logger,
    ...(options.leaseMs === undefined ? {} : { ttlMs: options.leaseMs }),
  });

  /** Reads, appends and deletes one batch; its size. */
  const publishBatch = async (held: readonly Lease[]): Promise<number> => {
    const rows = await db.rows<OutboxRow>(sql('outbox.read')`
      select id, shard, topic, key, event::text as event, event->>'id' as id_of_event, event->>'type' as type,
        event->>'traceparent' as traceparent
      from (
        select *, sum(pg_column_size(event)) over (order by id) - pg_column_size(event) as bytes_before
        from outbox where shard = any(${held.map((lease) => lease.number)}) order by id limit ${BATCH}
      ) as o
      where bytes_before < ${BATCH_BYTES} order by id`);
    if (rows.length === 0) return 0;
    const still = new Set(shards.held().map((lease) => `${lease.number}/${lease.epoch}`));
    if (!held.every((lease) => still.has(`${lease.number}/${lease.epoch}`))) return rows.length;
    await publish(log, rows);
    const deleted = await db.execute(sql('outbox.delete')`
      with mine as (
        select l.number from outbox_leases l
        join unnest(${held.map((lease) => lease.number)}::int[], ${held.map((lease) => lease.epoch)}::bigint[]) as h (number, epoch)
          on l.number = h.number and l.epoch = h.epoch
        where l.scope = 'relay' and l.kind = 'shard' and l.owner = ${held[0]!.owner}
        order by l.number for share of l
      )
      delete from outbox where id = any(${rows.map((row) => row.id)}) and shard in (select number from mine)`);
    if (deleted < rows.length)
      logger.warn('shards were taken over while a batch was published', {
        name,
        count: rows.length - deleted,
      });
    for (const row of rows) countPublished({ outbox: name, topic: row.topic });
    return rows.length;
  };

  const poller = startPoller({
    idleMs: IDLE_MS,
    clock,
    onError: (error) => logger.warn('publishing failed: the batch will be sent again', { err: error, name }),
    round: () =>
      untraced(async () => {
        const held = shards.held();
        if (held.length === 0) return false;
        if (!topicsMade) {
          await log.ensureTopics(options.topics);
          topicsMade = true;
        }
        const work = publishBatch(held);
        publishing = work.catch(() => undefined);
        return (await work) > 0;
      }),
  });

  const gaugePoller = startPoller({
    idleMs: MEASURE_MS,
    clock,
    onError: (error) => logger.debug('measuring the outbox failed', { err: error, name }),
    round: () =>
      untraced(async () => {
        const row = await db.row<{ count: bigint; oldest_ms: number | null }>(sql('outbox.measure')`
          select count(*) as count, extract(epoch from clock_timestamp() - min(created_at))::float8 * 1000 as oldest_ms
          from (select created_at from outbox order by id limit 10000) as waiting`);
        oldestMs = Math.max(0, Math.round(row?.oldest_ms ?? 0));
        setUnpublished({ outbox: name }, Number(row?.count ?? 0n));
        setOldest({ outbox: name }, oldestMs / 1_000);
        return false;
      }),
  });

  return {
    wake: () => poller.kick(),
    oldestUnpublishedMs: () => oldestMs,
    async close() {
      await gaugePoller.close();
      await poller.close();
      await shards.close();
    },
  };
}

/** Appends the rows as one batch; every event of a recorded trace gets a span of its own, whose id travels on in the record. */
async function publish(log: EventLog, rows: readonly OutboxRow[]): Promise<void> {
  const records: OutgoingRecord[] = rows.map((row) => ({
    topic: row.topic,
    key: row.key,
    value: row.event,
    headers: {
      'content-type': 'application/cloudevents+json',
      ...(row.type ? { ce_type: row.type } : {}),
      ...(row.traceparent ? { traceparent: row.traceparent } : {}),
    },
  }));
  let settle!: (result: Promise<void>) => void;
  const appended = new Promise<void>((resolve) => (settle = resolve));
  const spans = rows.map((row, index) => {
    const { traceparent } = row;
    if (!isRecorded(traceparent)) return Promise.resolve();
    return inSpan(
      'outbox publish',
      {
        kind: 'producer',
        traceparent,
        attributes: {
          'messaging.destination.name': row.topic,
          'messaging.message.id': row.id_of_event ?? '',
          'cloudevents.event_type': row.type ?? '',
        },
      },
      () => {
        records[index]!.headers!['traceparent'] = currentTraceparent() ?? traceparent;
        return appended;
      },
    );
  });
  settle(log.append(records));
  await Promise.all([appended, ...spans]);
}
