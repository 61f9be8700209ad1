/** Size in bytes of every part of an upload but its last: what S3 asks for at least, and small enough to be held in memory. */
export const PART_BYTES = 5 * 1024 * 1024;

/** Largest file in bytes that `put` takes; larger ones come as uploads. */
export const MOST_PUT_BYTES = 16 * 1024 * 1024;

/** One part of an upload, as `putPart` confirmed it. */
export interface UploadedPart {
  /** 0, 1, 2... */
  index: number;
  tag: string;
}

export interface BlobInfo {
  sizeBytes: number;
  contentType: string;
}

/**
 * Files by name. A name stands for a whole file or for nothing: no reader ever sees a part of one, or a mixture of two. Names
 * are paths of A-Z, a-z, 0-9, `.`, `_` and `-`, at most 500 characters; another name is a programming error (TypeError).
 * Every method may be repeated. Faults: `unavailable` when the store cannot be reached, `not_found` for what does not exist.
 */
export interface BlobStore {
  /** Writes a file of at most MOST_PUT_BYTES, in place of any of that name. */
  put(name: string, content: Uint8Array, options: { contentType: string }): Promise<void>;
  /** Begins a file that comes in parts. Nothing is seen of it before `finishUpload`. Returns the handle for the calls below. */
  startUpload(name: string, options: { contentType: string }): Promise<string>;
  /**
   * Stores a part of 1 to PART_BYTES bytes; the same index again replaces it. Returns the tag that `finishUpload` asks for.
   * Fault `not_found` where the upload has ended.
   */
  putPart(handle: string, index: number, content: Uint8Array): Promise<string>;
  /**
   * Makes the file of these parts visible under its name, in place of any of that name. The parts are numbered 0, 1, 2... and all
   * but the last have exactly PART_BYTES; none make an empty file. Repeated after it worked, it works. Faults: `not_found` where
   * the upload was ended, `invalid` where the parts are not those that were stored.
   */
  finishUpload(handle: string, parts: readonly UploadedPart[]): Promise<void>;
  /** Ends an upload that was not finished and drops its parts; does nothing for any other. */
  abortUpload(handle: string): Promise<void>;
  /** Size and media type, or undefined where there is no such file. */
  stat(name: string): Promise<BlobInfo | undefined>;
  /**
   * The bytes from `from` (default 0) on, `length` of them or as many as there are, in pieces of at most 1 MiB; holds one or two
   * pieces in memory. Fault `not_found`, also when the file is removed or replaced under the reader.
   */
  read(name: string, range?: { from?: number; length?: number }): AsyncIterable<Uint8Array>;
  /** Removes a file; nothing happens where there is none. */
  delete(name: string): Promise<void>;
  /** The names that begin with `prefix`, in the order of their bytes. */
  list(prefix: string): AsyncIterable<string>;
  /**
   * Removes what uploads left behind that began before `olderThan` and were never finished, and the remains of removed files. Small
   * batches; returns how many files and uploads were cleaned away. To be called now and then.
   */
  sweep(olderThan: Date): Promise<number>;
  /** Rejects when the store cannot be used. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Throws a TypeError for a name that not every store could keep. */
export function checkName(name: string): void {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/.test(name) || name.length > 500)
    throw new TypeError(`not a name of a file: ${JSON.stringify(name.slice(0, 600))}`);
}

/** Throws a RangeError for a part that no store takes. */
export function checkPart(index: number, content: Uint8Array): void {
  if (!Number.isInteger(index) || index < 0 || index >= 10_000)
    throw new RangeError('the index of a part must be from 0 to 9999');
  if (content.byteLength === 0 || content.byteLength > PART_BYTES)
    throw new RangeError(`a part must have 1 to ${PART_BYTES} bytes`);
}
