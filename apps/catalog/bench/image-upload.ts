import { freePort, startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { createTrackedJob, jobsMigrations, loadTrackedJob, openJobs } from '@headroom/jobs';
import { messagingMigrations } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { systemClock, uuidv7 } from '@headroom/resilience';
import { createUploads, openBlobStore, storageMigrations, type UploadKind } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { IMAGE_QUEUES, PRODUCT_IMAGE, uploadedImages, workOnImages } from '../src/images';
import { createProduct } from '../src/product';
import { insertProducts } from '../src/repository';

/**
 * How long the sender of a picture waits, beside the sender of a file of the same size whose job does nothing. Both are sent in turn
 * to one process that also makes the thumbnails, one after the other, each pair when the work of the one before is done or, with
 * `--busy`, while it is under way. The exit code tells whether the medians differ by less than a quarter without `--busy`.
 * `npx tsx --tsconfig tsconfig.base.json apps/catalog/bench/image-upload.ts --rounds 30`
 */
async function measureImageUpload(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      rounds: { type: 'string', default: '30' },
      busy: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const directory = temporaryDirectory('image-upload');
  const server = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: true,
  });
  try {
    await server.ensureDatabases(['catalog']);
    const url = server.url('catalog');
    for (const migrations of [
      migrationsDirectory(join(__dirname, '../src')),
      messagingMigrations('outbox'),
      jobsMigrations(),
      storageMigrations(),
    ])
      await migrate({ url, directory: migrations, logger: silentLogger });
    const db = openDatabase({ url, name: 'image-upload', logger: silentLogger });
    const blobs = await openBlobStore({ url: undefined, db, logger: silentLogger });
    const queues = { ...IMAGE_QUEUES, nothing: IMAGE_QUEUES[PRODUCT_IMAGE]! };
    const jobs = await openJobs({ db, logger: silentLogger, queues });
    const nothing: UploadKind = {
      maxBytes: 10 * 1024 * 1024,
      async complete(tx) {
        const { id } = await createTrackedJob(tx, { type: 'nothing' });
        await jobs.enqueue(tx, 'nothing', {});
        return id;
      },
    };
    const uploads = createUploads({
      db,
      blobs,
      kinds: { nothing, [PRODUCT_IMAGE]: uploadedImages({ blobs, clock: systemClock }, jobs) },
    });
    const workers = await workOnImages({ db, blobs, uploads, clock: systemClock }, jobs);
    await jobs.work('nothing', async () => undefined);

    const productId = uuidv7();
    await db.transaction((tx) =>
      insertProducts(tx, [
        createProduct(
          {
            ...{
              sku: 'S',
              name: 'N',
              description: '',
              category: '',
              imageUrl: '',
              group: null,
              options: null,
            },
            ...{ priceMinor: 1n, currency: 'EUR' },
          },
          { id: productId, slug: 'n', nowMs: Date.now() },
        ).product,
      ]),
    );
    const content = await photograph();
    const send = async (kind: string) => {
      const startMs = performance.now();
      const uploadId = await uploads.begin({ kind, contentType: 'image/jpeg', subjectId: productId });
      await uploads.append({ uploadId, index: 0, content });
      const jobId = await uploads.complete({ uploadId, parts: 1 });
      return { jobId, tookMs: performance.now() - startMs };
    };
    const took = { picture: [] as number[], empty: [] as number[], work: [] as number[] };
    const running = [];
    for (let round = -3; round < Number(options.rounds); round += 1) {
      const kinds = [PRODUCT_IMAGE, 'nothing'];
      for (const kind of round % 2 === 0 ? kinds : kinds.reverse()) {
        const { jobId, tookMs } = await send(kind);
        if (round >= 0) took[kind === 'nothing' ? 'empty' : 'picture'].push(tookMs);
        if (kind === 'nothing') continue;
        const startMs = performance.now();
        const work = eventually(async () => {
          const { status, errors } = (await loadTrackedJob(db, jobId))!;
          if (status === 'failed') throw new Error(errors.map(({ reason }) => reason).join());
          if (status !== 'succeeded') throw new Error(status);
          if (round >= 0) took.work.push(performance.now() - startMs);
        }, 120_000);
        running.push(work);
        if (!options.busy) await work;
      }
    }
    await Promise.all(running);
    await workers.close();
    await jobs.close();
    await db.close();

    const result = {
      sizeBytes: content.byteLength,
      pictureMs: median(took.picture),
      emptyMs: median(took.empty),
      ratio: median(took.picture) / median(took.empty),
      thumbnailsMs: median(took.work),
    };
    process.stdout.write(
      options.json
        ? `${JSON.stringify(result)}\n`
        : `${(result.sizeBytes / 1e6).toFixed(1)} MB: a picture ${result.pictureMs.toFixed(0)} ms, an empty job ${result.emptyMs.toFixed(0)} ms, ${result.ratio.toFixed(2)}x; thumbnails ready ${result.thumbnailsMs.toFixed(0)} ms after the answer\n`,
    );
    process.exitCode = options.busy || result.ratio < 1.25 ? 0 : 1;
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A JPEG of 12 megapixels and some megabytes, as a telephone makes them. */
function photograph(): Promise<Buffer> {
  const [width, height] = [4_000, 3_000];
  const pixels = Buffer.alloc(width * height * 3);
  let noise = 1;
  for (let at = 0; at < pixels.byteLength; at += 1) {
    noise = (noise * 1_103_515_245 + 12_345) & 0x7fffffff;
    pixels[at] = ((at / 12_000) & 0xbf) + (noise >> 26);
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 80 })
    .toBuffer();
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

void measureImageUpload();
