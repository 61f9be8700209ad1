import { sql, type Queryable, type Tx } from '@headroom/postgres';

export interface Upload {
  id: string;
  kind: string;
  contentType: string;
  subjectId: string;
  /** In the blob store. */
  name: string;
  handle: string;
  state: 'open' | 'completed' | 'released' | 'abandoned' | 'removed';
  jobId: string | null;
}

export interface StoredPart {
  index: number;
  tag: string;
  sizeBytes: number;
}

const columns = sql.part`id, kind, content_type as "contentType", subject_id as "subjectId", name, handle, state, job_id as "jobId"`;

export async function insertUpload(
  db: Queryable,
  upload: Omit<Upload, 'state' | 'jobId'> & { createdAt: Date },
): Promise<void> {
  await db.execute(sql('upload.insert')`
    insert into uploads (id, kind, content_type, subject_id, name, handle, state, created_at)
    values (${upload.id}, ${upload.kind}, ${upload.contentType}, ${upload.subjectId}, ${upload.name}, ${upload.handle}, 'open',
            ${upload.createdAt})`);
}

/** Index: primary key. */
export function findUpload(db: Queryable, id: string): Promise<Upload | undefined> {
  return db.row<Upload>(sql('upload.find')`select ${columns} from uploads where id = ${id}`);
}

/** How many uploads are open, counted up to `limit`. Index: uploads_open. */
export async function countOpen(db: Queryable, limit: number): Promise<number> {
  const counted = await db.row<{ count: number }>(sql('upload.countOpen')`
    select count(*)::int as count from (select from uploads where state = 'open' limit ${limit}) as open`);
  return counted!.count;
}

/** Notes a part that the store has. Index: primary key. */
export async function savePart(db: Queryable, uploadId: string, part: StoredPart): Promise<void> {
  await db.execute(sql('upload.savePart')`
    insert into upload_parts (upload_id, index, tag, size_bytes)
    values (${uploadId}, ${part.index}, ${part.tag}, ${part.sizeBytes})
    on conflict (upload_id, index) do update set tag = excluded.tag, size_bytes = excluded.size_bytes`);
}

/** The parts noted, by their index. Index: primary key. */
export function findParts(db: Queryable, uploadId: string): Promise<StoredPart[]> {
  return db.rows<StoredPart>(sql('upload.parts')`
    select index, tag, size_bytes as "sizeBytes" from upload_parts where upload_id = ${uploadId} order by index`);
}

/**
 * Accepts an upload under its row's lock: `decide` gives the job's id, which becomes its state. An upload that has been completed
 * before stays as it is.
 */
export async function acceptUpload(
  tx: Tx,
  id: string,
  decide: (upload: Upload | undefined) => Promise<string>,
): Promise<string> {
  const upload = await tx.row<Upload>(
    sql('upload.lock')`select ${columns} from uploads where id = ${id} for update`,
  );
  const jobId = await decide(upload);
  await tx.execute(sql('upload.accept')`
    update uploads set state = 'completed', job_id = ${jobId} where id = ${id} and state = 'open'`);
  return jobId;
}

/** Ends an upload that is not complete, or whose ending was not finished; undefined for any other. */
export function takeBack(db: Queryable, id: string): Promise<Upload | undefined> {
  return db.row<Upload>(sql('upload.takeBack')`
    update uploads set state = 'abandoned' where id = ${id} and state in ('open', 'abandoned') returning ${columns}`);
}

/** The file of a completed upload is no longer needed. */
export async function releaseUpload(tx: Tx, id: string): Promise<void> {
  await tx.execute(sql('upload.release')`
    update uploads set state = 'released' where id = ${id} and state = 'completed'`);
}

/** The store has nothing of the upload any more. */
export async function markRemoved(db: Queryable, id: string): Promise<void> {
  await db.execute(sql('upload.removed')`
    update uploads set state = 'removed' where id = ${id} and state in ('released', 'abandoned')`);
}

/** Uploads whose files are to go, taken back where nobody did. Index: uploads_to_remove, uploads_open, uploads_by_age. */
export function takeStale(
  db: Queryable,
  { openSince, completedSince, limit }: { openSince: Date; completedSince: Date; limit: number },
): Promise<Upload[]> {
  return db.rows<Upload>(sql('upload.takeStale')`
    update uploads set state = case state when 'completed' then 'released' when 'open' then 'abandoned' else state end
    where id in (
      select id from uploads
      where state in ('released', 'abandoned')
        or state = 'open' and created_at < ${openSince}
        or state = 'completed' and created_at < ${completedSince}
      limit ${limit} for update skip locked)
    returning ${columns}`);
}

/** Deletes the rows of uploads whose files have gone. Index: uploads_by_age. */
export function forgetRemoved(
  db: Queryable,
  { before, limit }: { before: Date; limit: number },
): Promise<number> {
  return db.execute(sql('upload.forget')`
    delete from uploads where id in (
      select id from uploads where state = 'removed' and created_at < ${before} limit ${limit} for update skip locked)`);
}
