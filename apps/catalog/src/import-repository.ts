import { sql, type Queryable, type Tx } from '@headroom/postgres';

/** Keeps the SKUs of a file's lines and returns those that no line before had. Index: primary key. */
export async function claimSkus(tx: Tx, jobId: string, skus: readonly string[]): Promise<Set<string>> {
  const rows = await tx.rows<{ sku: string }>(sql('import.claim-skus')`
    insert into import_skus (job_id, sku) select ${jobId}::uuid, sku from unnest(${skus}::text[]) as s (sku) order by sku
    on conflict do nothing returning sku`);
  return new Set(rows.map(({ sku }) => sku));
}

/**
 * Removes at most `limit` SKUs of a file that has been read; how many. Index: primary key. Rows are named by their place: the
 * planner knows nothing yet of a table that has just been filled, and would compare every row with every other one.
 */
export function forgetSkus(tx: Tx, jobId: string, limit: number): Promise<number> {
  return tx.execute(sql('import.forget-skus')`
    delete from import_skus where ctid = any(array(
      select ctid from import_skus where job_id = ${jobId} limit ${limit}))`);
}

/**
 * Imports with SKUs whose job is no longer on record: given up and never tried again. Primary keys; goes from import to import
 * however many SKUs each has.
 */
export async function findOrphans(db: Queryable, limit: number): Promise<string[]> {
  const rows = await db.rows<{ job_id: string }>(sql('import.orphans')`
    with recursive imports (job_id) as (
      (select job_id from import_skus order by job_id limit 1)
      union all
      select (select s.job_id from import_skus s where s.job_id > i.job_id order by s.job_id limit 1)
      from imports i where i.job_id is not null
    )
    select i.job_id from imports i
    where i.job_id is not null and not exists (select from tracked_jobs t where t.id = i.job_id) limit ${limit}`);
  return rows.map((row) => row.job_id);
}
