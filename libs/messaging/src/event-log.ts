/**
 * The port to the event log, shaped after Kafka's guarantees: topics of numbered partitions; a record's key decides its
 * partition (the same for ever); offsets of a partition grow in the order in which records become visible, so a reader never
 * has to look back; a consumer group shares the partitions among its members and keeps an offset for each.
 * Every transport passes the contract suite in event-log.contract.ts.
 */
export interface TopicSpec {
  name: string;
  partitions: number;
  /** Records older than this may be removed; undefined: kept for ever. */
  retentionMs: number | undefined;
}

export interface OutgoingRecord {
  topic: string;
  key: string;
  value: string;
  headers?: Record<string, string>;
}

export interface LogRecord {
  topic: string;
  partition: number;
  offset: bigint;
  key: string;
  value: string;
  headers: Record<string, string>;
  /** When the record was appended, milliseconds since the Unix epoch. */
  appendedAtMs: number;
}

/** Records of one partition, in order, handed to a group's member that owns the partition. */
export interface Batch {
  topic: string;
  partition: number;
  records: LogRecord[];
  /** Aborts when this member has lost the partition: stop, nothing that follows will be committed. */
  signal: AbortSignal;
}

export interface ConsumeOptions {
  group: string;
  topics: readonly string[];
  /**
   * Handles a batch; when it resolves, the group's offset moves behind the batch. When it rejects, the same records come
   * again after a backoff. Batches of one partition never overlap; up to `concurrency` (default 1) partitions run at once.
   */
  handle: (batch: Batch) => Promise<void>;
  /** Largest number of records in a batch, default 500. */
  maxRecords?: number;
  concurrency?: number;
  /**
   * A handler that takes longer than this (default 30,000 ms) costs its member all partitions: others get them, its signal
   * aborts, its late commit is refused. Once it returns, the member joins again.
   */
  handleTimeoutMs?: number;
  /**
   * The offset to start a partition at when this member gets it, from the reader's own database; undefined: the group's own
   * offset, else the start of the topic.
   */
  startAt?: (topic: string, partition: number) => Promise<bigint | undefined>;
  /**
   * Told about once a second per owned partition in which everything appended before `atMs` (the log's own clock) has been
   * handled: how fresh this reader is, also while nothing arrives.
   */
  onCaughtUp?: (topic: string, partition: number, atMs: number) => void;
}

export interface Subscription {
  /** A reason why this member will never consume again, for `/livez`; undefined while it works or recovers by itself. */
  fatal(): string | undefined;
  /** Lets the batches under way finish and commit, gives the partitions up at once and leaves. */
  close(): Promise<void>;
}

export interface PartitionPosition {
  topic: string;
  partition: number;
  /** The group's offset: the next record it will handle. */
  committed: bigint;
  /** The offset that the next record of the partition will get. */
  end: bigint;
}

export interface EventLog {
  /** Makes topics that do not exist; never changes the number of partitions of one that does. */
  ensureTopics(topics: readonly TopicSpec[]): Promise<void>;
  /** Appends in the order given; resolves when all are durable. A failed call may be repeated: records may then stand twice. */
  append(records: readonly OutgoingRecord[]): Promise<void>;
  subscribe(options: ConsumeOptions): Promise<Subscription>;
  positions(group: string, topics: readonly string[]): Promise<PartitionPosition[]>;
  /** The names of the groups that begin with `prefix`, those without a running member too, in order. */
  groups(prefix: string): Promise<string[]>;
  /** Moves a group that has no running member; refused with a fault otherwise. */
  resetOffsets(group: string, topic: string, to: 'start' | 'end' | Map<number, bigint>): Promise<void>;
  /** Deletes a group that has no running member, with its offsets. */
  deleteGroup(group: string): Promise<void>;
  /** Rejects when the log cannot be reached. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
