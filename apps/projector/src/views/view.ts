import type { DomainEvent, EventDataByType, EventType, OrderData } from '@headroom/contracts';
import type { TopicSpec } from '@headroom/messaging';
import type { Queryable, SqlPart, Statement, Tx } from '@headroom/postgres';

/** Events of one partition in the order of the log, to be applied to a view at once. */
export interface AppliedBatch {
  events: readonly DomainEvent[];
  /**
   * The partition of the topic that they came from. One consumer at a time applies a partition, so a counter row per
   * partition is never contended, whatever the number of consumers.
   */
  partition: number;
}

/**
 * A denormalized view: a pure function of the log's events, kept in one Postgres schema per version of it. Applying an
 * event twice, or one that is older than what is stored of its aggregate, changes nothing.
 */
export interface View {
  /** Of lower-case letters: it names schemas and consumer groups. */
  name: string;
  /** Raised with every change of the tables: a live version of another shape is rebuilt and not read. */
  shape: number;
  topics: readonly TopicSpec[];
  /** The subject kinds whose positions a reader may wait for, e.g. `product`. */
  subjects: readonly string[];
  /** Materialized views in the schema, each with a unique index, to be refreshed from time to time (reports.ts). */
  reports?: readonly string[];
  /** Makes the tables and indexes in an empty schema. */
  create(schema: SqlPart): Statement;
  /**
   * Applies events inside the transaction that also moves the consumer's offset, in a few statements however many they are. What
   * is stored afterwards does not depend on how the log was cut into batches.
   */
  apply(tx: Tx, schema: SqlPart, batch: AppliedBatch, nowMs: number): Promise<void>;
  /** Work that time rather than an event makes necessary, once a second; safe to run in several processes at once. */
  upkeep?(db: Queryable, schema: SqlPart, nowMs: number): Promise<void>;
  /** The versions stored of these subjects (`<kind>/<id>`); those never seen are left out. */
  appliedVersions(db: Queryable, schema: SqlPart, subjects: readonly string[]): Promise<Map<string, bigint>>;
}

type TypesUnder<P extends string> = Extract<EventType, `headroom.${P}${string}`>;

/** True for the events whose type starts with `headroom.<prefix>`; narrows the event's data. */
export function isUnder<P extends string>(
  event: DomainEvent,
  prefix: P,
): event is DomainEvent & { data: EventDataByType[TypesUnder<P>] } {
  return event.type.startsWith(`headroom.${prefix}`);
}

/**
 * The newest event of each subject: every event carries its aggregate's whole state, so that those before it in a batch
 * change nothing that would be seen.
 */
export function newestOf(events: readonly DomainEvent[]): DomainEvent[] {
  const newest = new Map<string, DomainEvent>();
  for (const event of events) {
    const known = newest.get(event.subject);
    if (!known || known.aggregateversion < event.aggregateversion) newest.set(event.subject, event);
  }
  return [...newest.values()];
}

/** The newest state of each order among the events, with its version. */
export const ordersOf = (events: readonly DomainEvent[]): Array<{ order: OrderData; version: number }> =>
  newestOf(events)
    .filter((event) => isUnder(event, 'order.'))
    .map((event) => ({ order: event.data, version: event.aggregateversion }));

/** Rows as the parameter of `json_to_recordset`: one statement and one parameter, whatever their number. */
export const jsonRows = (rows: readonly object[]): string =>
  JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));

/** The units of an order. */
export const unitsOf = (order: OrderData): bigint =>
  order.items.reduce((sum, item) => sum + BigInt(item.quantity), 0n);

/** The ids of the subjects of one kind. */
export const idsOf = (kind: string, subjects: readonly string[]): string[] =>
  subjects
    .filter((subject) => subject.startsWith(`${kind}/`))
    .map((subject) => subject.slice(kind.length + 1));
