import { sql, type Database } from '@headroom/postgres';
import { startPoller } from '@headroom/resilience';
import { untraced, type Logger } from '@headroom/telemetry';
import { randomUUID } from 'node:crypto';

/** A numbered thing of a kind (a partition of a topic, a shard of the outbox) that one member at a time may work on. */
export interface LeaseItem {
  kind: string;
  number: number;
}

/** An item held; `epoch` grows with every change of owner, so a write that names owner and epoch is refused to a former one. */
export interface Lease extends LeaseItem {
  owner: string;
  epoch: bigint;
}

export interface LeaseOptions {
  db: Database;
  /** Prefix of the tables `<prefix>_groups`, `_members` and `_leases`. */
  tables: 'log' | 'outbox';
  /** The members of one scope share its items. */
  scope: string;
  /** The kinds that this member works on; items of a kind are shared by the members that work on it. */
  kinds: readonly string[];
  /** All items of these kinds that exist now. */
  items: () => Promise<readonly LeaseItem[]>;
  /** False takes this member out of the scope until it is true again; asked at every heartbeat. */
  able?: () => boolean;
  gained: (lease: Lease) => void;
  /** Resolves when nothing is under way for the lease any more and nothing new will start: then it is given up. */
  drain: (lease: Lease) => Promise<void>;
  /** The lease belongs to someone else, or may: stop. */
  lost: (lease: Lease) => void;
  logger: Logger;
  /** A member that is silent for so long loses everything, default 5,000 ms; heartbeats come five times as often. */
  ttlMs?: number;
}

export interface LeaseHolder {
  /** What this member holds and is not giving up; empty as soon as its own heartbeats may have expired. */
  held(): Lease[];
  /** Looks at the members and the leases now; called when `generation` has moved. */
  kick(): void;
  /** Drains, gives everything up at once and leaves. */
  close(): Promise<void>;
}

/**
 * Shares items among members that know of one another only through tables: every member beats, reads who else is alive, and
 * works out the same assignment (`assignedTo`), so there is no leader. It gives up what is no longer its own after draining
 * it and claims what is free or belongs to the dead. Two members never hold one item in the same epoch; a frozen one may
 * believe it does until it looks again, which is why effects must name the epoch. Times are the database's.
 */
export function holdLeases(options: LeaseOptions): LeaseHolder {
  const { db, scope, logger, ttlMs = 5_000 } = options;
  const member = randomUUID();
  const groups = sql.identifier(`${options.tables}_groups`);
  const members = sql.identifier(`${options.tables}_members`);
  const leases = sql.identifier(`${options.tables}_leases`);
  const held = new Map<string, Lease>();
  const draining = new Map<string, Promise<void>>();
  let joined = false;
  let validUntilMs = 0;

  const expiry = sql.part`clock_timestamp() + ${ttlMs} * interval '1 millisecond'`;
  const join = () =>
    db.transaction(async (tx) => {
      await tx.execute(sql('lease.generation')`
        insert into ${groups} as g (scope, generation) values (${scope}, 1)
        on conflict (scope) do update set generation = g.generation + 1`);
      await tx.execute(sql('lease.forgetDead')`
        delete from ${members} where scope = ${scope} and expires_at < clock_timestamp() - interval '1 hour'`);
      await tx.execute(sql('lease.join')`
        insert into ${members} (scope, member, kinds, joined_at, expires_at)
        values (${scope}, ${member}, ${options.kinds}, clock_timestamp(), ${expiry})
        on conflict (scope, member) do update set expires_at = excluded.expires_at`);
    });
  const leave = () =>
    db.transaction(async (tx) => {
      await tx.execute(
        sql('lease.generation')`update ${groups} set generation = generation + 1 where scope = ${scope}`,
      );
      await tx.execute(
        sql(
          'lease.releaseAll',
        )`update ${leases} set owner = null where scope = ${scope} and owner = ${member}`,
      );
      await tx.execute(
        sql('lease.leave')`delete from ${members} where scope = ${scope} and member = ${member}`,
      );
    });
  /** Everyone alive in order of joining; undefined when this member's own row is gone. */
  const beat = async () => {
    const alive = await db.rows<{ member: string; kinds: string[]; beaten: boolean }>(sql('lease.beat')`
      with beat as (
        update ${members} set expires_at = ${expiry} where scope = ${scope} and member = ${member} returning 1
      )
      select member, kinds, exists (select from beat) as beaten from ${members}
      where scope = ${scope} and (expires_at > clock_timestamp() or member = ${member})
      order by joined_at, member`);
    return alive.some((each) => each.beaten) ? alive : undefined;
  };
  const list = () =>
    db.rows<{ kind: string; number: number; owner: string | null; epoch: bigint; free: boolean }>(sql(
      'lease.list',
    )`
      select kind, number, owner, epoch,
        not exists (select from ${members} m where m.scope = l.scope and m.member = l.owner and m.expires_at > clock_timestamp()) as free
      from ${leases} l where scope = ${scope} and kind = any(${options.kinds})`);
  const add = (items: LeaseItem[]) =>
    db.execute(sql('lease.add')`
      insert into ${leases} (scope, kind, number)
      select ${scope}, kind, number
      from unnest(${items.map((each) => each.kind)}::text[], ${items.map((each) => each.number)}::int[]) as i (kind, number)
      on conflict do nothing`);
  const claim = (items: LeaseItem[]) =>
    db.rows<{ kind: string; number: number; epoch: bigint }>(sql('lease.claim')`
      update ${leases} l set owner = ${member}, epoch = epoch + 1
      from unnest(${items.map((each) => each.kind)}::text[], ${items.map((each) => each.number)}::int[]) as i (kind, number)
      where l.scope = ${scope} and l.kind = i.kind and l.number = i.number
        and not exists (select from ${members} m where m.scope = l.scope and m.member = l.owner and m.expires_at > clock_timestamp())
      returning l.kind, l.number, l.epoch`);
  const release = (lease: Lease) =>
    db.execute(sql('lease.release')`
      with released as (
        update ${leases} set owner = null
        where scope = ${scope} and kind = ${lease.kind} and number = ${lease.number}
          and owner = ${member} and epoch = ${lease.epoch}
        returning 1
      )
      update ${groups} set generation = generation + 1 where scope = ${scope} and exists (select from released)`);

  const lose = (name: string, lease: Lease) => {
    held.delete(name);
    options.lost(lease);
  };
  const loseAll = () => {
    for (const [name, lease] of held) lose(name, lease);
  };
  const giveUp = (name: string, lease: Lease) => {
    if (draining.has(name)) return;
    const work = options
      .drain(lease)
      .then(() => {
        if (held.get(name) === lease) held.delete(name);
        return release(lease);
      })
      .catch((error: unknown) =>
        logger.warn('giving a lease up failed: the next round does it', { err: error, group: scope, name }),
      )
      .finally(() => {
        draining.delete(name);
        poller.kick();
      })
      .then(() => undefined);
    draining.set(name, work);
  };

  const round = async () => {
    if (options.able?.() === false) {
      if (!joined) return false;
      logger.warn('this member is stuck and leaves its group', { group: scope });
      joined = false;
      validUntilMs = 0;
      loseAll();
      await leave();
      return false;
    }
    const startedMs = performance.now();
    if (!joined) await join();
    joined = true;
    const alive = await beat();
    if (!alive) {
      joined = false; // away for so long that the row was removed
      loseAll();
      return true;
    }
    validUntilMs = startedMs + ttlMs;
    const items = await options.items();
    const rows = new Map((await list()).map((row) => [nameOf(row), row]));
    for (const [name, lease] of held) {
      const row = rows.get(name);
      if (row?.owner !== member || row.epoch !== lease.epoch) lose(name, lease);
    }
    const missing = items.filter((item) => !rows.has(nameOf(item)));
    if (missing.length > 0) await add(missing);
    const mine = items.filter((item) => assignedTo(item, alive) === member);
    const names = new Set(mine.map(nameOf));
    for (const [name, lease] of held) if (!names.has(name)) giveUp(name, lease);
    // A row that names this member while it holds nothing is left from before it lost its leases, or from a failed release.
    for (const [name, row] of rows)
      if (row.owner === member && !held.has(name) && !draining.has(name)) {
        await release({ ...row, owner: member });
        row.free = true;
      }
    const claimable = mine.filter((item) => {
      const name = nameOf(item);
      return !held.has(name) && !draining.has(name) && (rows.get(name)?.free ?? true);
    });
    if (claimable.length === 0) return false;
    for (const row of await claim(claimable)) {
      const lease = { ...row, owner: member };
      held.set(nameOf(row), lease);
      options.gained(lease);
    }
    return false;
  };
  const poller = startPoller({
    round: () => untraced(round),
    idleMs: ttlMs / 5,
    onError: (error) => {
      logger.warn('a heartbeat failed', { err: error, group: scope });
      if (performance.now() > validUntilMs) loseAll();
    },
  });

  return {
    held: () =>
      performance.now() > validUntilMs
        ? []
        : [...held.entries()].filter(([name]) => !draining.has(name)).map(([, lease]) => lease),
    kick: () => poller.kick(),
    async close() {
      await poller.close();
      await Promise.all([...draining.values(), ...[...held.values()].map((lease) => options.drain(lease))]);
      held.clear();
      if (joined)
        await untraced(leave).catch((error: unknown) =>
          logger.warn('leaving failed: what was held goes free when it expires', {
            err: error,
            group: scope,
          }),
        );
    },
  };
}

/**
 * The member that works on `item`, of those alive in order of joining: numbers go round the members of the item's kind, from a
 * start that differs from kind to kind, so that kinds with few items do not all fall to the first member.
 */
export function assignedTo(
  item: LeaseItem,
  alive: ReadonlyArray<{ member: string; kinds: readonly string[] }>,
): string | undefined {
  const able = alive.filter((each) => each.kinds.includes(item.kind));
  return able[(item.number + murmur2(item.kind)) % Math.max(able.length, 1)]?.member;
}

function nameOf(item: LeaseItem): string {
  return `${item.kind}/${item.number}`;
}

/** Murmur2 of the UTF-8 bytes with Kafka's seed, without its sign bit: what Kafka's producers place keys by. */
export function murmur2(text: string): number {
  const bytes = Buffer.from(text, 'utf8');
  const m = 0x5bd1e995;
  let hash = 0x9747b28c ^ bytes.length;
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    let k = Math.imul(bytes.readInt32LE(at), m);
    k = Math.imul(k ^ (k >>> 24), m);
    hash = Math.imul(hash, m) ^ k;
  }
  const rest = bytes.length - at;
  if (rest === 3) hash ^= bytes[at + 2]! << 16;
  if (rest >= 2) hash ^= bytes[at + 1]! << 8;
  if (rest >= 1) hash = Math.imul(hash ^ bytes[at]!, m);
  hash = Math.imul(hash ^ (hash >>> 13), m);
  return (hash ^ (hash >>> 15)) & 0x7fffffff;
}
