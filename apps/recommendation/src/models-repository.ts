import { sql, type Database, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import { createTables, SHAPE } from './model-repository';

/**
 * One version of what was learnt. `building`: learnt from the start of the log, not read. `live`: the one that readers see, at
 * most one. `retired`: replaced; kept for a while for readers that were just told of it, then dropped.
 */
export interface Model {
  version: number;
  shape: number;
  state: 'building' | 'live' | 'retired';
}

/** The name of the schema that holds a version's tables. */
export const schemaNameOf = ({ version }: Pick<Model, 'version'>): string => `model_v${version}`;
export const schemaOf = (model: Pick<Model, 'version'>): SqlPart => sql.identifier(schemaNameOf(model));

/** The consumer group that learns a version. */
export const groupOf = ({ version }: Pick<Model, 'version'>): string => `recommendation.v${version}`;

const COLUMNS = sql.part`version, shape, state`;

/** All versions. */
export function listModels(db: Queryable): Promise<Model[]> {
  return db.rows(sql('models.list')`select ${COLUMNS} from models order by version`);
}

/**
 * Makes the first version, live at once since nothing is there to be read before, and begins the next one where the live one was
 * made by an older program with another shape. Safe in several processes at once.
 */
export async function ensureModel(db: Database): Promise<void> {
  const live = await db.transaction(async (tx) => {
    const made = await tx.execute(sql('models.first')`
      insert into models (version, shape, state, live_at)
      select 1, ${SHAPE}, 'live', now() where not exists (select from models)
      on conflict do nothing`);
    if (made > 0) await create(tx, 1);
    return tx.row<Model>(sql('models.live')`select ${COLUMNS} from models where state = 'live'`);
  });
  if (live && live.shape < SHAPE) await beginModel(db);
}

/**
 * Begins the next version, or finds the one that is being built already; one of another shape that an older program left
 * unfinished is given up.
 */
export function beginModel(db: Database): Promise<{ model: Model; resumed: boolean }> {
  return db.transaction(async (tx) => {
    await tx.execute(sql('models.lock')`select from models where state = 'live' for update`);
    const models = await tx.rows<Model>(sql('models.all')`select ${COLUMNS} from models order by version`);
    const building = models.find((each) => each.state === 'building');
    if (building?.shape === SHAPE) return { model: building, resumed: true };
    if (building)
      await tx.execute(sql('models.give-up')`
        update models set state = 'retired', retired_at = now() where version = ${building.version}`);
    const next = (models.at(-1)?.version ?? 0) + 1;
    const model = await tx.row<Model>(sql('models.begin')`
      insert into models (version, shape, state) values (${next}, ${SHAPE}, 'building') returning ${COLUMNS}`);
    await create(tx, next);
    return { model: model!, resumed: false };
  });
}

async function create(tx: Tx, version: number): Promise<void> {
  await tx.execute(sql('models.create-schema')`create schema ${schemaOf({ version })}`);
  await createTables(tx, schemaOf({ version }));
}

/**
 * Locks a version against being retired until the transaction ends, so that what a batch applies to it is seen whole by the
 * comparison of a swap. False when it has been retired: nothing may be applied to it any more.
 */
export async function holdModel(tx: Tx, { version }: Model): Promise<boolean> {
  const row = await tx.row(sql('models.hold')`
    select from models where version = ${version} and state <> 'retired' for share`);
  return row !== undefined;
}

/**
 * Makes the version being built the live one, unless the live one has applied more: no reader sees the lists go back. Waits for
 * the live version's batches under way (`holdModel`). True when the swap was made.
 */
export function swapModels(db: Database, building: Model): Promise<boolean> {
  return db.transaction(async (tx) => {
    const live = await tx.row<Model>(sql('models.lock-live')`
      select ${COLUMNS} from models where state = 'live' for update`);
    const stillBuilding = await tx.row(sql('models.lock-building')`
      select from models where version = ${building.version} and state = 'building' for update`);
    if (!stillBuilding) return false; // another process was first
    if (live) {
      const ahead = await tx.row(sql('models.live-ahead')`
        select from consumer_offsets as live
        left join consumer_offsets as built on built.group_name = ${groupOf(building)}
          and built.topic = live.topic and built.partition = live.partition
        where live.group_name = ${groupOf(live)} and live.next_offset > coalesce(built.next_offset, 0) limit 1`);
      if (ahead) return false;
      await tx.execute(sql('models.retire')`
        update models set state = 'retired', retired_at = now() where version = ${live.version}`);
    }
    await tx.execute(sql('models.go-live')`
      update models set state = 'live', live_at = now() where version = ${building.version}`);
    return true;
  });
}

/** The versions that were retired at least `graceMs` ago. */
export function listRetired(db: Queryable, graceMs: number): Promise<Model[]> {
  return db.rows(sql('models.retired')`
    select ${COLUMNS} from models
    where state = 'retired' and retired_at <= now() - ${graceMs} * interval '1 millisecond'`);
}

/** Drops a retired version with its tables; nothing happens when another process does so already. */
export async function dropModel(db: Database, model: Model): Promise<void> {
  await db.transaction(async (tx) => {
    const gone = await tx.execute(sql('models.drop')`
      delete from models where version in (
        select version from models where version = ${model.version} and state = 'retired' for update skip locked)`);
    if (gone > 0)
      await tx.execute(sql('models.drop-schema')`drop schema if exists ${schemaOf(model)} cascade`);
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
