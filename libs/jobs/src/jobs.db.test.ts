import { sql, type Tx } from '@headroom/postgres';
import { uuidv7, type Fault } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { openJobs, jobsMigrations, PermanentJobError, type Jobs, type JobsOptions } from './index';

const mails = {
  retryLimit: 2,
  retryDelaySeconds: 0.01,
  expireInSeconds: 30,
  maxQueued: 5,
  hidden: ['token'],
};

let test: TestDatabase;
let opened: Jobs[] = [];

beforeAll(async () => {
  test = await createTestDatabase(jobsMigrations());
  await test.db.execute(
    sql('test.effects')`create table effects (name text not null, by_attempt int not null)`,
  );
});
afterEach(async () => {
  await Promise.all(opened.map((jobs) => jobs.close()));
  opened = [];
  await test.db.execute(
    sql(
      'test.clear',
    )`truncate jobs.job_common, dead_jobs, job_schedules, tracked_jobs, tracked_job_errors, effects`,
  );
});
afterAll(() => test.drop());

const open = async (options: Partial<JobsOptions> = {}): Promise<Jobs> => {
  const jobs = await openJobs({ db: test.db, logger: silentLogger, queues: { mails }, ...options });
  opened.push(jobs);
  return jobs;
};
const enqueue = (jobs: Jobs, payload: object, options: Parameters<Jobs['enqueue']>[3] = {}) =>
  test.db.transaction((tx) => jobs.enqueue(tx, 'mails', payload, options));
const effect = (tx: Tx, name: string, attempt = 1) =>
  tx.execute(sql('test.effect')`insert into effects values (${name}, ${attempt})`);
const effects = async () =>
  (await test.db.rows<{ name: string }>(sql('test.effects')`select name from effects order by name`)).map(
    (row) => row.name,
  );
const waiting = async () =>
  (await test.db.row<{ count: number }>(
    sql('test.waiting')`select count(*)::int as count from jobs.job_common`,
  ))!.count;

it('runs a job whose transaction committed, its effect with its completion', async () => {
  const jobs = await open();
  await enqueue(jobs, { to: 'ada' });
  await jobs.work<{ to: string }>('mails', ({ payload, complete }) =>
    test.db.transaction(async (tx) => {
      await effect(tx, payload.to);
      await complete(tx);
    }),
  );
  await eventually(async () => expect([await effects(), await waiting()]).toEqual([['ada'], 0]));
});

it('knows no job of a transaction that was rolled back', async () => {
  const jobs = await open();
  await expect(
    test.db.transaction(async (tx) => {
      await jobs.enqueue(tx, 'mails', { to: 'ada' });
      throw new Error('rolled back');
    }),
  ).rejects.toThrow('rolled back');
  expect(await waiting()).toBe(0);
});

it('gives a job that fails for good to the dead letters at once, from where it can be requeued and discarded', async () => {
  const jobs = await open();
  let broken = true;
  const attempts: number[] = [];
  await jobs.work('mails', async ({ attempt }) => {
    attempts.push(attempt);
    if (broken) throw new PermanentJobError('the address is not one');
  });
  const id = await enqueue(jobs, { to: 'ada', token: 's3cret' }, { key: 'ada' });
  const letter = await eventually(async () => {
    const { deadLetters } = await jobs.deadLetters.list({ limit: 10 });
    expect(deadLetters).toHaveLength(1);
    return deadLetters[0]!;
  });
  expect(letter).toMatchObject({
    source: 'jobs/mails',
    topic: '',
    key: 'ada',
    eventId: id,
    error: 'the address is not one',
    attempts: 1,
    payload: '{"to":"ada","token":"***"}',
  });
  expect(await jobs.deadLetters.requeue(uuidv7())).toBe(false);
  expect(await jobs.deadLetters.requeue(letter.id)).toBe(true);
  await eventually(async () => expect(attempts).toHaveLength(2));
  const again = await eventually(async () => {
    const { deadLetters } = await jobs.deadLetters.list({ limit: 10 });
    expect(deadLetters).toHaveLength(1);
    return deadLetters[0]!;
  });
  expect(await jobs.deadLetters.discard(again.id)).toBe(true);
  expect(await jobs.deadLetters.discard(again.id)).toBe(false);
  expect((await jobs.deadLetters.list({ limit: 10 })).deadLetters).toEqual([]);
  broken = false;
  expect(await waiting()).toBe(0);
});

it('refuses a job when as many wait as the queue holds', async () => {
  const jobs = await open();
  for (let n = 0; n < 5; n += 1) await enqueue(jobs, { n });
  await expect(enqueue(jobs, { n: 5 })).rejects.toMatchObject({
    kind: 'overloaded',
    code: 'OVERLOADED',
    retryAfterSeconds: 10,
  } satisfies Partial<Fault>);
});
