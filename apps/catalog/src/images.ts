import { fault } from '@headroom/contracts';
import {
  addProgress,
  createTrackedJob,
  finishTrackedJob,
  type Jobs,
  type QueueOptions,
  type RunningJob,
} from '@headroom/jobs';
import { writeOutbox } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { Fault, isUuidv7, type Clock } from '@headroom/resilience';
import type { BlobStore, UploadKind, Uploads } from '@headroom/storage';
import { productEvent } from './events';
import { BadImage, checkImage, IMAGE_SIZES, imageFormat, MAGIC_BYTES, makeThumbnails } from './image-pixels';
import {
  advanceImage,
  forgetImageSet,
  markUnused,
  nextImageOrder,
  saveImageSet,
  takeUnused,
  useImageSet,
} from './image-repository';
import { changeProduct } from './product';
import { findProduct, lockProduct, updateProduct } from './repository';

/** The type of the tracked job, the kind of upload, and the first queue of a product's picture. */
export const PRODUCT_IMAGE = 'product-image';
const RENDER = 'product-image-render';
const PUBLISH = 'product-image-publish';
const CLEANUP = 'product-image-cleanup';

const MOST_BYTES = 10 * 1024 * 1024;
/** Pages, feeds and mails name a picture for some time after the product has got another. */
const KEEP_UNUSED_MS = 7 * 24 * 3_600_000;
const MARK_BATCH = 1_000;
const REMOVE_BATCH = 50;

const step: QueueOptions = {
  retryLimit: 8,
  retryDelaySeconds: 1,
  retryDelayMaxSeconds: 60,
  expireInSeconds: 40,
  maxQueued: 1_000,
};

/** For `openJobs`. */
export const IMAGE_QUEUES: Record<string, QueueOptions> = {
  [PRODUCT_IMAGE]: step,
  [RENDER]: step,
  [PUBLISH]: step,
  [CLEANUP]: { ...step, cron: '41 * * * *' },
};

/** What the steps hand on: which file, for which product, and its place among the pictures of all products. */
interface UploadedImage {
  productId: string;
  uploadId: string;
  file: string;
  /** A bigint as text. */
  order: string;
}
type RenderedImage = UploadedImage & { hash: string };

export interface ImageDeps {
  db: Database;
  blobs: BlobStore;
  uploads: Pick<Uploads, 'release' | 'remove'>;
  clock: Clock;
  wakeRelay?: () => void;
}

/** The URL by which a product names a set of thumbnails: its middle size. The others stand beside it, `-160` and `-1024`. */
export const imageUrlOf = (hash: string): string => `/images/${fileName(hash, IMAGE_SIZES[1])}`;

/** The name of a thumbnail in the URL; its content never changes. */
export const fileName = (hash: string, size: number): string => `${hash}-${size}.webp`;

/** A thumbnail in the blob store. */
export const blobOf = (name: string): string => `images/${name}`;

/**
 * Takes in pictures of products. Only the first bytes are looked at while the sender waits; the rest is a chain of jobs: the header
 * is checked, thumbnails are made and stored under the hash of their content, and the product names them. Each step may be
 * repeated, so a process may be killed at any place. Of several pictures for one product the one accepted last stays,
 * whichever is ready first.
 */
export function uploadedImages(
  { blobs, clock }: Pick<ImageDeps, 'blobs' | 'clock'>,
  jobs: Pick<Jobs, 'enqueue'>,
): UploadKind {
  return {
    maxBytes: MOST_BYTES,
    async begin(db, productId) {
      const product = isUuidv7(productId) ? await findProduct(db, productId) : undefined;
      if (!product) throw fault('NOT_FOUND');
      if (product.archived) throw fault('PRODUCT_ARCHIVED');
    },
    async check({ name }) {
      const head = await readAll(blobs, name, MAGIC_BYTES);
      if (!imageFormat(head)) throw fault('IMAGE_UNSUPPORTED');
    },
    async complete(tx, { uploadId, name, subjectId }) {
      const { id } = await createTrackedJob(tx, { type: PRODUCT_IMAGE, total: 1 }, clock.now());
      const order = String(await nextImageOrder(tx));
      const image: UploadedImage = { productId: subjectId, uploadId, file: name, order };
      await jobs.enqueue(tx, PRODUCT_IMAGE, image, { trackedJobId: id });
      return id;
    },
  };
}

/** Works on pictures in this process until closed. */
export async function workOnImages(deps: ImageDeps, jobs: Jobs): Promise<{ close(): Promise<void> }> {
  const workers = [
    await jobs.work<UploadedImage>(PRODUCT_IMAGE, (job) => checkStep(deps, job)),
    await jobs.work<UploadedImage>(RENDER, (job) => renderStep(deps, job)),
    await jobs.work<RenderedImage>(PUBLISH, (job) => publishStep(deps, job)),
    await jobs.work(CLEANUP, async (job) => void (await removeUnusedImages(deps, job.signal))),
  ];
  return { close: async () => void (await Promise.all(workers.map((worker) => worker.close()))) };
}

type Step<P> = Pick<RunningJob<P>, 'payload' | 'trackedJobId' | 'complete' | 'continueWith'>;

/** Refuses what must not be decoded. */
export async function checkStep(deps: ImageDeps, job: Step<UploadedImage>): Promise<void> {
  await orRefuse(deps, job, async () => {
    await checkImage(await readAll(deps.blobs, job.payload.file));
    await deps.db.transaction(async (tx) => {
      await addProgress(tx, job.trackedJobId!);
      await job.continueWith(tx, job.payload, { queue: RENDER });
    });
  });
}

/** Makes and stores the thumbnails. Nobody knows their names yet. */
export async function renderStep(deps: ImageDeps, job: Step<UploadedImage>): Promise<void> {
  const { db, blobs, clock } = deps;
  await orRefuse(deps, job, async () => {
    const { hash, files } = await makeThumbnails(await readAll(blobs, job.payload.file));
    const saved = await saveImageSet(db, { hash, url: imageUrlOf(hash), nowMs: clock.now() });
    if (!saved)
      throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
        detail: 'the same picture is being removed',
      });
    // The same names mean the same content, so that repeating this changes nothing for anybody.
    for (const { size, content } of files)
      await blobs.put(blobOf(fileName(hash, size)), content, { contentType: 'image/webp' });
    await db.transaction((tx) =>
      job.continueWith(tx, { ...job.payload, hash } satisfies RenderedImage, { queue: PUBLISH }),
    );
  });
}

/** Makes the product name its picture, with the event that tells of it, unless it has a later one. */
export async function publishStep(deps: ImageDeps, job: Step<RenderedImage>): Promise<void> {
  const { db, uploads, clock, wakeRelay } = deps;
  const { productId, uploadId, hash, order } = job.payload;
  await orRefuse(deps, job, async () => {
    await db.transaction(async (tx) => {
      const product = await lockProduct(tx, productId);
      if (!product) throw new BadImage('IMAGE_UNSUPPORTED', 'the product does not exist');
      const latest = await advanceImage(tx, productId, BigInt(order));
      if (latest && !(await useImageSet(tx, hash)))
        throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
          detail: 'the thumbnails are being removed',
        });
      const changed = latest
        ? changeProduct(product, { imageUrl: imageUrlOf(hash) }, clock.now())
        : undefined;
      if (changed) {
        await updateProduct(tx, changed.product);
        await writeOutbox(tx, [productEvent(changed)], wakeRelay);
      }
      await addProgress(tx, job.trackedJobId!, {
        processed: 1,
        ...(changed ? { updated: 1 } : { unchanged: 1 }),
      });
      await finishTrackedJob(tx, job.trackedJobId!, 'succeeded', { nowMs: clock.now() });
      await uploads.release(tx, uploadId);
      await job.complete(tx);
    });
    await uploads.remove(uploadId);
  });
}

/**
 * Ends the upload as failed, with the reason, where the picture or its product is at fault; repeating would not help. Any other error
 * is thrown on, for another attempt.
 */
async function orRefuse(deps: ImageDeps, job: Step<UploadedImage>, work: () => Promise<void>): Promise<void> {
  const { db, uploads, clock } = deps;
  try {
    return await work();
  } catch (error) {
    const isFinal =
      error instanceof BadImage || (error instanceof Fault && error.code === 'PRODUCT_ARCHIVED');
    if (!isFinal) throw error;
    const { uploadId } = job.payload;
    await db.transaction(async (tx) => {
      await addProgress(tx, job.trackedJobId!, { processed: 1, rejected: 1 });
      await finishTrackedJob(tx, job.trackedJobId!, 'failed', {
        errors: [{ line: 0, code: error.code, reason: error.message }],
        nowMs: clock.now(),
      });
      await uploads.release(tx, uploadId);
      await job.complete(tx);
    });
    await uploads.remove(uploadId);
  }
}

/** Removes thumbnails that no product has named for a week, however it came to name or to leave them. Returns how many sets. */
export async function removeUnusedImages(
  { db, blobs, clock }: Pick<ImageDeps, 'db' | 'blobs' | 'clock'>,
  signal?: AbortSignal,
): Promise<number> {
  for (let afterHash: string | undefined = ''; afterHash !== undefined && !signal?.aborted;)
    afterHash = await markUnused(db, { afterHash, limit: MARK_BATCH, nowMs: clock.now() });
  let removed = 0;
  while (!signal?.aborted) {
    const before = new Date(clock.now() - KEEP_UNUSED_MS);
    const hashes = await takeUnused(db, { before, limit: REMOVE_BATCH });
    for (const hash of hashes) {
      for (const size of IMAGE_SIZES) await blobs.delete(blobOf(fileName(hash, size)));
      await forgetImageSet(db, hash);
    }
    removed += hashes.length;
    if (hashes.length < REMOVE_BATCH) break;
  }
  return removed;
}

/** A file, or its first `length` bytes, in memory. */
async function readAll(blobs: BlobStore, name: string, length?: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of blobs.read(name, length === undefined ? {} : { length })) pieces.push(piece);
  return Buffer.concat(pieces);
}
