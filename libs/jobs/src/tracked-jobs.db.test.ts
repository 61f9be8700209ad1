import { createTestDatabase, type TestDatabase } from '@headroom/testing';
import { uuidv7 } from '@headroom/resilience';
import {
  addProgress,
  createTrackedJob,
  finishTrackedJob,
  jobsMigrations,
  listTrackedJobs,
  loadTrackedJob,
} from './index';
import { removeTrackedJobs } from './tracked-jobs';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

let test: TestDatabase;

beforeAll(async () => {
  test = await createTestDatabase(jobsMigrations());
});
afterAll(() => test.drop());

const create = (type: string, nowMs?: number) =>
  test.db.transaction((tx) => createTrackedJob(tx, { type }, nowMs));

it('shows a job from its start to its end', async () => {
  const made = await create('product-import');
  expect(made).toMatchObject({ status: 'queued', processed: 0n, errors: [], finishedAt: undefined });
  expect(made.total).toBeUndefined();
  await test.db.transaction((tx) =>
    addProgress(tx, made.id, { processed: 10, created: 9, rejected: 1, total: 20 }),
  );
  await test.db.transaction((tx) => addProgress(tx, made.id, { processed: 10, updated: 4, unchanged: 6 }));
  await test.db.transaction((tx) => finishTrackedJob(tx, made.id, 'succeeded', { resultUrl: '/v1/files/1' }));
  await test.db.transaction((tx) => addProgress(tx, made.id, { processed: 1 }));
  await test.db.transaction((tx) => finishTrackedJob(tx, made.id, 'failed'));
  expect(await loadTrackedJob(test.db, made.id)).toEqual({
    ...made,
    status: 'succeeded',
    processed: 20n,
    total: 20n,
    created: 9n,
    updated: 4n,
    unchanged: 6n,
    rejected: 1n,
    finishedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    resultUrl: '/v1/files/1',
  });
  expect(await loadTrackedJob(test.db, uuidv7())).toBeUndefined();
});

it('keeps the first 1,000 errors, in the order in which they were found', async () => {
  const { id } = await create('order-import');
  for (const first of [1, 700, 1_400])
    await test.db.transaction((tx) =>
      addProgress(tx, id, {
        rejected: 699,
        errors: Array.from({ length: 699 }, (_, n) => ({ line: first + n, code: 'BAD', reason: 'bad' })),
      }),
    );
  const job = await loadTrackedJob(test.db, id);
  expect(job!.rejected).toBe(2_097n);
  expect(job!.errors.map((error) => Number(error.line))).toEqual(
    Array.from({ length: 1_000 }, (_, n) => n + 1),
  );
});

it('pages through all jobs newest first, with their number, and forgets those that ended long ago', async () => {
  const day = 86_400_000;
  const start = Date.UTC(2025, 0, 1);
  const ids: string[] = [];
  for (let n = 0; n < 5; n += 1) ids.unshift((await create('old', start + n * day)).id);
  const listed: string[] = [];
  for (let afterId = uuidv7(start + 5 * day); ;) {
    const page = await listTrackedJobs(test.db, { limit: 2, afterId, includeTotal: true });
    expect(page).toMatchObject({ total: 7n, totalIsEstimate: false });
    listed.push(...page.jobs.map((job) => job.id));
    if (!page.more) break;
    afterId = page.jobs.at(-1)!.id;
  }
  expect(listed).toEqual(ids);
  for (const id of ids.slice(1))
    await test.db.transaction((tx) => finishTrackedJob(tx, id, 'failed', { nowMs: start + 10 * day }));
  expect(await removeTrackedJobs(test.db, start + 11 * day, 3)).toBe(3);
  expect(await removeTrackedJobs(test.db, start + 11 * day, 3)).toBe(1);
  expect((await listTrackedJobs(test.db, { limit: 10 })).jobs.map((job) => job.type)).toEqual(
    expect.arrayContaining(['old', 'product-import', 'order-import']),
  );
  expect((await listTrackedJobs(test.db, { limit: 10 })).jobs).toHaveLength(3);
});
