import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { Fault } from '@headroom/resilience';
import { durationHistogram, inSpan, type Logger } from '@headroom/telemetry';
import { randomUUID } from 'node:crypto';
import { checkName, checkPart, MOST_PUT_BYTES, type BlobStore } from './blob-store';
import type { S3Location } from './s3-url';

const CONNECT_TIMEOUT_MS = 2_000;
/** Of one try, until its answer begins; may be less for tests. */
const ANSWER_TIMEOUT_MS = 15_000;
/** Of a connection on which nothing moves, as under a body that stops coming. */
const IDLE_TIMEOUT_MS = 15_000;
/** The first one counted; between them the client waits exponentially longer, with jitter. */
const MOST_TRIES = 3;
const SWEEP_BATCH = 100;
const PIECE_BYTES = 1024 * 1024;
/** The object says which upload made it, so that finishing again knows its own work from another's. */
const MADE_BY = 'headroom-upload';

const observe = durationHistogram({
  name: 'storage_s3_request_seconds',
  help: 'Time of one call of the object store until its answer begins, tries included',
  labels: ['operation', 'outcome'],
});

/**
 * Files as objects of a bucket, by multipart uploads of the S3 API (Amazon S3 API Reference, 2006-03-01). Credentials come from
 * the standard AWS_* variables, files or the instance. Calls have time-outs and at most three tries; what the store does not
 * answer, refuses or fails at is an `unavailable` fault, since no caller can help it.
 */
export function createS3Store(options: S3Location & { logger: Logger; answerTimeoutMs?: number }): BlobStore {
  const { bucket: Bucket, prefix, logger } = options;
  const client = new S3Client({
    region: options.region,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint, forcePathStyle: true }),
    maxAttempts: MOST_TRIES,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      socketTimeout: IDLE_TIMEOUT_MS,
    },
    // Not every compatible server knows the newer checksums; TLS and Content-MD5 are there without them.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const keyOf = (name: string) => prefix + name;

  /** Sends a command; `expected` are the errors, by their S3 names, that the caller has an answer to and gets as they are. */
  const send = async <T>(
    operation: string,
    work: () => Promise<T>,
    expected: readonly string[] = [],
  ): Promise<T> => {
    const start = performance.now();
    let outcome = 'ok';
    try {
      return await inSpan(
        `s3 ${operation}`,
        { kind: 'client', attributes: { 'rpc.method': operation } },
        work,
      );
    } catch (error) {
      const name = nameOf(error);
      outcome = expected.includes(name) ? 'expected' : 'error';
      if (outcome === 'expected') throw error;
      logger.warn('a call of the object store failed', { err: error, method: operation });
      throw unavailable(error);
    } finally {
      observe({ operation, outcome }, (performance.now() - start) / 1_000);
    }
  };

  const head = async (name: string) => {
    try {
      return await send(
        'HeadObject',
        () => client.send(new HeadObjectCommand({ Bucket, Key: keyOf(name) })),
        MISSING,
      );
    } catch (error) {
      if (MISSING.includes(nameOf(error))) return undefined;
      throw error;
    }
  };
  const putObject = (name: string, content: Uint8Array, contentType: string, madeBy?: string) =>
    send('PutObject', () =>
      client.send(
        new PutObjectCommand({
          Bucket,
          Key: keyOf(name),
          Body: content,
          ContentType: contentType,
          ContentLength: content.byteLength,
          ...(madeBy === undefined ? {} : { Metadata: { [MADE_BY]: madeBy } }),
        }),
      ),
    );
  /** False where there is no such upload. */
  const ofUpload = (operation: string, work: () => Promise<unknown>) =>
    send(operation, work, ['NoSuchUpload']).then(
      () => true,
      (error: unknown) => {
        if (nameOf(error) === 'NoSuchUpload') return false;
        throw error;
      },
    );
  const abort = (key: string, UploadId: string) =>
    ofUpload('AbortMultipartUpload', () =>
      client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId })),
    );
  const isOpen = ({ name, uploadId }: Handle) =>
    ofUpload('ListParts', () =>
      client.send(new ListPartsCommand({ Bucket, Key: keyOf(name), UploadId: uploadId, MaxParts: 1 })),
    );
  const madeByUpload = async ({ name, token }: Handle) => (await head(name))?.Metadata?.[MADE_BY] === token;

  return {
    async put(name, content, { contentType }) {
      checkName(name);
      if (content.byteLength > MOST_PUT_BYTES)
        throw new RangeError(`put takes at most ${MOST_PUT_BYTES} bytes: use an upload`);
      await putObject(name, content, contentType);
    },

    async startUpload(name, { contentType }) {
      checkName(name);
      const token = randomUUID();
      const { UploadId } = await send('CreateMultipartUpload', () =>
        client.send(
          new CreateMultipartUploadCommand({
            Bucket,
            Key: keyOf(name),
            ContentType: contentType,
            Metadata: { [MADE_BY]: token },
          }),
        ),
      );
      return writeHandle({ name, contentType, token, uploadId: UploadId! });
    },

    async putPart(text, index, content) {
      checkPart(index, content);
      const handle = readHandle(text);
      try {
        const { ETag } = await send(
          'UploadPart',
          () =>
            client.send(
              new UploadPartCommand({
                Bucket,
                Key: keyOf(handle.name),
                UploadId: handle.uploadId,
                PartNumber: index + 1,
                Body: content,
                ContentLength: content.byteLength,
              }),
            ),
          ['NoSuchUpload'],
        );
        return ETag!;
      } catch (error) {
        throw nameOf(error) === 'NoSuchUpload' ? uploadEnded(error) : error;
      }
    },

    async finishUpload(text, parts) {
      const handle = readHandle(text);
      if (parts.some(({ index }, place) => index !== place)) throw wrongParts();
      if (parts.length === 0) {
        // S3 has no multipart upload without parts. A process that dies before the abort leaves an upload to the sweep.
        if (await madeByUpload(handle)) return;
        if (!(await isOpen(handle))) throw uploadEnded();
        await putObject(handle.name, new Uint8Array(), handle.contentType, handle.token);
        await abort(keyOf(handle.name), handle.uploadId);
        return;
      }
      try {
        await send(
          'CompleteMultipartUpload',
          () =>
            client.send(
              new CompleteMultipartUploadCommand({
                Bucket,
                Key: keyOf(handle.name),
                UploadId: handle.uploadId,
                MultipartUpload: {
                  Parts: parts.map(({ index, tag }) => ({ PartNumber: index + 1, ETag: tag })),
                },
              }),
            ),
          ['NoSuchUpload', ...WRONG_PARTS],
        );
      } catch (error) {
        if (WRONG_PARTS.includes(nameOf(error))) throw wrongParts(error);
        if (nameOf(error) !== 'NoSuchUpload') throw error;
        if (!(await madeByUpload(handle))) throw uploadEnded(error);
      }
    },

    async abortUpload(text) {
      const handle = readHandle(text);
      await abort(keyOf(handle.name), handle.uploadId);
    },

    async stat(name) {
      checkName(name);
      const found = await head(name);
      return (
        found && {
          sizeBytes: found.ContentLength ?? 0,
          contentType: found.ContentType ?? 'application/octet-stream',
        }
      );
    },

    async *read(name, { from = 0, length = Number.POSITIVE_INFINITY } = {}) {
      checkName(name);
      if (length <= 0) return;
      let body;
      try {
        const answer = await send(
          'GetObject',
          () =>
            client.send(
              new GetObjectCommand({
                Bucket,
                Key: keyOf(name),
                Range: `bytes=${from}-${length === Number.POSITIVE_INFINITY ? '' : from + length - 1}`,
              }),
            ),
          [...MISSING, 'InvalidRange'],
        );
        body = answer.Body;
      } catch (error) {
        if (nameOf(error) === 'InvalidRange') return; // nothing is there from that byte on
        throw MISSING.includes(nameOf(error)) ? new Fault('not_found', 'NOT_FOUND', { cause: error }) : error;
      }
      try {
        // Left early, the loop destroys the body and with it the connection.
        for await (const piece of body as AsyncIterable<Uint8Array>)
          for (let at = 0; at < piece.byteLength; at += PIECE_BYTES)
            yield piece.subarray(at, at + PIECE_BYTES);
      } catch (error) {
        throw error instanceof Fault ? error : unavailable(error);
      }
    },

    async delete(name) {
      checkName(name);
      await send(
        'DeleteObject',
        () => client.send(new DeleteObjectCommand({ Bucket, Key: keyOf(name) })),
        MISSING,
      ).catch((error: unknown) => {
        if (!MISSING.includes(nameOf(error))) throw error;
      });
    },

    async *list(wanted) {
      for (let token: string | undefined; ;) {
        const page = await send('ListObjectsV2', () =>
          client.send(new ListObjectsV2Command({ Bucket, Prefix: keyOf(wanted), ContinuationToken: token })),
        );
        for (const { Key } of page.Contents ?? []) yield Key!.slice(prefix.length);
        token = page.NextContinuationToken;
        if (!page.IsTruncated || token === undefined) return;
      }
    },

    async sweep(olderThan) {
      const page = await send('ListMultipartUploads', () =>
        client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: prefix, MaxUploads: 1_000 })),
      );
      const old = (page.Uploads ?? []).filter(({ Initiated }) => Initiated && Initiated < olderThan);
      const batch = old.slice(0, SWEEP_BATCH);
      for (const { Key, UploadId } of batch) await abort(Key!, UploadId!);
      return batch.length;
    },

    async ping() {
      await send('HeadBucket', () => client.send(new HeadBucketCommand({ Bucket })));
    },

    close() {
      client.destroy();
      return Promise.resolve();
    },
  };
}

/** An upload as its owner carries it from call to call. */
interface Handle {
  name: string;
  contentType: string;
  token: string;
  uploadId: string;
}

const writeHandle = (handle: Handle) => JSON.stringify(handle);
const readHandle = (text: string) => JSON.parse(text) as Handle;

const MISSING: readonly string[] = ['NoSuchKey', 'NotFound'];
const WRONG_PARTS: readonly string[] = ['InvalidPart', 'InvalidPartOrder', 'EntityTooSmall'];

const nameOf = (error: unknown) => (error instanceof Error ? error.name : '');

const uploadEnded = (cause?: unknown) =>
  new Fault('not_found', 'NOT_FOUND', { detail: 'the upload has ended', cause });
const wrongParts = (cause?: unknown) =>
  new Fault('invalid', 'VALIDATION_FAILED', {
    detail: 'a part is missing, another one, or too short',
    cause,
  });
const unavailable = (cause: unknown) =>
  new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
    detail: 'the object store is not available',
    cause,
    retryAfterSeconds: 1,
  });
