import type { Database, Tx } from '@headroom/postgres';
import { Fault, isUuidv7, systemClock, uuidv7, type Clock } from '@headroom/resilience';
import { PART_BYTES, type BlobStore } from './blob-store';
import {
  acceptUpload,
  countOpen,
  findParts,
  findUpload,
  forgetRemoved,
  insertUpload,
  markRemoved,
  releaseUpload,
  savePart,
  takeBack,
  takeStale,
  type Upload,
} from './uploads-repository';

/** A file that is whole and kept. */
export interface UploadedFile {
  uploadId: string;
  /** In the blob store. */
  name: string;
  sizeBytes: number;
  /** As its sender called it, in lower case and without parameters. */
  contentType: string;
  /** What it belongs to, e.g. a product's id; empty: nothing. */
  subjectId: string;
}

/** A kind of file that a service takes in, and what it does with it. */
export interface UploadKind {
  maxBytes: number;
  /** Media types that are taken; any when left out. */
  contentTypes?: readonly string[];
  /** Throws a fault (NOT_FOUND) where `subjectId` names nothing that such a file could belong to. */
  begin?(db: Database, subjectId: string): Promise<void>;
  /**
   * Looks into the whole file before it is accepted, outside any transaction; a fault that is not transient ends the upload and
   * removes the file.
   */
  check?(file: UploadedFile): Promise<void>;
  /**
   * Queues the work on the file, in the transaction that accepts it, and returns the id of the job. No call to anything but `tx`
   * belongs here. A fault that is not transient ends the upload and removes the file.
   */
  complete(tx: Tx, file: UploadedFile): Promise<string>;
}

/**
 * Files that come in by parts of exactly 5 MiB, the last one shorter: what operations.v1.UploadService offers, one method each.
 * Every call may be repeated and may reach another replica. Nothing is queued before the completion; what is never completed is
 * removed by `cleanUp`. Faults: NOT_FOUND for an unknown upload or one that has ended, VALIDATION_FAILED that names the field.
 */
export interface Uploads {
  /** Returns the upload's id. Faults: MEDIA_TYPE_UNSUPPORTED, OVERLOADED with too many unfinished uploads, those of the kind. */
  begin(request: { kind: string; contentType: string; subjectId: string }): Promise<string>;
  /** Keeps a part; the same index again replaces it. Fault BODY_TOO_LARGE beyond the kind's limit, with nothing stored. */
  append(request: { uploadId: string; index: number; content: Uint8Array }): Promise<void>;
  /** Keeps the file of the parts 0 to `parts` - 1 and queues the work. Returns the id of the job; the same one when repeated. */
  complete(request: { uploadId: string; parts: number }): Promise<string>;
  /** Drops an upload that is not complete; does nothing to any other. */
  abandon(request: { uploadId: string }): Promise<void>;
  /**
   * For the transaction in which the work on a file ends, well or badly: the file is no longer needed. It goes with the next
   * `cleanUp`, or at once by `remove` after the commit.
   */
  release(tx: Tx, uploadId: string): Promise<void>;
  /** Removes the file of a released or abandoned upload now. */
  remove(uploadId: string): Promise<void>;
  /**
   * Removes uploads that began before `olderThan` and were not completed, files that were released, and what such uploads left in
   * the store; at most 50 files at a time. Files whose work never ended go after 30 days. Returns how many were removed: call it again
   * soon while that is not 0. Any number of processes may do so side by side.
   */
  cleanUp(olderThan: Date): Promise<number>;
}

/** Unfinished uploads of one service at a time: a bound on what strangers' broken clients can fill the disk with. */
const MOST_OPEN = 200;
const CLEAN_BATCH = 50;
/** A job that ends in the dead letters may be requeued for so long. */
const KEEP_UNRELEASED_MS = 30 * 24 * 3_600_000;

/**
 * The uploads of a service, whose database has `storageMigrations()`. `importedFiles` of `@headroom/jobs` is a kind that is read line
 * by line. The work on a file ends with `uploads.release(tx, uploadId)` in its last transaction and `uploads.remove(uploadId)` behind
 * it. A minute's round calls `uploads.cleanUp(new Date(clock.now() - 24 * 3_600_000))`.
 */
export function createUploads(deps: {
  db: Database;
  blobs: BlobStore;
  kinds: Record<string, UploadKind>;
  clock?: Clock;
}): Uploads {
  const { db, blobs, clock = systemClock } = deps;
  const kinds = new Map(Object.entries(deps.kinds));

  const kindOf = (name: string): UploadKind => {
    const kind = kinds.get(name);
    if (!kind) throw invalid('kind', `must be one of ${[...kinds.keys()].join(', ')}`);
    return kind;
  };
  const load = async (uploadId: string): Promise<Upload> => {
    const upload = isUuidv7(uploadId) ? await findUpload(db, uploadId) : undefined;
    if (!upload) throw new Fault('not_found', 'NOT_FOUND');
    return upload;
  };

  const remove = async (upload: Upload) => {
    await blobs.abortUpload(upload.handle);
    await blobs.delete(upload.name);
    await markRemoved(db, upload.id);
  };
  const giveUp = async (uploadId: string) => {
    const upload = await takeBack(db, uploadId);
    if (upload) await remove(upload);
  };

  return {
    async begin({ kind: kindName, subjectId, ...request }) {
      const kind = kindOf(kindName);
      const contentType = mediaType(request.contentType);
      if (contentType.length > 200) throw invalid('contentType', 'must be at most 200 characters');
      if (kind.contentTypes && !kind.contentTypes.includes(contentType))
        throw new Fault('unsupported_type', 'MEDIA_TYPE_UNSUPPORTED', {
          detail: `expected ${kind.contentTypes.join(' or ')}`,
        });
      await kind.begin?.(db, subjectId);
      if ((await countOpen(db, MOST_OPEN)) >= MOST_OPEN)
        throw new Fault('overloaded', 'OVERLOADED', {
          detail: 'too many uploads are not finished',
          retryAfterSeconds: 60,
        });
      const id = uuidv7(clock.now());
      const name = `uploads/${kindName}/${id}`;
      // A process that dies between the two leaves nothing but an unfinished upload in the store, which the clean-up finds there.
      const handle = await blobs.startUpload(name, { contentType });
      await insertUpload(db, {
        id,
        kind: kindName,
        contentType,
        subjectId,
        name,
        handle,
        createdAt: new Date(clock.now()),
      });
      return id;
    },

    async append({ uploadId, index, content }) {
      if (!Number.isInteger(index) || index < 0) throw invalid('index', 'must be a whole number from 0');
      if (content.byteLength === 0 || content.byteLength > PART_BYTES)
        throw invalid('content', `must have 1 to ${PART_BYTES} bytes`);
      const upload = await load(uploadId);
      const { maxBytes } = kindOf(upload.kind);
      // All parts before this one are full.
      if (index * PART_BYTES + content.byteLength > maxBytes)
        throw new Fault('too_large', 'BODY_TOO_LARGE', { detail: `at most ${maxBytes} bytes are accepted` });
      if (upload.state !== 'open') throw new Fault('not_found', 'NOT_FOUND');
      const tag = await blobs.putPart(upload.handle, index, content);
      await savePart(db, uploadId, { index, tag, sizeBytes: content.byteLength });
    },

    async complete({ uploadId, parts: count }) {
      if (!Number.isInteger(count) || count < 0) throw invalid('parts', 'must be a whole number from 0');
      const upload = await load(uploadId);
      if (upload.jobId !== null) return upload.jobId;
      if (upload.state !== 'open') throw new Fault('not_found', 'NOT_FOUND');
      const kind = kindOf(upload.kind);
      const parts = (await findParts(db, uploadId)).slice(0, count);
      parts.forEach(({ index, sizeBytes }, place) => {
        if (index !== place) throw invalid('parts', `part ${place} is missing`);
        if (place < count - 1 && sizeBytes !== PART_BYTES)
          throw invalid('parts', `part ${place} is not the last and must have ${PART_BYTES} bytes`);
      });
      if (parts.length < count) throw invalid('parts', `part ${parts.length} is missing`);

      const file: UploadedFile = {
        uploadId,
        name: upload.name,
        sizeBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        contentType: upload.contentType,
        subjectId: upload.subjectId,
      };
      await blobs.finishUpload(upload.handle, parts);
      try {
        await kind.check?.(file);
        return await db.transaction((tx) =>
          acceptUpload(tx, uploadId, async (accepted) => {
            if (accepted && accepted.jobId !== null) return accepted.jobId;
            if (accepted?.state !== 'open') throw new Fault('not_found', 'NOT_FOUND');
            return kind.complete(tx, file);
          }),
        );
      } catch (error) {
        if (!isFinal(error)) throw error;
        // Another call may have completed it meanwhile; then this one's error says nothing about the file.
        const now = await load(uploadId);
        if (now.jobId !== null) return now.jobId;
        if (now.state === 'open') await giveUp(uploadId);
        else await blobs.delete(upload.name); // it became visible behind the back of whoever dropped it
        throw error;
      }
    },

    async abandon({ uploadId }) {
      await load(uploadId);
      await giveUp(uploadId);
    },

    release: releaseUpload,

    async remove(uploadId) {
      const upload = await load(uploadId);
      if (upload.state === 'released' || upload.state === 'abandoned') await remove(upload);
    },

    async cleanUp(olderThan) {
      const stale = await takeStale(db, {
        openSince: olderThan,
        completedSince: new Date(olderThan.getTime() - KEEP_UNRELEASED_MS),
        limit: CLEAN_BATCH,
      });
      for (const upload of stale) await remove(upload);
      const forgotten = await forgetRemoved(db, { before: olderThan, limit: CLEAN_BATCH });
      return stale.length + forgotten + (await blobs.sweep(olderThan));
    },
  };
}

/** True for an error that the same file would meet again. */
function isFinal(error: unknown): boolean {
  return (
    error instanceof Fault &&
    !['unavailable', 'overloaded', 'timeout', 'throttled', 'internal'].includes(error.kind)
  );
}

const invalid = (path: string, message: string) =>
  new Fault('invalid', 'VALIDATION_FAILED', { detail: `${path} ${message}`, errors: [{ path, message }] });

const mediaType = (contentType: string) => contentType.split(';')[0]!.trim().toLowerCase();
