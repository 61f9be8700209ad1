import { sql, sqlState, type Database, type Tx } from '@headroom/postgres';
import { Fault, startPoller } from '@headroom/resilience';
import { counter, inSpan, isRecorded, untraced, type Logger } from '@headroom/telemetry';
import type { Batch, EventLog, LogRecord, Subscription, TopicSpec } from './event-log';
import { applyRequeued, copyParked, park, type ParkedRecord } from './parked';

/** The members of a CloudEvent (structured JSON) that every event here has; `data` is for the consumer's contract to type. */
export interface CloudEvent {
  specversion: '1.0';
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  traceparent?: string;
  aggregateversion?: number;
  data: unknown;
}

/** An event with its place in the log. */
export interface ReceivedEvent<E = CloudEvent> {
  topic: string;
  partition: number;
  offset: bigint;
  key: string;
  /** When the log got it, milliseconds since the Unix epoch by the log's clock. */
  appendedAtMs: number;
  event: E;
}

export interface ConsumerOptions<E> {
  log: EventLog;
  /** The consumer's own database, with the tables of `messagingMigrations('inbox')`. */
  db: Database;
  group: string;
  /** Names, or specs of topics that are made if no producer has done so yet. */
  topics: readonly (string | TopicSpec)[];
  logger: Logger;
  /**
   * The effects of one event, in the transaction that also moves the offset: each event takes effect exactly once. May run
   * again after a rollback, so nothing but `tx` may be changed. Throwing a transient fault (`unavailable`, `overloaded`,
   * `timeout`, a lost connection, a conflict) brings the whole batch again; any other error parks the event's key.
   */
  apply: (tx: Tx, received: ReceivedEvent<E>) => Promise<void>;
  /**
   * Optional, for speed: what `apply` does, for several events of one partition in the order of the log. When it throws anything
   * but a transient fault, `apply` is called for each of them, so that only the keys of poison events are parked.
   */
  applyBatch?: (tx: Tx, received: ReadonlyArray<ReceivedEvent<E>>) => Promise<void>;
  /** Largest number of events in one transaction, default 500. */
  maxRecords?: number;
  /** Partitions handled at once, default 1. */
  concurrency?: number;
  /** See ConsumeOptions.onCaughtUp; parked events count as handled. */
  onCaughtUp?: (topic: string, partition: number, atMs: number) => void;
}

export interface Consumer {
  /** A reason why only a restart can help, for `/livez`. */
  fatal(): string | undefined;
  /** Lets the batches under way commit and gives the partitions up at once. */
  close(): Promise<void>;
}

const countApplied = counter({
  name: 'events_applied_total',
  help: 'Events whose effects were committed',
  labels: ['group', 'topic'],
});
const countParked = counter({
  name: 'events_parked_total',
  help: 'Events that could not be applied, or wait behind one of their key',
  labels: ['group', 'topic'],
});

const CHORES_MS = 1_000;

/**
 * Applies the events of a group to the consumer's own database. One transaction per batch holds the offset and the effects, and
 * where a partition starts is read from there too: the log's own group offset is only a hint, and a redelivered or repeated
 * batch changes nothing. Records of one key are applied in order. An event that cannot be applied parks its key: it and all
 * later ones of the key are kept in `parked_events` until requeued or discarded (parked.ts), the other keys flow on.
 */
export async function consumeEvents<E = CloudEvent>(options: ConsumerOptions<E>): Promise<Consumer> {
  const { log, db, group, logger } = options;
  const topics = options.topics.map((topic) => (typeof topic === 'string' ? topic : topic.name));
  const specs = options.topics.filter((topic) => typeof topic !== 'string');

  const inEventSpan = <T>(record: LogRecord, event: CloudEvent, work: () => Promise<T>): Promise<T> =>
    inSpan(
      `consume ${event.type}`,
      {
        kind: 'consumer',
        traceparent: record.headers['traceparent'] ?? event.traceparent,
        attributes: {
          'messaging.destination.name': record.topic,
          'messaging.consumer.group.name': group,
          'messaging.message.id': event.id,
        },
      },
      work,
    );
  const receivedOf = (record: LogRecord, event: CloudEvent): ReceivedEvent<E> => ({
    topic: record.topic,
    partition: record.partition,
    offset: record.offset,
    key: record.key,
    appendedAtMs: record.appendedAtMs,
    event: event as E,
  });
  const applyOne = (tx: Tx, record: LogRecord): Promise<void> => {
    const event = parseEvent(record.value);
    return inEventSpan(record, event, () => options.apply(tx, receivedOf(record, event)));
  };
  const applyAll = async (tx: Tx, records: readonly LogRecord[]): Promise<void> => {
    const { applyBatch } = options;
    if (!applyBatch || records.length < 2) {
      for (const record of records) await applyOne(tx, record);
      return;
    }
    const events = records.map((record) => ({ record, event: parseEvent(record.value) }));
    let settle!: (result: Promise<void>) => void;
    const applied = new Promise<void>((resolve) => (settle = resolve));
    // Every event that is part of a recorded trace has its span there, which lasts as long as the batch.
    const spans = events.map(({ record, event }) =>
      isRecorded(record.headers['traceparent'] ?? event.traceparent)
        ? inEventSpan(record, event, () => applied)
        : applied,
    );
    settle(
      Promise.resolve().then(() =>
        applyBatch(
          tx,
          events.map(({ record, event }) => receivedOf(record, event)),
        ),
      ),
    );
    const [result] = await Promise.allSettled([applied, ...spans]);
    if (result!.status === 'rejected') throw result!.reason;
  };

  /**
   * One batch in one transaction. Carefully: every event behind a savepoint, so that a poison one can be told from the rest and
   * parked; else all at once, which is fast and enough as long as nothing is wrong.
   */
  const applyBatch = (batch: Batch, carefully: boolean) =>
    db.transaction(async (tx) => {
      const next = await lockOffset(tx, group, batch.topic, batch.partition);
      const records = batch.records.filter((record) => record.offset >= next);
      const last = records.at(-1);
      if (!last) return { applied: 0, parked: [] as ParkedRecord[] };
      const parkedKeys = await lockParkedKeys(tx, group, batch.topic, records);
      const parked: ParkedRecord[] = [];
      if (!carefully)
        await applyAll(
          tx,
          records.filter(({ key }) => !parkedKeys.has(key)),
        );
      for (const record of records) {
        if (parkedKeys.has(record.key)) {
          parked.push({ record, error: undefined });
          continue;
        }
        if (!carefully) continue;
        const error = await tryApply(tx, () => applyOne(tx, record));
        if (error === undefined) continue;
        parkedKeys.add(record.key);
        parked.push({ record, error });
      }
      await park(tx, group, parked);
      await tx.execute(sql('inbox.advance')`
        update consumer_offsets set next_offset = ${last.offset + 1n}, updated_at = now()
        where group_name = ${group} and topic = ${batch.topic} and partition = ${batch.partition}`);
      return { applied: records.length - parked.length, parked };
    });

  const handle = async (batch: Batch) => {
    const result = await applyBatch(batch, false).catch((error: unknown) => {
      if (isTransient(error)) throw error;
      return applyBatch(batch, true);
    });
    countApplied({ group, topic: batch.topic }, result.applied);
    if (result.parked.length === 0) return;
    countParked({ group, topic: batch.topic }, result.parked.length);
    for (const { record, error } of result.parked)
      if (error !== undefined)
        logger.error('an event cannot be applied: its key is parked', {
          err: error,
          group,
          topic: record.topic,
          partition: record.partition,
          offset: String(record.offset),
          key: record.key,
        });
  };

  let topicsMade = specs.length === 0;
  const chores = startPoller({
    idleMs: CHORES_MS,
    onError: (error) => logger.warn('looking after parked events failed', { err: error, group }),
    round: () =>
      untraced(async () => {
        if (!topicsMade) await log.ensureTopics(specs);
        topicsMade = true;
        const copied = await copyParked(db, log, group);
        const applied = await applyRequeued(db, group, (tx, record) =>
          tryApply(tx, () => applyOne(tx, record)),
        );
        if (applied > 0) logger.info('requeued events were applied', { group, count: applied });
        return copied > 0 || applied > 0;
      }),
  });

  let subscription: Subscription;
  try {
    subscription = await log.subscribe({
      group,
      topics,
      handle,
      ...(options.maxRecords === undefined ? {} : { maxRecords: options.maxRecords }),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      ...(options.onCaughtUp ? { onCaughtUp: options.onCaughtUp } : {}),
      startAt: async (topic, partition) =>
        (
          await db.row<{ next_offset: bigint }>(sql('inbox.offset')`
            select next_offset from consumer_offsets
            where group_name = ${group} and topic = ${topic} and partition = ${partition}`)
        )?.next_offset,
    });
  } catch (error) {
    await chores.close();
    throw error;
  }
  return {
    fatal: () => subscription.fatal(),
    async close() {
      await subscription.close();
      await chores.close();
    },
  };
}

/**
 * Removes what a group has left in the consumer's database (offsets and parked events), e.g. after a view's version was
 * replaced by a newer one that another group built. Only for a group that no longer runs.
 */
export async function forgetGroup(db: Database, group: string): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.execute(sql('inbox.forgetEvents')`delete from parked_events where group_name = ${group}`);
    await tx.execute(sql('inbox.forgetKeys')`delete from parked_keys where group_name = ${group}`);
    await tx.execute(sql('inbox.forgetOffsets')`delete from consumer_offsets where group_name = ${group}`);
  });
}

/** The next offset to apply; the row's lock keeps a former owner of the partition out until this transaction ends. */
async function lockOffset(tx: Tx, group: string, topic: string, partition: number): Promise<bigint> {
  const row = await tx.row<{ next_offset: bigint }>(sql('inbox.lockOffset')`
    select next_offset from consumer_offsets
    where group_name = ${group} and topic = ${topic} and partition = ${partition} for update`);
  if (row) return row.next_offset;
  const made = await tx.row<{ next_offset: bigint }>(sql('inbox.addOffset')`
    insert into consumer_offsets as o (group_name, topic, partition, next_offset)
    values (${group}, ${topic}, ${partition}, 0)
    on conflict (group_name, topic, partition) do update set next_offset = o.next_offset
    returning next_offset`);
  return made!.next_offset;
}

/** Those keys of the records that are parked, locked so that none is released before this transaction ends. */
async function lockParkedKeys(
  tx: Tx,
  group: string,
  topic: string,
  records: readonly LogRecord[],
): Promise<Set<string>> {
  const keys = [...new Set(records.map((record) => record.key))];
  const rows = await tx.rows<{ key: string }>(sql('inbox.parkedKeys')`
    select key from parked_keys where group_name = ${group} and topic = ${topic} and key = any(${keys})
    order by key for share`);
  return new Set(rows.map((row) => row.key));
}

/** Runs `work` behind a savepoint: its error, undone, or undefined. Transient errors are thrown on. */
async function tryApply(tx: Tx, work: () => Promise<void>): Promise<unknown> {
  await tx.execute(sql('inbox.savepoint')`savepoint one_event`);
  try {
    await work();
    await tx.execute(sql('inbox.release')`release savepoint one_event`);
    return undefined;
  } catch (error) {
    if (isTransient(error)) throw error;
    await tx.execute(sql('inbox.rollback')`rollback to savepoint one_event`);
    return error ?? new Error('apply threw nothing');
  }
}

/** True where the same batch may succeed later: what is away or busy, a conflict with another transaction, a time-out. */
function isTransient(error: unknown): boolean {
  if (error instanceof Fault) return ['unavailable', 'overloaded', 'timeout'].includes(error.kind);
  const state = sqlState(error);
  // connection, rollback of a conflict, resources, operator intervention (a cancelled statement too), lock time-out
  return state !== undefined && (/^(08|40|53|57)/.test(state) || state === '55P03');
}

function parseEvent(value: string): CloudEvent {
  const event = JSON.parse(value) as Partial<CloudEvent> | null;
  if (
    event?.specversion !== '1.0' ||
    [event.id, event.source, event.type, event.subject].some((member) => typeof member !== 'string')
  )
    throw new Error('the record is no CloudEvent 1.0 with id, source, type and subject');
  return event as CloudEvent;
}
