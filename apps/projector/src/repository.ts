import { sql, type Database, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import type { View } from './views/view';

/**
 * A version of a view. `building`: consumed from the start of the log, not read. `live`: the one that readers see, at most one
 * per view. `retired`: replaced; kept for a while for readers that were just told of it, then dropped.
 */
export interface ViewVersion {
  view: string;
  version: number;
  shape: number;
  state: 'building' | 'live' | 'retired';
}

/** The schema that holds a version's tables. */
export const schemaOf = ({ view, version }: Pick<ViewVersion, 'view' | 'version'>): SqlPart =>
  sql.identifier(`${view}_v${version}`);

/** The consumer group that builds a version. */
export const groupOf = ({ view, version }: Pick<ViewVersion, 'view' | 'version'>): string =>
  `projector.${view}.v${version}`;

const VERSION_COLUMNS = sql.part`view, version, shape, state`;

/** All versions of all views. */
export function listVersions(db: Queryable): Promise<ViewVersion[]> {
  return db.rows(sql('versions.list')`select ${VERSION_COLUMNS} from view_versions order by view, version`);
}

/**
 * Makes the first version of a view that has none, live at once since nothing is there to be read before, and begins the next
 * one of a view whose live version was made by an older program with another shape. A program that is older than the live
 * version changes nothing. Safe in several processes at once.
 */
export async function ensureVersion(db: Database, view: View): Promise<void> {
  const live = await db.transaction(async (tx) => {
    const made = await tx.execute(sql('versions.first')`
      insert into view_versions (view, version, shape, state, live_at)
      select ${view.name}, 1, ${view.shape}, 'live', now()
      where not exists (select from view_versions where view = ${view.name})
      on conflict do nothing`);
    if (made > 0) await createTables(tx, view, 1);
    return tx.row<ViewVersion>(sql('versions.live')`
      select ${VERSION_COLUMNS} from view_versions where view = ${view.name} and state = 'live'`);
  });
  if (live && live.shape < view.shape) await beginVersion(db, view);
}

/**
 * Begins the next version of a view, or finds the one that is being built already; one of another shape that an older program
 * left unfinished is given up. The new version's tables exist when this returns.
 */
export function beginVersion(db: Database, view: View): Promise<{ version: ViewVersion; resumed: boolean }> {
  return db.transaction(async (tx) => {
    await tx.execute(sql('versions.lock')`
      select from view_versions where view = ${view.name} and state = 'live' for update`);
    const versions = await tx.rows<ViewVersion>(sql('versions.of-view')`
      select ${VERSION_COLUMNS} from view_versions where view = ${view.name} order by version`);
    const building = versions.find((each) => each.state === 'building');
    if (building?.shape === view.shape) return { version: building, resumed: true };
    if (building)
      await tx.execute(sql('versions.give-up')`
        update view_versions set state = 'retired', retired_at = now()
        where view = ${view.name} and version = ${building.version}`);
    const next = (versions.at(-1)?.version ?? 0) + 1;
    const version = await tx.row<ViewVersion>(sql('versions.begin')`
      insert into view_versions (view, version, shape, state)
      values (${view.name}, ${next}, ${view.shape}, 'building') returning ${VERSION_COLUMNS}`);
    await createTables(tx, view, next);
    return { version: version!, resumed: false };
  });
}

async function createTables(tx: Tx, view: View, version: number): Promise<void> {
  const schema = schemaOf({ view: view.name, version });
  await tx.execute(sql('versions.create-schema')`create schema ${schema}`);
  await tx.execute(view.create(schema));
  await tx.execute(sql('refreshes.create')`
    insert into view_refreshes (view, version, report)
    select ${view.name}, ${version}, report from unnest(${view.reports ?? []}::text[]) as r (report)`);
}

/**
 * Locks a version against being retired until the transaction ends, so that what a batch applies to it is seen whole by the
 * comparison of a swap. False when it has been retired: nothing may be applied to it any more, since a reader who has not heard
 * of the swap would else see more there than in its successor.
 */
export async function holdVersion(tx: Tx, { view, version }: ViewVersion): Promise<boolean> {
  const row = await tx.row(sql('versions.hold')`
    select from view_versions where view = ${view} and version = ${version} and state <> 'retired' for share`);
  return row !== undefined;
}

/**
 * Makes the version being built the live one, unless the live one has applied more or has fresher reports: no reader sees a
 * view go back. Waits for the live version's batches under way (`holdVersion`). True when the swap was made.
 */
export function swapVersions(db: Database, building: ViewVersion): Promise<boolean> {
  return db.transaction(async (tx) => {
    const live = await tx.row<ViewVersion>(sql('versions.lock-live')`
      select ${VERSION_COLUMNS} from view_versions where view = ${building.view} and state = 'live' for update`);
    const stillBuilding = await tx.row(sql('versions.lock-building')`
      select from view_versions
      where view = ${building.view} and version = ${building.version} and state = 'building' for update`);
    if (!stillBuilding) return false; // another process was first
    if (live) {
      const ahead = await tx.row(sql('versions.live-ahead')`
        select from consumer_offsets as live
        left join consumer_offsets as built on built.group_name = ${groupOf(building)}
          and built.topic = live.topic and built.partition = live.partition
        where live.group_name = ${groupOf(live)} and live.next_offset > coalesce(built.next_offset, 0) limit 1`);
      if (ahead) return false;
      const reportAhead = await tx.row(sql('versions.live-report-ahead')`
        select from view_refreshes as built
        left join view_refreshes as live on live.view = built.view and live.report = built.report and live.version = ${live.version}
        where built.view = ${building.view} and built.version = ${building.version}
          and (built.as_of_ms = 0 or built.as_of_ms < coalesce(live.as_of_ms, 0)) limit 1`);
      if (reportAhead) return false;
      await tx.execute(sql('versions.retire')`
        update view_versions set state = 'retired', retired_at = now()
        where view = ${live.view} and version = ${live.version}`);
    }
    await tx.execute(sql('versions.go-live')`
      update view_versions set state = 'live', live_at = now()
      where view = ${building.view} and version = ${building.version}`);
    return true;
  });
}

/** The versions that were retired at least `graceMs` ago. */
export function listRetired(db: Queryable, graceMs: number): Promise<ViewVersion[]> {
  return db.rows(sql('versions.retired')`
    select ${VERSION_COLUMNS} from view_versions
    where state = 'retired' and retired_at <= now() - ${graceMs} * interval '1 millisecond'`);
}

/** Drops a retired version with its tables and watermarks; nothing happens when another process does so already. */
export async function dropVersion(db: Database, version: ViewVersion): Promise<void> {
  await db.transaction(async (tx) => {
    const gone = await tx.execute(sql('versions.drop')`
      delete from view_versions where (view, version) in (
        select view, version from view_versions
        where view = ${version.view} and version = ${version.version} and state = 'retired' for update skip locked)`);
    if (gone > 0)
      await tx.execute(sql('versions.drop-schema')`drop schema if exists ${schemaOf(version)} cascade`);
  });
}

/** How far a group has been applied to this database: the next offset by `<topic>/<partition>`. */
export async function appliedOffsets(db: Queryable, group: string): Promise<Map<string, bigint>> {
  const rows = await db.rows<{ topic: string; partition: number; next_offset: bigint }>(sql(
    'offsets.applied',
  )`
    select topic, partition, next_offset from consumer_offsets where group_name = ${group}`);
  return new Map(rows.map((row) => [`${row.topic}/${row.partition}`, row.next_offset]));
}

/** The moment up to which one partition has been applied to a version. */
export interface PartitionMark {
  topic: string;
  partition: number;
  caughtUpMs: number;
}

/** Moves the marks of a version's partitions forward, never back. */
export async function saveMarks(
  db: Queryable,
  { view, version }: ViewVersion,
  marks: readonly PartitionMark[],
): Promise<void> {
  await db.execute(sql('watermarks.save')`
    insert into view_watermarks as known (view, version, topic, partition, caught_up_ms)
    select ${view}, ${version}, topic, partition, caught_up_ms
    from unnest(${marks.map((each) => each.topic)}::text[], ${marks.map((each) => each.partition)}::int[],
                ${marks.map((each) => BigInt(Math.floor(each.caughtUpMs)))}::bigint[]) as mark (topic, partition, caught_up_ms)
    where exists (select from view_versions where view = ${view} and version = ${version})
    on conflict (view, version, topic, partition) do update
    set caught_up_ms = greatest(known.caught_up_ms, excluded.caught_up_ms)`);
}

/**
 * The watermark of a version: every event written to the log before this moment (milliseconds since the Unix epoch) has been
 * applied; 0 while a partition is still being caught up with. Events that could not be applied hold it back: it never claims
 * what their rows lack. Read it before the rows that it is to vouch for. `topics`: those that the rows depend on, by default
 * all of the view.
 */
export async function readWatermark(
  db: Queryable,
  view: View,
  { version }: Pick<ViewVersion, 'version'>,
  topics: View['topics'] = view.topics,
): Promise<number> {
  const partitions = topics.reduce((sum, topic) => sum + topic.partitions, 0);
  const names = topics.map((topic) => topic.name);
  const row = await db.row<{ marked: bigint; caught_up_ms: bigint | null; parked_at: Date | null }>(
    sql('watermarks.read')`
      select count(*) as marked, min(caught_up_ms) as caught_up_ms,
        (select min(appended_at) from parked_events
         where group_name = ${groupOf({ view: view.name, version })} and topic = any(${names})) as parked_at
      from view_watermarks where view = ${view.name} and version = ${version} and topic = any(${names})`,
  );
  if (!row || row.caught_up_ms === null || row.marked < BigInt(partitions)) return 0;
  return Math.min(Number(row.caught_up_ms), row.parked_at?.getTime() ?? Infinity);
}

/**
 * Brings one materialized view of a version up to date, unless that was done less than `intervalMs` ago, another process is at
 * it, or the version has not caught up with the log yet. Readers are not held up. Where nothing was applied since the last time
 * only `as_of` moves. True when it was brought up to date.
 */
export function refreshReport(
  db: Database,
  view: View,
  version: Pick<ViewVersion, 'view' | 'version'>,
  report: string,
  intervalMs: number,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const due = await tx.row<{ seen: string }>(sql('refreshes.due')`
      select seen from view_refreshes
      where view = ${version.view} and version = ${version.version} and report = ${report}
        and refreshed_at <= clock_timestamp() - ${intervalMs} * interval '1 millisecond' for update skip locked`);
    if (!due) return false;
    // In this order: what the watermark vouches for is in `seen`, and what is in `seen` is in the refreshed rows.
    const watermarkMs = await readWatermark(tx, view, version);
    if (watermarkMs === 0) return false;
    const seen = await readApplied(tx, groupOf(version));
    if (seen !== due.seen)
      await tx.execute(sql('refreshes.run')`
        refresh materialized view concurrently ${schemaOf(version)}.${sql.identifier(report)}`);
    await tx.execute(sql('refreshes.note')`
      update view_refreshes
      set as_of_ms = greatest(as_of_ms, ${watermarkMs}), seen = ${seen}, refreshed_at = clock_timestamp()
      where view = ${version.view} and version = ${version.version} and report = ${report}`);
    return true;
  });
}

/**
 * A text that changes with every event that a group applies: batches move the offsets, and parked events that are applied
 * later leave the table.
 */
async function readApplied(db: Queryable, group: string): Promise<string> {
  const row = await db.row<{ applied: string }>(sql('refreshes.applied')`
    select (select coalesce(sum(next_offset), 0) from consumer_offsets where group_name = ${group}) || '/' ||
      (select count(*) from parked_events where group_name = ${group}) as applied`);
  return row!.applied;
}

/** What a report vouches for, as a watermark (`readWatermark`); 0: never refreshed. Read it before the report's rows. */
export async function readAsOf(
  db: Queryable,
  { view, version }: Pick<ViewVersion, 'view' | 'version'>,
  report: string,
): Promise<number> {
  const row = await db.row<{ as_of_ms: bigint }>(sql('refreshes.as-of')`
    select as_of_ms from view_refreshes where view = ${view} and version = ${version} and report = ${report}`);
  return Number(row?.as_of_ms ?? 0n);
}
