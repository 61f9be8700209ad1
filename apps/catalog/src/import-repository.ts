import { sql, type Queryable, type Tx } from '@headroom/postgres';
import type { ImportFormat, Place } from './import-lines';

/** A file that is being read, and how far it has been. */
export interface Import {
  jobId: string;
  uploadId: string;
  /** Its name in the blob store. */
  file: string;
  format: ImportFormat;
  next: Place;
  /** Of a CSV file whose header has been read. */
  columns: string[] | undefined;
  /** Records so far, good and bad. */
  processed: number;
}

interface ImportRow {
  job_id: string;
  upload_id: string;
  file: string;
  format: ImportFormat;
  next_offset: bigint;
  next_line: bigint;
  skipping: boolean;
  columns: string[] | null;
  processed: bigint;
}

const toImport = (row: ImportRow): Import => ({
  jobId: row.job_id,
  uploadId: row.upload_id,
  file: row.file,
  format: row.format,
  next: { offset: Number(row.next_offset), line: Number(row.next_line), skipping: row.skipping },
  columns: row.columns ?? undefined,
  processed: Number(row.processed),
});

/** Adds a file that nothing has been read of. */
export async function insertImport(
  tx: Tx,
  { jobId, uploadId, file, format }: Pick<Import, 'jobId' | 'uploadId' | 'file' | 'format'>,
): Promise<void> {
  await tx.execute(sql('import.insert')`
    insert into imports (job_id, upload_id, file, format) values (${jobId}, ${uploadId}, ${file}, ${format})`);
}

/** Index: primary key. */
export async function findImport(db: Queryable, jobId: string): Promise<Import | undefined> {
  const row = await db.row<ImportRow>(sql('import.find')`select * from imports where job_id = ${jobId}`);
  return row && toImport(row);
}

/**
 * Moves the place in the file from where the caller found it; false when somebody else has moved it, or the import has ended.
 * Locks the row: of two that read the same lines one waits here, and then finds it moved. Index: primary key.
 */
export async function moveImport(
  tx: Tx,
  from: Import,
  to: Pick<Import, 'next' | 'columns' | 'processed'>,
): Promise<boolean> {
  const moved = await tx.execute(sql('import.move')`
    update imports set next_offset = ${to.next.offset}, next_line = ${to.next.line}, skipping = ${to.next.skipping},
      columns = ${to.columns ?? null}, processed = ${to.processed}
    where job_id = ${from.jobId} and next_offset = ${from.next.offset}`);
  return moved === 1;
}

/** Ends it: nobody can move it any more. Index: primary key. */
export async function deleteImport(tx: Tx, jobId: string): Promise<void> {
  await tx.execute(sql('import.delete')`delete from imports where job_id = ${jobId}`);
}

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

/** Imports whose job is no longer on record: given up and never tried again. Index: primary keys. */
export async function findOrphans(db: Queryable, limit: number): Promise<string[]> {
  const rows = await db.rows<{ job_id: string }>(sql('import.orphans')`
    select i.job_id from imports i where not exists (select from tracked_jobs t where t.id = i.job_id) limit ${limit}`);
  return rows.map((row) => row.job_id);
}
