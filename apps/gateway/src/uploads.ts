import { fault, type operationsV1 } from '@headroom/contracts';
import { backoffMs, Fault, type Clock } from '@headroom/resilience';
import { currentCall, withCallContext } from '@headroom/rpc';
import type { Logger } from '@headroom/telemetry';
import type { Readable } from 'node:stream';
import type { UploadCalls } from './deps';

/** One file on its way in. */
export interface Upload {
  /** The service that takes it. */
  service: UploadCalls;
  kind: 'product-import' | 'product-image' | 'order-import';
  contentType: string;
  /** What the file is about; empty where it stands for itself. */
  subjectId: string;
  limitBytes: number;
  body: Readable;
}

export interface Uploads {
  /**
   * Passes a body on in parts and resolves when its work is queued. One part is held at a time: a service that is slow slows
   * the client down. A body that ends early, stalls or grows beyond its limit leaves nothing behind.
   *
   * Throws BODY_TOO_LARGE, BODY_MALFORMED for a body that is empty, ends early or stalls, OVERLOADED while too many files
   * come in, and whatever the service finds wrong with the file.
   */
  accept(upload: Upload): Promise<operationsV1.UploadAccepted>;
  /** How many files are coming in. */
  readonly open: number;
}

/** All parts but the last have this size. */
export const PART_BYTES = 5 * 1024 * 1024;
/** The time of one call. The body between two calls has time of its own. */
export const UPLOAD_CALL_MS = 15_000;
/** A client that sends nothing for so long has gone. */
export const STALLED_MS = 30_000;
/** With up to three parts each (collected, joined, sent) they hold 240 MiB at most. */
const MOST_UPLOADS = 16;
const MOST_TRIES = 4;

/** The files that are coming in through one gateway, at most `limit` at once. */
export function createUploads(options: { clock: Clock; logger: Logger; limit?: number }): Uploads {
  const { clock, logger, limit = MOST_UPLOADS } = options;
  let open = 0;

  /** Every call has time of its own, and may be repeated: a replica that goes away during a long upload must not end it. */
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await withCallContext({ ...currentCall()!, deadlineAt: Date.now() + UPLOAD_CALL_MS }, work);
      } catch (error) {
        if (attempt === MOST_TRIES || !isTemporary(error)) throw error;
        await clock.sleep(backoffMs(attempt, { baseMs: 200, capMs: 2_000 }));
      }
    }
  };

  /** The next bytes of the client, undefined at the end of the body. */
  const next = async (chunks: AsyncIterator<Buffer>): Promise<Buffer | undefined> => {
    const arrived = new AbortController();
    try {
      const found = await Promise.race([
        chunks.next(),
        clock.sleep(STALLED_MS, arrived.signal).then(() => 'stalled' as const),
      ]);
      if (found === 'stalled')
        throw fault('BODY_MALFORMED', { detail: `no byte of the body came for ${STALLED_MS / 1_000} s` });
      return found.done ? undefined : found.value;
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw fault('BODY_MALFORMED', { detail: 'the body ended early', cause: error });
    } finally {
      arrived.abort();
    }
  };

  async function send({ service, body, limitBytes }: Upload, uploadId: string): Promise<number> {
    // Leaving the loop must not destroy the request: its answer is still to be written.
    const chunks = body.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    let collected: Buffer[] = [];
    let collectedBytes = 0;
    let sizeBytes = 0;
    let parts = 0;
    const append = async (content: Buffer) => {
      await call(() => service.appendUpload({ uploadId, index: parts, content }));
      parts += 1;
    };
    try {
      for (let chunk = await next(chunks); chunk; chunk = await next(chunks)) {
        sizeBytes += chunk.length;
        if (sizeBytes > limitBytes) throw tooLarge(limitBytes);
        collected.push(chunk);
        collectedBytes += chunk.length;
        while (collectedBytes >= PART_BYTES) {
          const whole = Buffer.concat(collected, collectedBytes);
          const rest = whole.subarray(PART_BYTES);
          await append(whole.subarray(0, PART_BYTES));
          collected = rest.length > 0 ? [Buffer.from(rest)] : [];
          collectedBytes = rest.length;
        }
      }
    } finally {
      void chunks.return?.();
    }
    if (collectedBytes > 0) await append(Buffer.concat(collected, collectedBytes));
    return parts;
  }

  return {
    get open() {
      return open;
    },
    async accept(upload) {
      if (open >= limit)
        throw fault('OVERLOADED', { detail: 'too many files are coming in', retryAfterSeconds: 5 });
      open += 1;
      const { service, kind, contentType, subjectId } = upload;
      let uploadId = '';
      try {
        ({ uploadId } = await call(() => service.beginUpload({ kind, contentType, subjectId })));
        const parts = await send(upload, uploadId);
        if (parts === 0) throw fault('BODY_MALFORMED', { detail: 'the body is empty' });
        return await call(() => service.completeUpload({ uploadId, parts }));
      } catch (error) {
        // What was perhaps completed stays: the job may be at work. Anything else is cleared now rather than in a day.
        if (uploadId !== '' && !isTemporary(error))
          await call(() => service.abandonUpload({ uploadId })).catch((cause: unknown) =>
            logger.warn('an upload was not abandoned: it will expire', { err: cause }),
          );
        throw error;
      } finally {
        open -= 1;
      }
    },
  };
}

/** A body beyond the limit of its route. */
export const tooLarge = (limitBytes: number) =>
  fault('BODY_TOO_LARGE', { detail: `at most ${limitBytes / 1024 / 1024} MiB are accepted here` });

const isTemporary = (error: unknown): boolean =>
  error instanceof Fault && ['unavailable', 'timeout', 'overloaded'].includes(error.kind);
