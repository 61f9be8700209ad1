import { sql, type Queryable } from '@headroom/postgres';

/**
 * Foreign keys whose columns do not lead any index of their table, as `table.constraint`: each makes deletes and updates of the
 * referenced rows scan the table.
 */
export async function unindexedForeignKeys(db: Queryable): Promise<string[]> {
  const rows = await db.rows<{ name: string }>(sql('testing.unindexed-foreign-keys')`
    select c.conrelid::regclass || '.' || c.conname as name
    from pg_constraint c
    where c.contype = 'f' and c.conparentid = 0
      and not exists (
        select 1 from pg_index i
        where i.indrelid = c.conrelid and i.indpred is null
          and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
          and c.conkey @> (i.indkey::int2[])[0:cardinality(c.conkey) - 1])
    order by 1`);
  return rows.map((row) => row.name);
}
