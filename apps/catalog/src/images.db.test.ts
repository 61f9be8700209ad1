import { catalogImagesV1, operationsV1 } from '@headroom/contracts';
import { loadTrackedJob, openJobs, type Jobs } from '@headroom/jobs';
import { sql, type Database, type Tx } from '@headroom/postgres';
import { Fault, uuidv7 } from '@headroom/resilience';
import { createRpcClient, serveGrpc, withCallContext, type RpcClient } from '@headroom/rpc';
import { createUploads, openBlobStore, type BlobStore, type Uploads } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { eventually, interrupted, trustTokens } from '@headroom/testing';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';
import { picture, pngBomb } from '../test/pictures';
import { imageService } from './image-api';
import {
  blobOf,
  checkStep,
  fileName,
  IMAGE_QUEUES,
  imageUrlOf,
  PRODUCT_IMAGE,
  publishStep,
  removeUnusedImages,
  renderStep,
  uploadedImages,
  workOnImages,
  type ImageDeps,
} from './images';
import { makeThumbnails } from './image-pixels';
import { takeUnused } from './image-repository';
import { uploadService } from './uploads-api';

jest.setTimeout(300_000); // a death at every statement, on machines that may be busy

const DAY_MS = 24 * 3_600_000;
const PART_BYTES = 5 * 1024 * 1024;

describe('pictures of products', () => {
  let shop: CatalogShop;
  let blobs: BlobStore;
  let jobs: Jobs;
  let uploads: Uploads;
  let deps: ImageDeps;
  beforeEach(async () => {
    shop = await openCatalogShop();
    blobs = await openBlobStore({ url: undefined, db: shop.db, logger: silentLogger });
    jobs = await openJobs({ db: shop.db, logger: silentLogger, queues: IMAGE_QUEUES });
    uploads = uploadsOn(shop.db);
    deps = { db: shop.db, blobs, uploads, clock: shop.clock };
  });
  afterEach(async () => {
    await jobs.close();
    await shop.close();
  });

  const uploadsOn = (db: Database) =>
    createUploads({
      db,
      blobs,
      clock: shop.clock,
      kinds: { [PRODUCT_IMAGE]: uploadedImages({ blobs, clock: shop.clock }, jobs) },
    });
  const upload = async (productId: string, content: Buffer) => {
    const uploadId = await uploads.begin({
      kind: PRODUCT_IMAGE,
      contentType: 'image/any',
      subjectId: productId,
    });
    let parts = 0;
    for (; parts * PART_BYTES < content.byteLength; parts += 1)
      await uploads.append({
        uploadId,
        index: parts,
        content: content.subarray(parts * PART_BYTES, (parts + 1) * PART_BYTES),
      });
    return uploads.complete({ uploadId, parts });
  };
  const imageOf = async (productId: string) =>
    (await shop.as('nobody').getProduct({ idOrSlug: productId, includeArchived: false })).imageUrl;
  const ended = (jobId: string) =>
    eventually(async () => {
      const job = (await loadTrackedJob(shop.db, jobId))!;
      expect(['succeeded', 'failed']).toContain(job.status);
      return job;
    }, 60_000);
  const files = async () => {
    const names: string[] = [];
    for await (const name of blobs.list('')) names.push(name);
    return names;
  };

  it('are made into thumbnails that the product then names, with one event and nothing left of the upload', async () => {
    const workers = await workOnImages(deps, jobs);
    const product = await shop.addProduct();
    const jobId = await upload(product.id, await picture(2_000, 1_000, 'red'));
    expect(await ended(jobId)).toMatchObject({
      type: 'product-image',
      status: 'succeeded',
      processed: 1n,
      total: 1n,
      updated: 1n,
    });
    const url = await imageOf(product.id);
    expect(url).toMatch(/^\/images\/[0-9a-f]{32}-480\.webp$/);
    const events = await shop.events(product.id);
    expect(events.map(({ type }) => type)).toEqual([
      'headroom.catalog.product-created',
      'headroom.catalog.stock-changed',
      'headroom.catalog.product-updated',
    ]);
    expect(events.at(-1)!.data['imageUrl']).toBe(url);
    const hash = url.slice('/images/'.length, -'-480.webp'.length);
    await eventually(async () =>
      expect(await files()).toEqual([
        `images/${hash}-1024.webp`,
        `images/${hash}-160.webp`,
        `images/${hash}-480.webp`,
      ]),
    );
    await workers.close();
  });

  it('that are the same again change nothing and tell nobody', async () => {
    const workers = await workOnImages(deps, jobs);
    const product = await shop.addProduct();
    const content = await picture(50, 50, 'red');
    await ended(await upload(product.id, content));
    const before = (await shop.events(product.id)).length;
    expect(await ended(await upload(product.id, content))).toMatchObject({
      status: 'succeeded',
      unchanged: 1n,
    });
    expect(await shop.events(product.id)).toHaveLength(before);
    await workers.close();
  });

  it('by their content only: what is none is refused at once and leaves nothing', async () => {
    const product = await shop.addProduct();
    for (const content of [Buffer.from('GIF89a and so on'), Buffer.alloc(0)])
      await expect(upload(product.id, content)).rejects.toMatchObject({
        code: 'IMAGE_UNSUPPORTED',
        kind: 'unsupported_type',
      });
    expect(await files()).toEqual([]);
  });

  it('are refused where the product is unknown or archived, or they are too large', async () => {
    await expect(upload(uuidv7(), Buffer.alloc(0))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(upload('no-id', Buffer.alloc(0))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const product = await shop.addProduct();
    await expect(upload(product.id, Buffer.alloc(10 * 1024 * 1024 + 1))).rejects.toMatchObject({
      code: 'BODY_TOO_LARGE',
    });
    await shop.as('admin').archiveProduct({ productId: product.id });
    await expect(upload(product.id, Buffer.alloc(0))).rejects.toMatchObject({ code: 'PRODUCT_ARCHIVED' });
  });

  it.each([
    ['a bomb', () => Promise.resolve(pngBomb(60_000, 60_000)), 'IMAGE_TOO_LARGE'],
    [
      'one that is cut off',
      async () => (await picture(3_000, 3_000, 'green')).subarray(0, 20_000),
      'IMAGE_DAMAGED',
    ],
  ])('that turn out to be bad end their job as failed, with the reason: %s', async (_, make, code) => {
    const workers = await workOnImages(deps, jobs);
    const product = await shop.addProduct();
    const job = await ended(await upload(product.id, await make()));
    expect(job).toMatchObject({ status: 'failed', processed: 1n, rejected: 1n });
    expect(job.errors).toEqual([{ line: 0n, code, reason: expect.stringMatching(/picture/) }]);
    expect(await imageOf(product.id)).toBe('');
    await eventually(async () => expect(await files()).toEqual([]));
    expect(await jobs.deadLetters.list({ limit: 10 })).toMatchObject({ deadLetters: [] });
    await workers.close();
  });

  it('are not given to a product that was archived meanwhile', async () => {
    const product = await shop.addProduct();
    const jobId = await upload(product.id, await picture(50, 50, 'red'));
    await shop.as('admin').archiveProduct({ productId: product.id });
    const workers = await workOnImages(deps, jobs);
    const job = await ended(jobId);
    expect(job).toMatchObject({ status: 'failed', errors: [{ code: 'PRODUCT_ARCHIVED' }] });
    await workers.close();
  });

  describe('step by step', () => {
    /** Where a chain stands; kept in the database like a job, so that a step and its ending are one. */
    type Place = { queue: string; payload: never };
    const steps: Record<string, (deps: ImageDeps, job: never) => Promise<void>> = {
      [PRODUCT_IMAGE]: checkStep,
      'product-image-render': renderStep,
      'product-image-publish': publishStep,
    };
    beforeEach(() =>
      shop.test.db.execute(
        sql(
          'test.chain',
        )`create table chain (job_id uuid primary key, queue text not null, payload jsonb not null)`,
      ),
    );
    /** Begins the chain of a job that waits in the queue. */
    const take = async (jobId: string) => {
      await shop.test.db.execute(sql('test.take')`
        insert into chain select ${jobId}, ${PRODUCT_IMAGE}, data -> 'payload' from jobs.job_common
        where data ->> 'trackedJobId' = ${jobId}`);
    };
    const place = (jobId: string) =>
      shop.test.db.row<Place>(sql('test.place')`select queue, payload from chain where job_id = ${jobId}`);
    /** Does the step that is next. */
    const go = async (jobId: string, on: ImageDeps = deps): Promise<boolean> => {
      const at = await place(jobId);
      if (!at) return false;
      await steps[at.queue]!(on, {
        payload: at.payload,
        trackedJobId: jobId,
        complete: async (tx: Tx) =>
          void (await tx.execute(sql('test.end')`delete from chain where job_id = ${jobId}`)),
        continueWith: async (tx: Tx, payload: object, { queue }: { queue: string }) =>
          void (await tx.execute(sql('test.next')`
            update chain set queue = ${queue}, payload = ${payload} where job_id = ${jobId}`)),
      } as never);
      return true;
    };
    const goToEnd = async (jobId: string) => {
      while (await go(jobId));
    };

    it.each([
      ['the older one is ready first', [0, 1]],
      ['the newer one is ready first', [1, 0]],
    ])('of two for one product, the one accepted last stays: %s', async (_, readiness) => {
      const product = await shop.addProduct();
      const contents = [await picture(50, 50, 'red'), await picture(50, 50, 'blue')];
      const ids = [await upload(product.id, contents[0]!), await upload(product.id, contents[1]!)];
      for (const jobId of ids) await take(jobId);
      for (const index of readiness) await goToEnd(ids[index]!);
      const { hash } = await makeThumbnails(contents[1]!);
      expect(await imageOf(product.id)).toBe(imageUrlOf(hash));
      expect((await shop.events(product.id)).at(-1)!.data['imageUrl']).toBe(imageUrlOf(hash));
      for (const jobId of ids)
        expect(await loadTrackedJob(shop.db, jobId)).toMatchObject({ status: 'succeeded' });
    });

    it('of two for one product, a bad later one leaves the earlier', async () => {
      const product = await shop.addProduct();
      const content = await picture(50, 50, 'red');
      const ids = [await upload(product.id, content), await upload(product.id, pngBomb(60_000, 60_000))];
      for (const jobId of ids) await take(jobId);
      await goToEnd(ids[1]!);
      await goToEnd(ids[0]!);
      expect(await imageOf(product.id)).toBe(imageUrlOf((await makeThumbnails(content)).hash));
    });

    it('are named once and leave nothing behind, wherever a process is killed', async () => {
      const content = await picture(60, 40, 'orange');
      const { hash } = await makeThumbnails(content);
      for (let call = 1, survived = false; !survived; call += 1) {
        expect(call).toBeLessThan(120);
        const product = await shop.addProduct();
        const jobId = await upload(product.id, content);
        await take(jobId);
        const { db } = interrupted(shop.db, { killAtCall: call });
        const store = await openBlobStore({ url: undefined, db, logger: silentLogger });
        const victim: ImageDeps = {
          ...deps,
          db,
          blobs: store,
          uploads: createUploads({ db, blobs: store, clock: shop.clock, kinds: {} }),
        };
        survived = await (async () => {
          while (await go(jobId, victim));
          return true;
        })().catch((error: unknown) => {
          if (error instanceof Fault && error.kind === 'unavailable') return false;
          throw error;
        });
        await goToEnd(jobId);
        expect(await imageOf(product.id)).toBe(imageUrlOf(hash));
        const updates = (await shop.events(product.id)).filter(({ type }) =>
          type.endsWith('product-updated'),
        );
        expect(updates).toHaveLength(1);
        expect(await loadTrackedJob(shop.db, jobId)).toMatchObject({
          status: 'succeeded',
          processed: 1n,
          updated: 1n,
          errors: [],
        });
        while ((await uploads.cleanUp(new Date(shop.clock.now() - DAY_MS))) > 0);
        expect(await files()).toEqual([1_024, 160, 480].map((size) => blobOf(fileName(hash, size))));
      }
    });
  });

  it('are removed a week after the last product that named them, however it came to', async () => {
    const workers = await workOnImages(deps, jobs);
    const [one, other] = [await shop.addProduct(), await shop.addProduct()];
    const [red, blue] = [await picture(50, 50, 'red'), await picture(50, 50, 'blue')];
    await ended(await upload(one.id, red));
    const redUrl = await imageOf(one.id);
    await shop.as('admin').updateProduct({ productId: other.id, imageUrl: redUrl }); // by hand
    await ended(await upload(one.id, blue));
    await workers.close();
    await uploads.cleanUp(new Date(shop.clock.now() - DAY_MS));
    const countFiles = async () => (await files()).length;
    expect(await countFiles()).toBe(6);

    shop.clock.advance(30 * DAY_MS);
    expect(await removeUnusedImages(deps)).toBe(0);
    await shop.as('admin').updateProduct({ productId: other.id, imageUrl: '' });
    shop.clock.advance(30 * DAY_MS);
    expect(await removeUnusedImages(deps)).toBe(0); // unused from now on
    shop.clock.advance(7 * DAY_MS - 1);
    expect(await removeUnusedImages(deps)).toBe(0);
    await shop.as('admin').updateProduct({ productId: other.id, imageUrl: redUrl }); // back again
    shop.clock.advance(2);
    // Also for a removal that looked just before a product came back to it.
    const before = new Date(shop.clock.now() - 7 * DAY_MS);
    expect(await takeUnused(shop.db, { before, limit: 10 })).toEqual([]);
    expect(await removeUnusedImages(deps)).toBe(0);
    await shop.as('admin').updateProduct({ productId: other.id, imageUrl: '' });
    await removeUnusedImages(deps);
    shop.clock.advance(7 * DAY_MS + 1);
    expect(await removeUnusedImages(deps)).toBe(1);
    const left = await files();
    expect(left).toHaveLength(3);
    expect(left).toContain(blobOf((await imageOf(one.id)).slice('/images/'.length)));
  });

  it('whose product never came to name them are removed too', async () => {
    await blobs.put(blobOf(fileName('0'.repeat(32), 480)), Buffer.from('x'), { contentType: 'image/webp' });
    await shop.test.db.execute(sql('test.orphan')`
      insert into image_sets (hash, url, unused_since, created_at)
      values (${'0'.repeat(32)}, ${imageUrlOf('0'.repeat(32))}, ${new Date(shop.clock.now())}, now())`);
    shop.clock.advance(7 * DAY_MS + 1);
    expect(await removeUnusedImages(deps)).toBe(1);
    expect(await files()).toEqual([]);
  });

  describe('over gRPC', () => {
    let server: Awaited<ReturnType<typeof serveGrpc>>;
    let images: RpcClient<typeof catalogImagesV1.ImageServiceService>;
    let files: RpcClient<typeof operationsV1.UploadServiceService>;
    beforeEach(async () => {
      server = await serveGrpc({
        host: '127.0.0.1',
        port: 0,
        services: [imageService({ blobs }), uploadService({ db: shop.db, uploads })],
        verifyToken: trustTokens,
        logger: silentLogger,
        graceMs: 100,
      });
      const address = `127.0.0.1:${server.port}`;
      images = createRpcClient(catalogImagesV1.ImageServiceService, { address, timeoutMs: 10_000 });
      files = createRpcClient(operationsV1.UploadServiceService, { address, timeoutMs: 10_000 });
    });
    afterEach(async () => {
      images.close();
      files.close();
      await server.close();
    });
    const as = <T>(role: string, call: () => Promise<T>) =>
      withCallContext({ deadlineAt: Date.now() + 10_000, requestId: 'test', accessToken: role }, call);

    it('come in by parts and are handed out in chunks, under their hashed names only', async () => {
      const product = await shop.addProduct();
      const content = await picture(400, 300, 'red', 'png');
      const request = { kind: PRODUCT_IMAGE, contentType: 'image/png', subjectId: product.id };
      await expect(as('customer', () => files.beginUpload(request))).rejects.toMatchObject({
        code: 'FORBIDDEN',
      });
      const { uploadId } = await as('admin', () => files.beginUpload(request));
      await as('admin', () => files.appendUpload({ uploadId, index: 0, content }));
      // Nobody works on pictures yet: the answer waits for none of that.
      const { job } = await as('admin', () => files.completeUpload({ uploadId, parts: 1 }));
      expect(job).toMatchObject({ type: 'product-image', status: 'queued', total: 1n });
      const workers = await workOnImages(deps, jobs);
      await ended(job!.id);
      await workers.close();
      const name = (await imageOf(product.id)).slice('/images/'.length);
      const chunk = await images.getImage({ name, offset: 0n });
      expect(chunk).toMatchObject({ contentType: 'image/webp', sizeBytes: BigInt(chunk.content.byteLength) });
      expect(Buffer.from(chunk.content).toString('latin1', 8, 12)).toBe('WEBP');
      for (const wrong of [
        name.replace('-480', '-481'),
        `../${name}`,
        `uploads/${PRODUCT_IMAGE}/${uploadId}`,
        name.toUpperCase(),
        '',
      ])
        await expect(images.getImage({ name: wrong, offset: 0n })).rejects.toMatchObject({
          code: 'NOT_FOUND',
        });

      const large = `${'a'.repeat(32)}-1024.webp`;
      const bytes = Buffer.alloc(2_500_000, 'abcdefg');
      await blobs.put(blobOf(large), bytes, { contentType: 'image/webp' });
      const chunks = [];
      for (let offset = 0; offset < bytes.byteLength;) {
        const { content: piece, sizeBytes } = await images.getImage({ name: large, offset: BigInt(offset) });
        expect(sizeBytes).toBe(2_500_000n);
        expect(piece.byteLength).toBeLessThanOrEqual(1024 * 1024);
        chunks.push(piece);
        offset += piece.byteLength;
      }
      expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    });
  });
});
