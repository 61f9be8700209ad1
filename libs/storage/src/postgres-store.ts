import { sql, type Database, type Queryable, type Tx } from '@headroom/postgres';
import { Fault, uuidv7 } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import {
  checkName,
  checkPart,
  MOST_PUT_BYTES,
  PART_BYTES,
  type BlobStore,
  type UploadedPart,
} from './blob-store';

/** A part is a whole number of chunks, so that a chunk's number follows from its place in the file. */
const CHUNK_BYTES = 512 * 1024;
const CHUNKS_PER_PART = PART_BYTES / CHUNK_BYTES;
/** Chunks that one statement removes: 32 MiB, well within the time-out of a statement. */
const REMOVE_CHUNKS = 64;
const LIST_PAGE = 1_000;
const SWEEP_BATCH = 100;

/**
 * Files as rows of 512 KiB in the service's own database (migrations: `storageMigrations`). Meant for one machine and for small
 * clusters: the files share the database's disk, its backups and its pool. No statement handles more than a chunk, except those
 * that remove some.
 */
export function createPostgresStore({ db }: { db: Database }): BlobStore {
  /** Gives the whole blob its name; the one that had it loses it in the same moment. */
  const show = async (tx: Tx, id: string, name: string, sizeBytes: number): Promise<string | undefined> => {
    // Two that take one name at once would both find the old one and then meet at the index.
    await tx.row(sql('blob.lockName')`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`);
    const replaced = await tx.row<{ id: string }>(sql('blob.hide')`
      update blobs set state = 'removing' where name = ${name} and state = 'visible' returning id`);
    await tx.execute(sql('blob.show')`
      update blobs set state = 'visible', size_bytes = ${sizeBytes} where id = ${id}`);
    return replaced?.id;
  };

  const insertBlob = (on: Queryable, id: string, name: string, contentType: string) =>
    on.execute(sql('blob.insert')`
      insert into blobs (id, name, content_type, state) values (${id}, ${name}, ${contentType}, 'uploading')`);

  const writeChunks = async (tx: Tx, id: string, first: number, content: Uint8Array) => {
    for (let at = 0; at < content.byteLength; at += CHUNK_BYTES) {
      const chunk = Buffer.from(content.buffer, content.byteOffset + at, Math.min(CHUNK_BYTES, content.byteLength - at)); // prettier-ignore
      await tx.execute(sql('blob.writeChunk')`
        insert into blob_chunks (blob_id, number, content) values (${id}, ${first + at / CHUNK_BYTES}, ${chunk})
        on conflict (blob_id, number) do update set content = excluded.content`);
    }
  };

  /** Deletes a blob that has no name any more, in batches. Stopped in between, `sweep` goes on. */
  const remove = async (id: string | undefined): Promise<void> => {
    if (id === undefined) return;
    for (;;) {
      const removed = await db.execute(sql('blob.removeChunks')`
        delete from blob_chunks where blob_id = ${id} and number in (
          select number from blob_chunks where blob_id = ${id} limit ${REMOVE_CHUNKS})`);
      if (removed < REMOVE_CHUNKS) break;
    }
    await db.transaction(async (tx) => {
      await tx.execute(sql('blob.removeParts')`delete from blob_parts where blob_id = ${id}`);
      await tx.execute(sql('blob.remove')`
        delete from blobs where id = ${id} and state = 'removing'
          and not exists (select from blob_chunks where blob_id = ${id})`);
    });
  };

  const find = (name: string) =>
    db.row<{ id: string; content_type: string; size_bytes: bigint }>(sql('blob.find')`
      select id, content_type, size_bytes from blobs where name = ${name} and state = 'visible'`);

  return {
    async put(name, content, { contentType }) {
      checkName(name);
      if (content.byteLength > MOST_PUT_BYTES)
        throw new RangeError(`put takes at most ${MOST_PUT_BYTES} bytes: use an upload`);
      const id = uuidv7();
      const replaced = await db.transaction(
        async (tx) => {
          await insertBlob(tx, id, name, contentType);
          await writeChunks(tx, id, 0, content);
          return show(tx, id, name, content.byteLength);
        },
        { retry: true },
      );
      await remove(replaced);
    },

    async startUpload(name, { contentType }) {
      checkName(name);
      const id = uuidv7();
      await insertBlob(db, id, name, contentType);
      return id;
    },

    async putPart(handle, index, content) {
      checkPart(index, content);
      const tag = createHash('sha256').update(content).digest('base64url');
      await db.transaction(
        async (tx) => {
          const open = await tx.row(sql('blob.lockUpload')`
            select from blobs where id = ${handle} and state = 'uploading' for share`);
          if (!open) throw uploadEnded();
          // The part's row comes first: two senders of one part wait here for each other.
          await tx.execute(sql('blob.writePart')`
            insert into blob_parts (blob_id, index, tag, size_bytes) values (${handle}, ${index}, ${tag}, ${content.byteLength})
            on conflict (blob_id, index) do update set tag = excluded.tag, size_bytes = excluded.size_bytes`);
          // What is left of a longer part that this one replaces lies behind the end of the file, and goes when that is known.
          await writeChunks(tx, handle, index * CHUNKS_PER_PART, content);
        },
        { retry: true },
      );
      return tag;
    },

    async finishUpload(handle, parts) {
      const replaced = await db.transaction(
        async (tx) => {
          const blob = await tx.row<{ name: string; state: string }>(sql('blob.lock')`
            select name, state from blobs where id = ${handle} for update`);
          if (!blob || blob.state === 'removing') throw uploadEnded();
          const stored = await tx.rows<UploadedPart & { sizeBytes: number }>(sql('blob.parts')`
            select index, tag, size_bytes as "sizeBytes" from blob_parts where blob_id = ${handle} order by index`);
          const sizeBytes = sizeOf(stored, parts);
          if (blob.state === 'visible') return undefined;
          await tx.execute(sql('blob.cutChunks')`
            delete from blob_chunks where blob_id = ${handle} and number >= ${Math.ceil(sizeBytes / CHUNK_BYTES)}`);
          await tx.execute(sql('blob.cutParts')`
            delete from blob_parts where blob_id = ${handle} and index >= ${parts.length}`);
          return show(tx, handle, blob.name, sizeBytes);
        },
        { retry: true },
      );
      await remove(replaced);
    },

    async abortUpload(handle) {
      const ended = await db.row<{ id: string }>(sql('blob.abort')`
        update blobs set state = 'removing' where id = ${handle} and state <> 'visible' returning id`);
      await remove(ended?.id);
    },

    async stat(name) {
      checkName(name);
      const found = await find(name);
      return found && { sizeBytes: Number(found.size_bytes), contentType: found.content_type };
    },

    async *read(name, { from = 0, length = Number.POSITIVE_INFINITY } = {}) {
      checkName(name);
      const blob = await find(name);
      if (!blob) throw new Fault('not_found', 'NOT_FOUND');
      const end = Math.min(Number(blob.size_bytes), from + length);
      for (let at = from; at < end;) {
        const number = Math.floor(at / CHUNK_BYTES);
        const start = at - number * CHUNK_BYTES;
        const wanted = Math.min(CHUNK_BYTES - start, end - at);
        const chunk = await db.row<{ content: Buffer }>(sql('blob.readChunk')`
          select substring(content from ${start + 1}::int for ${wanted}::int) as content
          from blob_chunks where blob_id = ${blob.id} and number = ${number}`);
        if (chunk?.content.byteLength !== wanted)
          throw new Fault('not_found', 'NOT_FOUND', { detail: 'the file was removed while it was read' });
        yield chunk.content;
        at += wanted;
      }
    },

    async delete(name) {
      checkName(name);
      const hidden = await db.row<{ id: string }>(sql('blob.hide')`
        update blobs set state = 'removing' where name = ${name} and state = 'visible' returning id`);
      await remove(hidden?.id);
    },

    async *list(prefix) {
      for (let after = ''; ;) {
        const page = await db.rows<{ name: string }>(sql('blob.list')`
          select name from blobs where state = 'visible' and name ^@ ${prefix} and name > ${after}
          order by name limit ${LIST_PAGE}`);
        for (const { name } of page) yield name;
        if (page.length < LIST_PAGE) return;
        after = page.at(-1)!.name;
      }
    },

    async sweep(olderThan) {
      const left = await db.rows<{ id: string }>(sql('blob.sweep')`
        update blobs set state = 'removing' where id in (
          select id from blobs where state <> 'visible' and created_at < ${olderThan}
          order by created_at limit ${SWEEP_BATCH} for update skip locked)
        returning id`);
      for (const { id } of left) await remove(id);
      return left.length;
    },

    ping: () => db.ping(),
    close: () => Promise.resolve(), // the database is its owner's
  };
}

const uploadEnded = () => new Fault('not_found', 'NOT_FOUND', { detail: 'the upload has ended' });

/** The bytes of the parts that the sender names; an `invalid` fault unless they are those that are stored, in order and full. */
function sizeOf(
  stored: ReadonlyArray<UploadedPart & { sizeBytes: number }>,
  parts: readonly UploadedPart[],
): number {
  let sizeBytes = 0;
  parts.forEach(({ index, tag }, place) => {
    const part = stored[place];
    const full = place === parts.length - 1 || part?.sizeBytes === PART_BYTES;
    if (index !== place || part?.index !== place || part.tag !== tag || !full)
      throw new Fault('invalid', 'VALIDATION_FAILED', {
        detail: `part ${place} is missing, another one, or not ${PART_BYTES} bytes`,
      });
    sizeBytes += part.sizeBytes;
  });
  return sizeBytes;
}
