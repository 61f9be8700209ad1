import type { DomainEvent, EventDataByType, EventType, OrderData } from '@headroom/contracts';
import type { TopicSpec } from '@headroom/messaging';
import type { Queryable, SqlPart, Statement, Tx } from '@headroom/postgres';

/** An event as it is applied to a view. */
export interface AppliedEvent {
  event: DomainEvent;
  /**
   * The partition of the topic that it came from. One consumer at a time applies a partition, so a counter row per
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
  /** Makes the tables and indexes in an empty schema. */
  create(schema: SqlPart): Statement;
  /** Applies one event inside the transaction that also moves the consumer's offset. */
  apply(tx: Tx, schema: SqlPart, applied: AppliedEvent, nowMs: number): Promise<void>;
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

/** The state of an order event, or undefined for any other. */
export const orderOf = (event: DomainEvent): OrderData | undefined =>
  isUnder(event, 'order.') ? event.data : undefined;

/** The units of an order. */
export const unitsOf = (order: OrderData): bigint =>
  order.items.reduce((sum, item) => sum + BigInt(item.quantity), 0n);

/** The ids of the subjects of one kind. */
export const idsOf = (kind: string, subjects: readonly string[]): string[] =>
  subjects
    .filter((subject) => subject.startsWith(`${kind}/`))
    .map((subject) => subject.slice(kind.length + 1));
