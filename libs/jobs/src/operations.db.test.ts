import { messagingMigrations, parkedDeadLetters } from '@headroom/messaging';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import {
  createTrackedJob,
  jobsMigrations,
  mergeDeadLetters,
  openJobs,
  operationsHandlers,
  PermanentJobError,
  type Jobs,
} from './index';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

let test: TestDatabase;
let jobs: Jobs;
const HOUR = 3_600_000;
const handlers = () =>
  operationsHandlers<string>({
    deadLetters: mergeDeadLetters(jobs.deadLetters, parkedDeadLetters(test.db)),
    trackedJobs: test.db,
    authorize: async (caller) => {
      if (caller !== 'admin') throw new Error('forbidden');
    },
  });

/** An event of the key `k<n>` that was parked at that time, and one that waits behind it. */
async function park(n: number, atMs: number): Promise<string> {
  const id = uuidv7(atMs);
  await test.db.execute(sql('test.parkKey')`
    insert into parked_keys (group_name, topic, key) values ('views', 'orders', ${`k${n}`})`);
  await test.db.execute(sql('test.park')`
    insert into parked_events (id, group_name, topic, key, partition, record_offset, appended_at, value, headers, event_id, error, attempts, failed_at)
    values (${id}, 'views', 'orders', ${`k${n}`}, 0, ${2 * n}, now(), 'no JSON', '{}', null, 'boom', 1, ${new Date(atMs)}),
           (${uuidv7(atMs + 1)}, 'views', 'orders', ${`k${n}`}, 0, ${2 * n + 1}, now(), '{}', '{}', null, null, 0, null)`);
  return id;
}

beforeAll(async () => {
  test = await createTestDatabase(jobsMigrations(), messagingMigrations('inbox'));
  const queue = { retryLimit: 0, retryDelaySeconds: 1, expireInSeconds: 10, maxQueued: 10 };
  jobs = await openJobs({ db: test.db, logger: silentLogger, queues: { mails: queue } });
});
afterAll(async () => {
  await jobs.close();
  await test.drop();
});

it('lists parked events and dead jobs as one list, newest first, page by page, and acts on each where it is', async () => {
  const old = await park(1, Date.now() - 2 * HOUR);
  let broken = true;
  await jobs.work('mails', async () => {
    if (broken) throw new PermanentJobError('no such address');
  });
  await test.db.transaction((tx) => jobs.enqueue(tx, 'mails', {}));
  await eventually(async () =>
    expect((await jobs.deadLetters.list({ limit: 1 })).deadLetters).toHaveLength(1),
  );
  const young = await park(2, Date.now() + HOUR);
  const { listDeadLetters, requeueDeadLetter, discardDeadLetter } = handlers();

  const first = await listDeadLetters({ limit: 2, afterId: '', includeTotal: true }, 'admin');
  expect(first).toMatchObject({
    deadLetters: [
      {
        id: young,
        source: 'views',
        topic: 'orders',
        key: 'k2',
        eventId: '',
        error: 'boom',
        payload: 'no JSON',
      },
      { source: 'jobs/mails', topic: '', error: 'no such address', payload: '{}' },
    ],
    more: true,
    total: 3n,
    totalIsEstimate: false,
  });
  const job = first.deadLetters[1]!.id;
  expect(await listDeadLetters({ limit: 2, afterId: job }, 'admin')).toMatchObject({
    deadLetters: [{ id: old }],
    more: false,
  });

  broken = false;
  await requeueDeadLetter({ deadLetterId: job }, 'admin');
  await discardDeadLetter({ deadLetterId: old }, 'admin');
  await requeueDeadLetter({ deadLetterId: young }, 'admin');
  const asks = await test.db.rows(sql('test.requeued')`
    select key from parked_keys where requeued_at is not null order by key`);
  expect(asks).toEqual([{ key: 'k1' }, { key: 'k2' }]);
  const left = await listDeadLetters({ limit: 0, afterId: '' }, 'admin');
  expect(left.deadLetters.map(({ id }) => id)).toEqual([young]);
  for (const deadLetterId of [job, uuidv7(), 'no id'])
    await expect(requeueDeadLetter({ deadLetterId }, 'admin')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(discardDeadLetter({ deadLetterId: job }, 'admin')).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

it('shows tracked jobs, refuses strangers in every method, and names what is wrong with a page', async () => {
  const { id } = await test.db.transaction((tx) => createTrackedJob(tx, { type: 'order-import' }));
  const all = handlers();
  expect(await all.listJobs({ limit: 1, afterId: '' }, 'admin')).toMatchObject({
    jobs: [{ id }],
    more: false,
  });
  expect(await all.getJob({ jobId: id }, 'admin')).toMatchObject({
    id,
    type: 'order-import',
    status: 'queued',
  });
  for (const jobId of [uuidv7(), '1'])
    await expect(all.getJob({ jobId }, 'admin')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(all.listJobs({ limit: 101, afterId: 'x' }, 'admin')).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'limit' }, { path: 'afterId' }],
  });
  const page = { limit: 1, afterId: '' };
  for (const call of [
    all.listJobs(page, 'ada'),
    all.getJob({ jobId: id }, 'ada'),
    all.listDeadLetters(page, 'ada'),
    all.requeueDeadLetter({ deadLetterId: id }, 'ada'),
    all.discardDeadLetter({ deadLetterId: id }, 'ada'),
  ])
    await expect(call).rejects.toThrow('forbidden');
});

it('answers for a service without job tables', async () => {
  const none = operationsHandlers({ deadLetters: mergeDeadLetters(), authorize: async () => undefined });
  expect(await none.listJobs({ limit: 5, afterId: '', includeTotal: true }, undefined)).toEqual({
    jobs: [],
    more: false,
    total: 0n,
    totalIsEstimate: false,
  });
  await expect(none.getJob({ jobId: uuidv7() }, undefined)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await none.listDeadLetters({ limit: 5, afterId: '' }, undefined)).toEqual({
    deadLetters: [],
    more: false,
  });
});
