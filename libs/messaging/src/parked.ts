import { countRows, sql, type Database, type ListTotal, type Queryable, type Tx } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import type { EventLog, LogRecord } from './event-log';

/** An event that could not be applied, as an operator sees it. */
export interface ParkedEvent {
  id: string;
  group: string;
  topic: string;
  key: string;
  /** Null when the record was no readable event. */
  eventId: string | null;
  eventType: string | null;
  error: string;
  /** How often it was tried. */
  attempts: number;
  failedAt: Date;
  /** True from a requeue until the consumer has tried again. */
  requeued: boolean;
  /** Later events of the key that wait behind this one. */
  waiting: number;
  /** The record's value as it came. */
  payload: string;
}

/** A record to be parked; without an error it only waits behind an earlier one of its key. */
export interface ParkedRecord {
  record: LogRecord;
  error: unknown;
}

interface ParkedRow {
  id: string;
  topic: string;
  key: string;
  partition: number;
  offset: bigint;
  appended_at: Date;
  value: string;
  headers: Record<string, string>;
}

/** The copies on the dead-letter topic are for people and alarms; the parked rows are what counts. */
const DEAD_LETTER_RETENTION_MS = 30 * 24 * 3_600_000;
/** Most events of one key that one transaction applies. */
const REQUEUE_BATCH = 200;

/**
 * Events that could not be applied in the consumer's database, by id, a UUIDv7 of when they were parked: newest first, after
 * `afterId` (empty: from the newest). Those that only wait behind them are counted, not listed. By the index on the ids of
 * events with an error.
 */
export async function listParked(
  db: Queryable,
  options: { group?: string; limit: number; afterId?: string },
): Promise<ParkedEvent[]> {
  const { group, limit, afterId } = options;
  const filters = [
    sql.part`e.error is not null`,
    ...(group === undefined ? [] : [sql.part`e.group_name = ${group}`]),
    ...(afterId ? [sql.part`e.id < ${afterId}::uuid`] : []),
  ];
  return db.rows<ParkedEvent>(sql('parked.list')`
    select e.id, e.group_name as "group", e.topic, e.key, e.event_id as "eventId", e.event_type as "eventType", e.error,
      e.attempts, e.failed_at as "failedAt", k.requeued_at is not null as requeued, e.value as payload,
      (select count(*)::int from parked_events w
       where w.group_name = e.group_name and w.topic = e.topic and w.key = e.key and w.record_offset > e.record_offset) as waiting
    from parked_events e join parked_keys k using (group_name, topic, key)
    where ${sql.and(filters)} order by e.id desc limit ${limit}`);
}

/** How many events `listParked` lists: exact up to 10,000, then an estimate. */
export const countParked = (db: Queryable): Promise<ListTotal> =>
  countRows(db, 'parked.list', sql.part`parked_events where error is not null`);

/**
 * The parked events of a consumer's database as dead letters: the members of operations.v1.DeadLetter, with what an operator
 * may do about them.
 */
export function parkedDeadLetters(db: Database) {
  return {
    /** Newest first by id, after `afterId` (empty or missing: from the newest). */
    async list(options: { limit: number; afterId?: string; includeTotal?: boolean | undefined }) {
      const { limit, afterId = '', includeTotal } = options;
      const events = await listParked(db, { limit: limit + 1, afterId });
      const total: Partial<ListTotal> = includeTotal ? await countParked(db) : {};
      return {
        deadLetters: events.slice(0, limit).map((event) => ({
          id: event.id,
          source: event.group,
          topic: event.topic,
          key: event.key,
          eventId: event.eventId ?? '',
          error: event.error,
          attempts: event.attempts,
          failedAt: event.failedAt.toISOString(),
          payload: event.payload,
        })),
        more: events.length > limit,
        ...total,
      };
    },
    requeue: (id: string) => requeueParked(db, id),
    discard: (id: string) => discardParked(db, id),
  };
}

/**
 * Asks the consumer to apply the event and those behind it again, in order, which it does within about a second; if one fails
 * again, it and the later ones stay. False when there is no such parked event.
 */
export async function requeueParked(db: Database, id: string): Promise<boolean> {
  const asked = await db.execute(sql('parked.requeue')`
    update parked_keys k set requeued_at = coalesce(k.requeued_at, now())
    from parked_events e
    where e.id = ${id} and e.error is not null
      and k.group_name = e.group_name and k.topic = e.topic and k.key = e.key`);
  return asked > 0;
}

/**
 * Drops the event for good; those behind it are then applied in order, as after a requeue. False when there is no such
 * parked event.
 */
export function discardParked(db: Database, id: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const key = await tx.row<{ group_name: string; topic: string; key: string }>(sql('parked.lockKeyOf')`
      select k.group_name, k.topic, k.key from parked_keys k
      join parked_events e on e.group_name = k.group_name and e.topic = k.topic and e.key = k.key
      where e.id = ${id} and e.error is not null for update of k`);
    if (!key) return false;
    const deleted = await tx.execute(sql('parked.discard')`delete from parked_events where id = ${id}`);
    if (deleted === 0) return false; // requeued and applied while this waited for the lock
    await tx.execute(sql('parked.requeueKey')`
      update parked_keys set requeued_at = coalesce(requeued_at, now())
      where group_name = ${key.group_name} and topic = ${key.topic} and key = ${key.key}`);
    return true;
  });
}

/** Stores records whose keys are parked, as part of the transaction that moves the offset behind them. */
export async function park(tx: Tx, group: string, parked: readonly ParkedRecord[]): Promise<void> {
  if (parked.length === 0) return;
  const topic = parked[0]!.record.topic;
  await tx.execute(sql('parked.addKeys')`
    insert into parked_keys (group_name, topic, key)
    select distinct ${group}, ${topic}, key from unnest(${parked.map(({ record }) => record.key)}::text[]) as k (key)
    on conflict do nothing`);
  for (const { record, error } of parked) {
    const event = readableMembers(record.value);
    await tx.execute(sql('parked.add')`
      insert into parked_events (id, group_name, topic, key, partition, record_offset, appended_at, value, headers, event_id,
                                 event_type, error, attempts, failed_at)
      values (${uuidv7()}, ${group}, ${topic}, ${record.key}, ${record.partition}, ${record.offset},
              ${new Date(record.appendedAtMs)}, ${record.value}, ${record.headers}, ${event.id}, ${event.type},
              ${error === undefined ? null : messageOf(error)}, ${error === undefined ? 0 : 1},
              ${error === undefined ? sql.part`null` : sql.part`clock_timestamp()`})`);
  }
}

/**
 * Applies the parked events of keys that were requeued, each key in order and behind its row's lock, so that events that
 * arrive meanwhile either wait behind them or come after. Returns how many were applied.
 */
export async function applyRequeued(
  db: Database,
  group: string,
  tryApply: (tx: Tx, record: LogRecord) => Promise<unknown>,
): Promise<number> {
  let applied = 0;
  for (;;) {
    const result = await db.transaction(async (tx) => {
      const key = await tx.row<{ topic: string; key: string }>(sql('parked.nextKey')`
        select topic, key from parked_keys where group_name = ${group} and requeued_at is not null
        order by requeued_at limit 1 for update skip locked`);
      if (!key) return undefined;
      const rows = await tx.rows<ParkedRow>(sql('parked.eventsOfKey')`
        select id, topic, key, partition, record_offset as offset, appended_at, value, headers from parked_events
        where group_name = ${group} and topic = ${key.topic} and key = ${key.key}
        order by record_offset limit ${REQUEUE_BATCH}`);
      const done: string[] = [];
      let failed = false;
      for (const row of rows) {
        const error = await tryApply(tx, { ...row, appendedAtMs: row.appended_at.getTime() });
        if (error === undefined) {
          done.push(row.id);
          continue;
        }
        failed = true;
        await tx.execute(sql('parked.failedAgain')`
          update parked_events set error = ${messageOf(error)}, attempts = attempts + 1, failed_at = clock_timestamp()
          where id = ${row.id}`);
        break;
      }
      await tx.execute(sql('parked.applied')`delete from parked_events where id = any(${done})`);
      if (failed)
        await tx.execute(sql('parked.stays')`
          update parked_keys set requeued_at = null
          where group_name = ${group} and topic = ${key.topic} and key = ${key.key}`);
      else if (rows.length < REQUEUE_BATCH)
        await tx.execute(sql('parked.release')`
          delete from parked_keys where group_name = ${group} and topic = ${key.topic} and key = ${key.key}`);
      return done.length;
    });
    if (result === undefined) return applied;
    applied += result;
  }
}

/** Copies events that failed to `<topic>.<group>.dlq`, at least once each. Returns how many were copied. */
export async function copyParked(db: Database, log: EventLog, group: string): Promise<number> {
  const rows = await db.rows<ParkedRow & { error: string }>(sql('parked.uncopied')`
    select id, topic, key, partition, record_offset as offset, appended_at, value, headers, error from parked_events
    where group_name = ${group} and error is not null and copied_at is null order by failed_at limit 100`);
  if (rows.length === 0) return 0;
  const nameOf = (topic: string) => `${topic}.${group}.dlq`;
  const topics = [...new Set(rows.map((row) => nameOf(row.topic)))];
  await log.ensureTopics(
    topics.map((name) => ({ name, partitions: 1, retentionMs: DEAD_LETTER_RETENTION_MS })),
  );
  await log.append(
    rows.map((row) => ({
      topic: nameOf(row.topic),
      key: row.key,
      value: row.value,
      headers: {
        ...row.headers,
        error: row.error,
        partition: String(row.partition),
        offset: String(row.offset),
      },
    })),
  );
  await db.execute(sql('parked.copied')`
    update parked_events set copied_at = now() where id = any(${rows.map((row) => row.id)})`);
  return rows.length;
}

function readableMembers(value: string): { id: string | null; type: string | null } {
  try {
    const event = JSON.parse(value) as { id?: unknown; type?: unknown } | null;
    return {
      id: typeof event?.id === 'string' ? event.id : null,
      type: typeof event?.type === 'string' ? event.type : null,
    };
  } catch {
    return { id: null, type: null };
  }
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 1_000);
}
