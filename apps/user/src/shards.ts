import { openDatabase, type Database } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import { createHash } from 'node:crypto';
import { readShardMap, seedShardMap } from './repository';

/** Logical shards; fixed for ever, since ids and refresh tokens are tied to them. Databases are few and can change. */
export const LOGICAL_SHARDS = 64;

/** One database with its outbox. */
export interface Shard {
  /** Its place in USER_SHARD_URLS, from 0. */
  number: number;
  db: Database;
  /** Wakes the relay of this database's outbox, where this process runs it. */
  wake(): void;
}

export interface Shards {
  all: readonly Shard[];
  /** The database that holds a logical shard at present: every look-up goes through here. */
  databaseOf(logical: number): Shard;
  /** Where a user, an e-mail or any other key lives. */
  of(key: string): Shard;
}

/** The logical shard of a user's id, a lower-cased e-mail or any other key; the same for ever. */
export function logicalShardOf(key: string): number {
  return createHash('sha256').update(key).digest().readUInt32BE(0) % LOGICAL_SHARDS;
}

/** The map that a fresh system starts with: logical shards dealt out evenly. */
export function initialShardMap(databases: number): Array<{ logical: number; database: number }> {
  return Array.from({ length: LOGICAL_SHARDS }, (_, logical) => ({ logical, database: logical % databases }));
}

/** Routes keys by a map that was read from the first database. Throws when the map names a database that is not there. */
export function routeShards(all: readonly Shard[], map: ReadonlyMap<number, number>): Shards {
  const placed = Array.from({ length: LOGICAL_SHARDS }, (_, logical) => {
    const database = map.get(logical);
    const shard = database === undefined ? undefined : all[database];
    if (!shard)
      throw new Error(
        `USER_SHARD_URLS: found ${all.length} databases, expected the one in place ${Number(database) + 1} too: it holds logical shard ${logical}`,
      );
    return shard;
  });
  const databaseOf = (logical: number) => placed[logical]!;
  return { all, databaseOf, of: (key) => databaseOf(logicalShardOf(key)) };
}

/**
 * Opens every database of USER_SHARD_URLS and reads the shard map from the first, which gets one when it has none. Only the
 * first has to be reachable; the others connect when they are needed.
 */
export async function openShards(options: {
  urls: readonly string[];
  logger: Logger;
  wake?: (number: number) => void;
}): Promise<Shards & { close(): Promise<void> }> {
  const all = options.urls.map((url, number): Shard => ({
    number,
    db: openDatabase({ url, name: `user-${number + 1}`, logger: options.logger, maxConnections: 6 }),
    wake: () => options.wake?.(number),
  }));
  const close = async () => void (await Promise.all(all.map((shard) => shard.db.close())));
  try {
    const { db } = all[0]!;
    let map = await readShardMap(db);
    if (map.size < LOGICAL_SHARDS) {
      await seedShardMap(db, initialShardMap(all.length));
      map = await readShardMap(db);
    }
    return { ...routeShards(all, map), close };
  } catch (error) {
    await close();
    throw error;
  }
}
