import { sql, type Database } from '@headroom/postgres';
import { Fault, isUuidv7, uuidv7 } from '@headroom/resilience';
import { createTestDatabase, interrupted, ManualClock, type TestDatabase } from '@headroom/testing';
import { randomBytes } from 'node:crypto';
import { PART_BYTES, type BlobStore } from './blob-store';
import { storageMigrations } from './migrations';
import { createPostgresStore } from './postgres-store';
import { createUploads, type UploadedFile, type UploadKind } from './uploads';

jest.setTimeout(300_000); // a death at every statement, on machines that may be busy

const DAY_MS = 24 * 3_600_000;
const MOST_BYTES = 2 * PART_BYTES + 100;

describe('uploads', () => {
  let test: TestDatabase;
  let blobs: BlobStore;
  let clock: ManualClock;
  beforeEach(async () => {
    test = await createTestDatabase(storageMigrations());
    await test.db.execute(sql('test.make')`create table queued (job_id text, file jsonb)`);
    blobs = createPostgresStore({ db: test.db });
    clock = new ManualClock(Date.now());
  });
  afterEach(() => test.drop());

  /** Queues a row per completed file. */
  const queueing: UploadKind = {
    maxBytes: MOST_BYTES,
    contentTypes: ['text/csv'],
    async complete(tx, file) {
      const jobId = uuidv7();
      await tx.execute(sql('test.queue')`insert into queued (job_id, file) values (${jobId}, ${file})`);
      return jobId;
    },
  };
  const open = (kind: Partial<UploadKind> = {}, db: Database = test.db, store: BlobStore = blobs) =>
    createUploads({ db, blobs: store, clock, kinds: { things: { ...queueing, ...kind } } });
  const begin = (uploads = open()) =>
    uploads.begin({ kind: 'things', contentType: 'text/csv', subjectId: '' });
  const queued = () =>
    test.db.rows<{ job_id: string; file: UploadedFile }>(sql('test.queued')`select job_id, file from queued`);
  const names = async () => {
    const all: string[] = [];
    for await (const name of blobs.list('')) all.push(name);
    return all;
  };
  const rowsLeft = async () => {
    const row = await test.db.row<{ count: bigint }>(sql('test.rows')`
      select (select count(*) from blobs) + (select count(*) from blob_chunks) + (select count(*) from blob_parts) as count`);
    return row!.count;
  };

  it('keeps a file and queues its work once, however often it is completed', async () => {
    const uploads = open();
    const uploadId = await begin(uploads);
    const contents = [randomBytes(PART_BYTES), randomBytes(77)];
    for (const [index, content] of contents.entries()) await uploads.append({ uploadId, index, content });
    expect(await queued()).toEqual([]);
    expect(await names()).toEqual([]);
    const all = await Promise.all([1, 2, 3, 4].map(() => uploads.complete({ uploadId, parts: 2 })));
    all.push(await open().complete({ uploadId, parts: 2 }));
    const rows = await queued();
    expect(rows).toHaveLength(1);
    expect(new Set(all)).toEqual(new Set([rows[0]!.job_id]));
    const { file } = rows[0]!;
    expect(file).toMatchObject({
      uploadId,
      sizeBytes: PART_BYTES + 77,
      contentType: 'text/csv',
      subjectId: '',
    });
    const pieces = [];
    for await (const piece of blobs.read(file.name)) pieces.push(piece);
    expect(Buffer.concat(pieces).equals(Buffer.concat(contents))).toBe(true);
  });

  it('gives the same job also after the work has ended and the file is gone', async () => {
    const uploads = open();
    const uploadId = await begin(uploads);
    await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
    const jobId = await uploads.complete({ uploadId, parts: 1 });
    await test.db.transaction((tx) => uploads.release(tx, uploadId));
    await uploads.remove(uploadId);
    expect(await rowsLeft()).toBe(0n);
    expect(await uploads.complete({ uploadId, parts: 1 })).toBe(jobId);
    expect(await queued()).toHaveLength(1);
  });

  it('refuses what goes over the limit and stores nothing of it', async () => {
    const uploads = open();
    const uploadId = await begin(uploads);
    await uploads.append({ uploadId, index: 2, content: randomBytes(100) });
    for (const [index, size] of [
      [2, 101],
      [3, 1],
      [999_999, 1],
    ] as const)
      await expect(uploads.append({ uploadId, index, content: randomBytes(size) })).rejects.toMatchObject({
        kind: 'too_large',
        code: 'BODY_TOO_LARGE',
      });
    await uploads.append({ uploadId, index: 0, content: randomBytes(PART_BYTES) });
    await uploads.append({ uploadId, index: 1, content: randomBytes(PART_BYTES) });
    await uploads.complete({ uploadId, parts: 3 });
    expect((await queued())[0]!.file.sizeBytes).toBe(MOST_BYTES);
  });

  it('names the field that is wrong', async () => {
    const uploads = open();
    const at = (path: string) => ({ code: 'VALIDATION_FAILED', errors: [expect.objectContaining({ path })] });
    await expect(
      uploads.begin({ kind: 'other', contentType: 'text/csv', subjectId: '' }),
    ).rejects.toMatchObject(at('kind'));
    await expect(
      uploads.begin({ kind: 'things', contentType: 'image/png', subjectId: '' }),
    ).rejects.toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED', kind: 'unsupported_type' });
    const uploadId = await uploads.begin({
      kind: 'things',
      contentType: 'Text/CSV; charset=utf-8',
      subjectId: '',
    });
    await expect(uploads.append({ uploadId, index: -1, content: Buffer.from('x') })).rejects.toMatchObject(
      at('index'),
    );
    await expect(uploads.append({ uploadId, index: 0, content: Buffer.alloc(0) })).rejects.toMatchObject(
      at('content'),
    );
    await expect(
      uploads.append({ uploadId, index: 0, content: Buffer.alloc(PART_BYTES + 1) }),
    ).rejects.toMatchObject(at('content'));
    await uploads.append({ uploadId, index: 0, content: Buffer.from('short') });
    await uploads.append({ uploadId, index: 2, content: Buffer.from('x') });
    await expect(uploads.complete({ uploadId, parts: 4 })).rejects.toMatchObject(at('parts'));
    await expect(uploads.complete({ uploadId, parts: 3 })).rejects.toMatchObject({
      detail: expect.stringContaining('part 0 is not the last'),
    });
    await uploads.append({ uploadId, index: 0, content: Buffer.alloc(PART_BYTES) });
    await expect(uploads.complete({ uploadId, parts: 3 })).rejects.toMatchObject({
      detail: 'parts part 1 is missing',
    });
    await expect(uploads.complete({ uploadId, parts: -1 })).rejects.toMatchObject(at('parts'));
    for (const unknown of ['no-id', uuidv7()]) {
      await expect(
        uploads.append({ uploadId: unknown, index: 0, content: Buffer.from('x') }),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(uploads.complete({ uploadId: unknown, parts: 0 })).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
    }
  });

  it('asks its kind whether the subject exists before anything is kept', async () => {
    const uploads = open({
      begin: () => Promise.reject(new Fault('not_found', 'NOT_FOUND')),
    });
    await expect(begin(uploads)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await rowsLeft()).toBe(0n);
  });

  it('leaves nothing of an upload that is abandoned, also when that is repeated or comes late', async () => {
    const uploads = open();
    const uploadId = await begin(uploads);
    await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
    await uploads.abandon({ uploadId });
    await uploads.abandon({ uploadId });
    expect(await rowsLeft()).toBe(0n);
    await expect(uploads.complete({ uploadId, parts: 1 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(uploads.append({ uploadId, index: 1, content: Buffer.from('x') })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(await queued()).toEqual([]);

    const kept = await begin(uploads);
    await uploads.append({ uploadId: kept, index: 0, content: Buffer.from('x') });
    await uploads.complete({ uploadId: kept, parts: 1 });
    await uploads.abandon({ uploadId: kept });
    expect(await names()).toEqual([`uploads/things/${kept}`]);
  });

  it.each(['check', 'complete'] as const)(
    'removes the file at once when its %s refuses it for good, and keeps it when that only fails',
    async (step) => {
      const uploads = open({
        [step]: () => Promise.reject(new Fault('unsupported_type', 'IMAGE_UNSUPPORTED')),
      });
      const uploadId = await begin(uploads);
      await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
      await expect(uploads.complete({ uploadId, parts: 1 })).rejects.toMatchObject({
        code: 'IMAGE_UNSUPPORTED',
      });
      expect(await rowsLeft()).toBe(0n);
      await expect(uploads.complete({ uploadId, parts: 1 })).rejects.toMatchObject({ code: 'NOT_FOUND' });

      let failures = 1;
      const failing = open({
        [step]: (...args: unknown[]) =>
          failures-- > 0
            ? Promise.reject(new Fault('overloaded', 'OVERLOADED'))
            : step === 'check'
              ? Promise.resolve()
              : queueing.complete(...(args as Parameters<UploadKind['complete']>)),
      });
      const second = await begin(failing);
      await failing.append({ uploadId: second, index: 0, content: Buffer.from('x') });
      await expect(failing.complete({ uploadId: second, parts: 1 })).rejects.toMatchObject({
        code: 'OVERLOADED',
      });
      expect(isUuidv7(await failing.complete({ uploadId: second, parts: 1 }))).toBe(true);
    },
  );

  it('queues the work once and leaves no file without it, wherever the process is killed', async () => {
    const content = randomBytes(1_000_000);
    for (let step = 1, survived = false; !survived; step += 1) {
      expect(step).toBeLessThan(60);
      const { db } = interrupted(test.db, { killAtCall: step });
      const victim = open({}, db, createPostgresStore({ db }));
      let uploadId: string | undefined;
      try {
        uploadId = await begin(victim);
        await victim.append({ uploadId, index: 0, content });
        await victim.complete({ uploadId, parts: 1 });
        survived = true;
      } catch (error) {
        expect(error).toMatchObject({ kind: 'unavailable' });
      }
      const other = open();
      if (uploadId !== undefined) {
        // Whoever sent it tries the call again, at another replica.
        await other.append({ uploadId, index: 0, content }).catch(() => undefined);
        await other.complete({ uploadId, parts: 1 });
        const mine = (await queued()).filter(({ file }) => file.uploadId === uploadId);
        expect(mine).toHaveLength(1);
        expect(await blobs.stat(mine[0]!.file.name)).toMatchObject({ sizeBytes: content.byteLength });
        await test.db.transaction((tx) => other.release(tx, uploadId!));
      }
      clock.advance(2 * DAY_MS);
      while ((await other.cleanUp(new Date(clock.now() - DAY_MS))) > 0);
      expect(await rowsLeft()).toBe(0n);
    }
  });

  it('removes within a day what was abandoned, released or cut off, and nothing else', async () => {
    const uploads = open();
    const make = async () => {
      const uploadId = await begin(uploads);
      await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
      return uploadId;
    };
    const [cut, running, done] = [await make(), await make(), await make()];
    for (const uploadId of [running, done]) await uploads.complete({ uploadId, parts: 1 });
    await test.db.transaction((tx) => uploads.release(tx, done));
    clock.advance(DAY_MS);
    const young = await make();
    const cleanUp = async () => {
      while ((await uploads.cleanUp(new Date(clock.now() - DAY_MS + 1))) > 0);
    };
    await cleanUp();
    expect(await names()).toEqual([`uploads/things/${running}`]);
    for (const gone of [cut, done])
      await expect(
        uploads.append({ uploadId: gone, index: 0, content: Buffer.from('y') }),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await uploads.complete({ uploadId: young, parts: 1 });
    // A job that never ended does not keep its file for ever.
    clock.advance(31 * DAY_MS);
    await cleanUp();
    expect(await names()).toEqual([]);
    expect(await rowsLeft()).toBe(0n);
  });

  it('loses no completed file to a clean-up or an abandonment that runs beside its completion', async () => {
    for (let round = 0; round < 20; round += 1) {
      const uploads = open();
      const uploadId = await begin(uploads);
      await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
      clock.advance(2 * DAY_MS);
      const [completed] = await Promise.allSettled([
        uploads.complete({ uploadId, parts: 1 }),
        round % 2 === 0 ? uploads.abandon({ uploadId }) : uploads.cleanUp(new Date(clock.now() - DAY_MS)),
      ]);
      const kept = (await queued()).some(({ file }) => file.uploadId === uploadId);
      expect(completed.status).toBe(kept ? 'fulfilled' : 'rejected');
      expect((await names()).includes(`uploads/things/${uploadId}`)).toBe(kept);
    }
  });

  it('leaves no file of an upload that is dropped while the store still finishes it', async () => {
    const slow: BlobStore = {
      ...blobs,
      abortUpload: () => Promise.resolve(), // too late for what is being finished, as in S3
      async finishUpload(handle, parts) {
        await uploads.abandon({ uploadId });
        await blobs.finishUpload(handle, parts);
      },
    };
    const uploads = open({}, test.db, slow);
    const uploadId = await begin(uploads);
    await uploads.append({ uploadId, index: 0, content: Buffer.from('x') });
    await expect(uploads.complete({ uploadId, parts: 1 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await names()).toEqual([]);
    expect(await queued()).toEqual([]);
  });

  it('takes no more than a bounded number of unfinished uploads', async () => {
    const uploads = open();
    await test.db.execute(sql('test.fill')`
      insert into uploads (id, kind, content_type, subject_id, name, handle, state, created_at)
      select uuidv7(), 'things', 'text/csv', '', 'n', gen_random_uuid()::text, 'open', now() from generate_series(1, 200)`);
    await expect(begin(uploads)).rejects.toMatchObject({ code: 'OVERLOADED', retryAfterSeconds: 60 });
  });
});
