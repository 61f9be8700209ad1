import type { operationsV1 } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import { currentCall, withCallContext } from '@headroom/rpc';
import { Readable } from 'node:stream';

/** Reads a piece of a file, from a byte on. */
export type ReadChunk = (offset: bigint) => Promise<operationsV1.FileChunk>;

export interface StoredFile {
  contentType: string;
  sizeBytes: number;
  content: Readable;
}

/** The time of each further piece: a reader may be slow, a service may not. */
const CHUNK_MS = 5_000;

/**
 * A file that a service keeps, piece by piece as its reader takes them. Rejects when the first piece cannot be read; a
 * later failure ends the stream with an error, so that what was sent is seen to be incomplete.
 */
export async function openFile(read: ReadChunk): Promise<StoredFile> {
  const first = await read(0n);
  const call = currentCall()!;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    if (first.content.length > 0) yield first.content;
    for (let offset = BigInt(first.content.length); offset < first.sizeBytes;) {
      const at = offset;
      const piece = await withCallContext({ ...call, deadlineAt: Date.now() + CHUNK_MS }, () => read(at));
      if (piece.content.length === 0 || piece.sizeBytes !== first.sizeBytes)
        throw new Fault('internal', 'INTERNAL', { detail: `a file changed or ended at byte ${offset}` });
      offset += BigInt(piece.content.length);
      yield piece.content;
    }
  }
  return {
    contentType: first.contentType,
    sizeBytes: Number(first.sizeBytes),
    content: Readable.from(pieces(), { objectMode: false }),
  };
}
