import { sql, type Database } from '@headroom/postgres';
import { backoffMs, Fault, startPoller } from '@headroom/resilience';
import { gauge, untraced, type Logger } from '@headroom/telemetry';
import type { ConsumeOptions, EventLog, LogRecord, PartitionPosition, Subscription } from './event-log';
import { holdLeases, murmur2, type Lease } from './leases';

const setLag = gauge({
  name: 'event_log_consumer_lag_records',
  help: 'Records of a partition that the group has not handled yet, as its owner sees them',
  labels: ['group', 'topic', 'partition'],
});
const setLagSeconds = gauge({
  name: 'event_log_consumer_lag_seconds',
  help: 'Age of the last handled record while later ones wait; 0 when none do',
  labels: ['group', 'topic', 'partition'],
});

/** Idle pause between two looks for new records: what a record waits at most before its consumer begins. */
const IDLE_MS = 80;
/** How often lag is measured and freshness reported. */
const MARK_MS = 1_000;
/** A batch ends early, though not before its first record, when it has as many bytes as stored (compressed where large). */
const MAX_BATCH_BYTES = 4_000_000;
const MAINTENANCE_LOOK_MS = 60_000;

export interface PostgresLogOptions {
  db: Database;
  logger: Logger;
  /** Silence after which a group's member loses its partitions, default 5,000 ms. */
  memberTtlMs?: number;
}

/**
 * The event log in one PostgreSQL database, for systems that need no Kafka. Records live in tables by topic and time; offsets
 * are assigned under the partition's row lock (`log_append`); partitions are shared among a group's members by leases whose
 * epoch fences the commits of former owners. Readers poll: one cheap statement per subscription. Takes ownership of `db`.
 */
export function postgresLog(options: PostgresLogOptions): EventLog {
  const { db, logger } = options;
  const subscriptions = new Set<Subscription>();
  const partitionCounts = new Map<string, number>();

  const partitionsOf = async (topic: string): Promise<number> => {
    const known = partitionCounts.get(topic);
    if (known !== undefined) return known;
    const row = await db.row<{ partitions: number }>(
      sql('log.topic')`select partitions from log_topics where name = ${topic}`,
    );
    if (!row) throw new Fault('not_found', 'NOT_FOUND', { detail: `there is no topic ${topic}` });
    partitionCounts.set(topic, row.partitions);
    return row.partitions;
  };
  /** Runs `work` while no member of the group is alive and none can join. */
  const withoutMembers = (group: string, work: (tx: Pick<Database, 'execute'>) => Promise<void>) =>
    db.transaction(async (tx) => {
      await tx.execute(sql('log.lockGroup')`
        insert into log_groups as g (scope, generation) values (${group}, 0)
        on conflict (scope) do update set generation = g.generation`);
      const alive = await tx.row(sql('log.aliveMember')`
        select 1 from log_members where scope = ${group} and expires_at > clock_timestamp() limit 1`);
      if (alive)
        throw new Fault('conflict', 'GROUP_RUNNING', { detail: `group ${group} has a running member` });
      await work(tx);
    });

  const maintenance = startPoller({
    idleMs: MAINTENANCE_LOOK_MS,
    onError: (error) => logger.warn('maintenance of the event log failed', { err: error }),
    round: () =>
      untraced(async () => {
        if (subscriptions.size > 0) await maintain(db);
        return false;
      }),
  });

  return {
    async ensureTopics(topics) {
      for (const topic of topics)
        await db.execute(
          sql(
            'log.makeTopic',
          )`select log_make_topic(${topic.name}, ${topic.partitions}, ${topic.retentionMs ?? null})`,
        );
    },
    async append(records) {
      if (records.length === 0) return;
      const partitions: number[] = [];
      for (const record of records) {
        const count = partitionCounts.get(record.topic) ?? (await partitionsOf(record.topic));
        partitions.push(partitionOf(record.key, count));
      }
      await db.execute(sql('log.append')`
        select log_append(${records.map((each) => each.topic)}, ${partitions}, ${records.map((each) => each.key)},
                          ${records.map((each) => each.value)}, ${records.map((each) => JSON.stringify(each.headers ?? {}))}::jsonb[])`);
    },
    subscribe(consume) {
      const subscription = startSubscription({
        ...options,
        consume,
        left: () => subscriptions.delete(subscription),
      });
      subscriptions.add(subscription);
      maintenance.kick();
      return Promise.resolve(subscription);
    },
    positions: (group, topics) =>
      db.rows<PartitionPosition>(sql('log.positions')`
        select p.topic, p.partition, coalesce(l.committed, 0) as committed, p.next_offset as "end"
        from log_partitions p
        left join log_leases l on l.scope = ${group} and l.kind = p.topic and l.number = p.partition
        where p.topic = any(${topics}) order by p.topic, p.partition`),
    async groups(prefix) {
      const rows = await db.rows<{ scope: string }>(sql('log.groups')`
        select scope from log_groups where starts_with(scope, ${prefix}) order by scope`);
      return rows.map((row) => row.scope);
    },
    resetOffsets: (group, topic, to) =>
      withoutMembers(group, async (tx) => {
        const exact = to instanceof Map ? [...to.entries()] : [];
        const target =
          to === 'start'
            ? sql.part`select partition, 0::bigint as target from log_partitions where topic = ${topic}`
            : to === 'end'
              ? sql.part`select partition, next_offset as target from log_partitions where topic = ${topic}`
              : sql.part`select partition, target from unnest(${exact.map(([partition]) => partition)}::int[],
                           ${exact.map(([, offset]) => offset)}::bigint[]) as t (partition, target)`;
        await tx.execute(sql('log.reset')`
          insert into log_leases (scope, kind, number, committed)
          select ${group}, ${topic}, partition, target from (${target}) as t
          on conflict (scope, kind, number) do update set committed = excluded.committed`);
      }),
    deleteGroup: (group) =>
      withoutMembers(group, async (tx) => {
        await tx.execute(sql('log.deleteMembers')`delete from log_members where scope = ${group}`);
        await tx.execute(sql('log.deleteLeases')`delete from log_leases where scope = ${group}`);
        await tx.execute(sql('log.deleteGroup')`delete from log_groups where scope = ${group}`);
      }),
    ping: () => db.ping(),
    async close() {
      await maintenance.close();
      await Promise.all([...subscriptions].map((subscription) => subscription.close()));
      await db.close();
    },
  };
}

/** The partition of a key, the same as Kafka's own producers would choose. */
export function partitionOf(key: string, partitions: number): number {
  return murmur2(key) % partitions;
}

/** Coming segments and retention, once an hour by whichever process comes first; a failure leaves it to the next minute. */
async function maintain(db: Database): Promise<void> {
  await db.transaction(async (tx) => {
    const due = await tx.row(sql('log.maintenanceDue')`
      select 1 from log_maintenance where next_at <= clock_timestamp() for update skip locked`);
    if (!due) return;
    await tx.execute(sql('log.maintain')`select log_maintain(clock_timestamp())`);
    await tx.execute(
      sql('log.maintained')`update log_maintenance set next_at = clock_timestamp() + interval '1 hour'`,
    );
  });
}

/** A partition that this member holds, and how far it is. */
interface Owned {
  lease: Lease;
  name: string;
  /** The next record to handle; undefined until it was looked up. */
  position: bigint | undefined;
  /** When the last record read was appended: older segments need not be looked at. */
  readUpToMs: number;
  /** When the handler under way was called, by the monotonic clock. */
  handlingSinceMs: number | undefined;
  abort: AbortController;
  failures: number;
  notBeforeMs: number;
  servedMs: number;
  /** Once `position` reaches `end`, everything appended before `atMs` has been handled. */
  mark: { atMs: number; end: bigint } | undefined;
  /** Called when the work under way has ended. */
  idle: (() => void) | undefined;
}

function startSubscription(
  options: PostgresLogOptions & { consume: ConsumeOptions; left: () => void },
): Subscription {
  const { db, logger, consume } = options;
  const { group, topics, maxRecords = 500, concurrency = 1, handleTimeoutMs = 30_000 } = consume;
  const owned = new Map<string, Owned>();
  /** Partitions with work under way, those lost meanwhile among them. */
  const serving = new Set<Owned>();
  let ends = new Map<string, bigint>();
  let generation: bigint | undefined;
  let closing = false;
  let mark: { atMs: number; before: bigint } | undefined;
  let nextMarkMs = 0;

  const overdueMs = () => {
    for (const partition of serving) {
      const forMs = performance.now() - (partition.handlingSinceMs ?? Infinity);
      if (forMs > handleTimeoutMs) return forMs;
    }
    return undefined;
  };
  const leases = holdLeases({
    db,
    tables: 'log',
    scope: group,
    kinds: topics,
    logger,
    ...(options.memberTtlMs === undefined ? {} : { ttlMs: options.memberTtlMs }),
    items: () =>
      db.rows(sql('log.partitions')`
        select topic as kind, partition as number from log_partitions where topic = any(${topics}) order by 1, 2`),
    able: () => overdueMs() === undefined,
    gained(lease) {
      const name = `${lease.kind}/${lease.number}`;
      owned.set(name, {
        lease,
        name,
        position: undefined,
        readUpToMs: 0,
        handlingSinceMs: undefined,
        abort: new AbortController(),
        failures: 0,
        notBeforeMs: 0,
        servedMs: 0,
        mark: undefined,
        idle: undefined,
      });
      poller.kick();
    },
    async drain(lease) {
      const partition = owned.get(`${lease.kind}/${lease.number}`);
      if (partition?.lease !== lease) return;
      owned.delete(partition.name);
      if (serving.has(partition)) await new Promise<void>((resolve) => (partition.idle = resolve));
      forgetLag(partition);
    },
    lost(lease) {
      // One that is being drained is no longer owned, but may still have a handler under way.
      for (const partition of new Set([...owned.values(), ...serving])) {
        if (partition.lease !== lease) continue;
        if (owned.get(partition.name) === partition) owned.delete(partition.name);
        partition.abort.abort();
        forgetLag(partition);
      }
    },
  });
  const forgetLag = (partition: Owned) => {
    const labels = { group, topic: partition.lease.kind, partition: String(partition.lease.number) };
    setLag(labels, 0);
    setLagSeconds(labels, 0);
  };

  const look = async () => {
    const rows = await db.rows<{
      topic: string;
      partition: number;
      end: bigint;
      generation: bigint | null;
      nowMs: number;
      oldest: string;
    }>(sql('log.look')`
      select topic, partition, next_offset as "end",
        (select generation from log_groups where scope = ${group}) as generation,
        extract(epoch from clock_timestamp())::float8 * 1000 as "nowMs",
        pg_snapshot_xmin(pg_current_snapshot())::text as oldest
      from log_partitions where topic = any(${topics})`);
    ends = new Map(rows.map((row) => [`${row.topic}/${row.partition}`, row.end]));
    const first = rows[0];
    if (!first) return;
    if (first.generation !== null && first.generation !== generation) {
      generation = first.generation;
      leases.kick();
    }
    await markTime(first.nowMs, BigInt(first.oldest));
    pump();
  };
  /**
   * How fresh this reader is: a time is taken, then a transaction id; once every transaction with a smaller id has ended, all
   * records appended before that time are visible (`log_append` takes its id before it reads the clock), so the ends then
   * seen bound them. A long writing transaction anywhere on the server delays this, never makes it wrong.
   */
  const markTime = async (nowMs: number, oldest: bigint) => {
    if (mark && oldest > mark.before) {
      for (const partition of owned.values())
        partition.mark ??= { atMs: mark.atMs, end: ends.get(partition.name) ?? 0n };
      mark = undefined;
      measureLag(nowMs);
    }
    for (const partition of owned.values()) reportMark(partition);
    if (mark || performance.now() < nextMarkMs || owned.size === 0) return;
    nextMarkMs = performance.now() + MARK_MS;
    const row = await db.row<{ id: string }>(sql('log.mark')`select pg_current_xact_id()::text as id`);
    mark = { atMs: Math.floor(nowMs), before: BigInt(row!.id) };
  };
  const reportMark = (partition: Owned) => {
    if (!partition.mark || partition.position === undefined || partition.position < partition.mark.end)
      return;
    consume.onCaughtUp?.(partition.lease.kind, partition.lease.number, partition.mark.atMs);
    partition.mark = undefined;
  };
  const measureLag = (nowMs: number) => {
    for (const { lease, name, position, readUpToMs } of owned.values()) {
      if (position === undefined) continue;
      const lag = Number((ends.get(name) ?? position) - position);
      const labels = { group, topic: lease.kind, partition: String(lease.number) };
      setLag(labels, Math.max(lag, 0));
      setLagSeconds(labels, lag <= 0 || readUpToMs === 0 ? 0 : Math.max(0, (nowMs - readUpToMs) / 1_000));
    }
  };

  const isReady = (partition: Owned) =>
    // By name: a handler that lost the partition may still be running when this member gets it again.
    ![...serving].some((each) => each.name === partition.name) &&
    partition.notBeforeMs <= performance.now() &&
    (partition.position === undefined || partition.position < (ends.get(partition.name) ?? 0n));
  /** Starts work on as many partitions as may run at once, the one that has waited longest first. */
  const pump = () => {
    if (closing) return;
    const ready = leases
      .held()
      .map((lease) => owned.get(`${lease.kind}/${lease.number}`))
      .filter((partition) => partition !== undefined && isReady(partition))
      .sort((a, b) => a!.servedMs - b!.servedMs);
    for (const partition of ready.slice(0, Math.max(0, concurrency - serving.size))) void serve(partition!);
  };
  const serve = async (partition: Owned) => {
    serving.add(partition);
    partition.servedMs = performance.now();
    try {
      if (partition.position === undefined) await locate(partition);
      else await step(partition, partition.position);
      partition.failures = 0;
    } catch (error) {
      partition.failures += 1;
      partition.notBeforeMs =
        performance.now() + 50 + backoffMs(partition.failures, { baseMs: 100, capMs: 5_000 });
      logger.warn('handling records failed: they come again', {
        err: error,
        group,
        topic: partition.lease.kind,
        partition: partition.lease.number,
        attempt: partition.failures,
      });
    } finally {
      partition.handlingSinceMs = undefined;
      serving.delete(partition);
      partition.idle?.();
      poller.kick(); // what is ready elsewhere, or has come meanwhile
    }
  };
  const locate = async (partition: Owned) => {
    const { kind: topic, number } = partition.lease;
    const own = await consume.startAt?.(topic, number);
    if (own !== undefined) {
      partition.position = own;
      return;
    }
    const row = await db.row<{ committed: bigint }>(sql('log.committed')`
      select committed from log_leases where scope = ${group} and kind = ${topic} and number = ${number}`);
    partition.position = row?.committed ?? 0n;
  };
  const step = async (partition: Owned, position: bigint) => {
    const { kind: topic, number } = partition.lease;
    const end = ends.get(partition.name) ?? position;
    const records = await db.rows<LogRecord>(sql('log.read')`
      select topic, partition, record_offset as offset, key, value, headers,
        extract(epoch from appended_at)::float8 * 1000 as "appendedAtMs"
      from (
        select *, sum(pg_column_size(value)) over (order by record_offset) - pg_column_size(value) as bytes_before
        from log_records
        where topic = ${topic} and partition = ${number} and record_offset >= ${position}
          and appended_at >= ${new Date(partition.readUpToMs)}
        order by record_offset limit ${maxRecords}
      ) as r
      where bytes_before < ${MAX_BATCH_BYTES} order by record_offset`);
    const { signal } = partition.abort;
    const last = records.at(-1);
    if (last) {
      if (signal.aborted) return;
      partition.handlingSinceMs = performance.now();
      await consume.handle({ topic, partition: number, records, signal });
      partition.handlingSinceMs = undefined;
    }
    // No record below the end is left when the retention has dropped them all.
    const next = last ? last.offset + 1n : end;
    const committed = await db.execute(sql('log.commit')`
      update log_leases set committed = ${next}
      where scope = ${group} and kind = ${topic} and number = ${number}
        and owner = ${partition.lease.owner} and epoch = ${partition.lease.epoch}`);
    if (committed === 0) {
      logger.warn('a commit was refused: the partition has a new owner', { group, topic, partition: number });
      partition.abort.abort();
      owned.delete(partition.name);
      leases.kick();
      return;
    }
    partition.position = next;
    if (last) partition.readUpToMs = Math.floor(last.appendedAtMs);
    reportMark(partition);
  };

  const poller = startPoller({
    idleMs: IDLE_MS,
    onError: (error) => logger.warn('looking for records failed', { err: error, group }),
    round: () =>
      untraced(async () => {
        await look();
        return false;
      }),
  });

  return {
    fatal() {
      const forMs = overdueMs();
      return forMs !== undefined && forMs > 2 * handleTimeoutMs
        ? `a handler of group ${group} has not returned for ${Math.round(forMs / 1_000)} s`
        : undefined;
    },
    async close() {
      closing = true;
      await poller.close();
      await leases.close();
      options.left();
    },
  };
}
