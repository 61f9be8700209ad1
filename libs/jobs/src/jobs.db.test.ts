import { sql, type Tx } from '@headroom/postgres';
import { Fault, systemClock, uuidv7, uuidv7TimeMs, type Clock } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, interrupted, type TestDatabase } from '@headroom/testing';
import {
  addProgress,
  createTrackedJob,
  finishTrackedJob,
  jobsMigrations,
  loadTrackedJob,
  openJobs,
  PermanentJobError,
  type Jobs,
  type JobsOptions,
} from './index';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

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

it('enqueues one job of a key while one waits, and another one once that has been taken', async () => {
  const jobs = await open();
  const first = await enqueue(jobs, { n: 1 }, { key: 'digest/2026-01' });
  expect(await enqueue(jobs, { n: 2 }, { key: 'digest/2026-01' })).toBe(first);
  const other = await enqueue(jobs, { n: 3 }, { key: 'digest/2026-02' });
  expect(other).not.toBe(first);
  const seen: number[] = [];
  let go = () => {};
  const held = new Promise<void>((resolve) => (go = resolve));
  await jobs.work<{ n: number }>('mails', async ({ payload }) => {
    seen.push(payload.n);
    await held;
  });
  await eventually(() => expect(seen).toEqual([1]));
  expect(await enqueue(jobs, { n: 4 }, { key: 'digest/2026-01' })).not.toBe(first);
  go();
  await eventually(async () => expect([seen, await waiting()]).toEqual([[1, 3, 4], 0]));
});

it('lets no job run before a transaction that relied on it has ended', async () => {
  const jobs = await open();
  await enqueue(jobs, { name: 'relied on' }, { key: 'stock' });
  const seen: Array<[string, string[]]> = [];
  let begun = () => {};
  const relied = new Promise<void>((resolve) => (begun = resolve));
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const relying = test.db.transaction(async (tx) => {
    await jobs.enqueue(tx, 'mails', {}, { key: 'stock' });
    await effect(tx, 'changed');
    begun();
    await ended;
  });
  await relied;
  await jobs.work<{ name: string }>(
    'mails',
    async ({ payload }) => void seen.push([payload.name, await effects()]),
  );
  await enqueue(jobs, { name: 'later' }); // shows that the worker has looked, and passed the first one by
  await eventually(() => expect(seen).toEqual([['later', []]]));
  end();
  await relying;
  await eventually(() => expect(seen.slice(1)).toEqual([['relied on', ['changed']]]));
});

it('runs jobs of a higher priority first, and none before its time', async () => {
  const jobs = await open();
  await enqueue(jobs, { n: 1 });
  await enqueue(jobs, { n: 2 }, { priority: 5 });
  await enqueue(jobs, { n: 3 }, { priority: 9, startAfter: new Date(Date.now() + 3_600_000) });
  const seen: number[] = [];
  await jobs.work<{ n: number }>('mails', async ({ payload }) => void seen.push(payload.n));
  await eventually(async () => expect([seen, await waiting()]).toEqual([[2, 1], 1]));
});

it('runs as many jobs at once as it is told, and no more', async () => {
  const jobs = await open();
  for (let n = 0; n < 4; n += 1) await enqueue(jobs, { n });
  let running = 0;
  let most = 0;
  const ends: Array<() => void> = [];
  await jobs.work(
    'mails',
    async () => {
      most = Math.max(most, (running += 1));
      await new Promise<void>((resolve) => ends.push(resolve));
      running -= 1;
    },
    { concurrency: 2 },
  );
  await eventually(() => expect(ends).toHaveLength(2));
  ends.splice(0).forEach((end) => end());
  await eventually(() => expect(ends).toHaveLength(2));
  ends.splice(0).forEach((end) => end());
  await eventually(async () => expect(await waiting()).toBe(0));
  expect(most).toBe(2);
});

it('tries again after a random pause below an exponential ceiling, then gives up with the last error', async () => {
  const shares = [0.5, 0.25];
  const jobs = await open({
    queues: { mails: { ...mails, retryDelaySeconds: 1_000, retryDelayMaxSeconds: 1_500 } },
    random: () => shares.shift()!,
  });
  const attempts: number[] = [];
  await jobs.work('mails', async ({ attempt }) => {
    attempts.push(attempt);
    throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { detail: `no answer (${attempt})` });
  });
  await enqueue(jobs, {});
  const pauses: number[] = [];
  for (const attempt of [1, 2]) {
    const pause = await eventually(async () => {
      const row = await test.db.row<{ seconds: number }>(sql('test.pause')`
        select extract(epoch from start_after - now())::float8 as seconds from jobs.job_common
        where state = 'retry' and retry_count = ${attempt - 1}`);
      expect(row).toBeDefined();
      return row!.seconds;
    });
    pauses.push(pause);
    await test.db.execute(sql('test.due')`update jobs.job_common set start_after = now()`);
  }
  // halves and quarters of 1,000 s and of min(2,000, 1,500) s
  expect(pauses[0]).toBeGreaterThan(480);
  expect(pauses[0]).toBeLessThanOrEqual(500);
  expect(pauses[1]).toBeGreaterThan(355);
  expect(pauses[1]).toBeLessThanOrEqual(375);
  const [letter] = await eventually(async () => {
    const { deadLetters } = await jobs.deadLetters.list({ limit: 10 });
    expect(deadLetters).toHaveLength(1);
    return deadLetters;
  });
  expect(letter).toMatchObject({ error: 'no answer (3)', attempts: 3 });
  expect(attempts).toEqual([1, 2, 3]);
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
  expect(await waiting()).toBe(5);
  await expect(enqueue(jobs, { n: 5 })).rejects.toMatchObject({
    kind: 'overloaded',
    code: 'OVERLOADED',
    retryAfterSeconds: 10,
  } satisfies Partial<Fault>);
});

describe('a process that is gone or late', () => {
  /** What passes while a process is silent for longer than its heartbeat allows. */
  const silence = () =>
    test.db.execute(sql('test.silence')`
      update jobs.job_common set heartbeat_on = now() - interval '1 hour' where state = 'active'`);

  it('commits nothing of an attempt that was replaced, and tells it so', async () => {
    const late = interrupted(test.db);
    const first = await openJobs({ db: late.db, logger: silentLogger, queues: { mails } });
    const outcome = new Promise((resolve) => {
      void first.work('mails', async (job) => {
        late.freeze();
        resolve(
          await late.db
            .transaction(async (tx) => {
              await effect(tx, 'late', job.attempt);
              await job.complete(tx);
            })
            .catch((error: Error) => error.name),
        );
      });
    });
    const second = await open();
    await enqueue(second, {});
    await eventually(async () => {
      expect(
        await test.db.row(sql('test.taken')`select 1 as taken from jobs.job_common where state = 'active'`),
      ).toBeDefined();
    });
    let replaced = false;
    await second.work('mails', async (job) => {
      replaced = true;
      await outcome; // the late one comes while the job is under way here
      await test.db.transaction(async (tx) => {
        await effect(tx, 'in time', job.attempt);
        await job.complete(tx);
      });
    });
    await eventually(async () => {
      if (!replaced) await silence();
      expect(replaced).toBe(true);
    }, 20_000);
    late.thaw();
    expect(await outcome).toBe('JobLost');
    await eventually(async () => expect([await effects(), await waiting()]).toEqual([['in time'], 0]));
    await first.close();
  });

  it('gives up a job whose last attempt ended with its process, and marks what it was for as failed', async () => {
    const queues = { mails: { ...mails, retryLimit: 0 }, other: mails };
    const killed = interrupted(test.db);
    const first = await openJobs({ db: killed.db, logger: silentLogger, queues });
    await first.work('mails', async () => killed.kill());
    const second = await open({ queues });
    await second.work('other', async () => undefined);
    const tracked = uuidv7();
    const id = await test.db.transaction(async (tx) => {
      await createTrackedJob(tx, { id: tracked, type: 'product-import' });
      return second.enqueue(tx, 'mails', {}, { trackedJobId: tracked });
    });
    await eventually(async () => {
      await silence();
      expect((await second.deadLetters.list({ limit: 10 })).deadLetters).toMatchObject([
        { eventId: id, attempts: 1, source: 'jobs/mails', error: expect.stringContaining('ended') },
      ]);
    }, 20_000);
    expect(await loadTrackedJob(test.db, tracked)).toMatchObject({
      status: 'failed',
      errors: [{ line: 0n, code: 'JOB_GIVEN_UP', reason: expect.stringContaining('ended') }],
    });
    await first.close();
  });

  it('gives a job back at once when it stops, without counting the attempt', async () => {
    const once = { mails: { ...mails, retryLimit: 0 } };
    const first = await openJobs({ db: test.db, logger: silentLogger, queues: once });
    let aborted = false;
    let letGo = () => {};
    const taken = new Promise<void>((resolve) => {
      void first.work(
        'mails',
        async ({ signal }) => {
          signal.addEventListener('abort', () => (aborted = true));
          resolve();
          await new Promise<void>((end) => (letGo = end));
        },
        { closeTimeoutMs: 0 },
      );
    });
    await enqueue(first, {});
    await taken;
    await first.close();
    expect(aborted).toBe(true);
    const second = await open({ queues: once });
    await second.work('mails', (job) =>
      test.db.transaction(async (tx) => {
        await effect(tx, 'elsewhere', job.attempt);
        await job.complete(tx);
      }),
    );
    await eventually(async () => expect(await effects()).toEqual(['elsewhere']), 2_000);
    letGo();
  });
});

describe('a chain of steps', () => {
  interface Step {
    next: number;
  }
  const LAST = 6;

  it('applies every step once and counts it once, though its processes die between and within transactions', async () => {
    const first = await open();
    const tracked = uuidv7();
    await test.db.transaction(async (tx) => {
      await createTrackedJob(tx, { id: tracked, type: 'product-import', total: LAST });
      await first.enqueue(tx, 'mails', { next: 1 } satisfies Step, { trackedJobId: tracked });
    });
    // Steps 2 and 4 die before their commit, steps 3 and 5 after it; each time another process goes on.
    let died = 0;
    for (;;) {
      const process = interrupted(test.db);
      const jobs = await openJobs({ db: process.db, logger: silentLogger, queues: { mails } });
      const ended = new Promise<'dead' | 'finished'>((resolve) => {
        void jobs.work<Step>('mails', async (job) => {
          const { next } = job.payload;
          const dies = job.attempt === 1 && next >= 2 && next <= 5;
          await process.db
            .transaction(async (tx) => {
              await effect(tx, `step ${next}`, job.attempt);
              await addProgress(tx, job.trackedJobId!, {
                processed: 1,
                rejected: next % 2,
                errors: next % 2 ? [{ line: next, code: 'ODD', reason: `line ${next} is odd` }] : [],
              });
              if (next === LAST) {
                await finishTrackedJob(tx, job.trackedJobId!, 'succeeded');
                await job.complete(tx);
                tx.afterCommit(() => resolve('finished'));
              } else await job.continueWith(tx, { next: next + 1 } satisfies Step);
              if (dies && next % 2 === 0) process.kill();
            })
            .finally(() => {
              if (!dies) return;
              process.kill();
              died += 1;
              resolve('dead');
            });
        });
      });
      const how = await ended;
      await jobs.close();
      if (how === 'finished') break;
      await test.db.execute(sql('test.lost')`
        update jobs.job_common set state = 'retry', start_after = now() where state = 'active'`);
    }
    expect(died).toBe(4);
    expect(await effects()).toEqual([1, 2, 3, 4, 5, 6].map((n) => `step ${n}`));
    expect(await loadTrackedJob(test.db, tracked)).toMatchObject({
      status: 'succeeded',
      processed: 6n,
      total: 6n,
      rejected: 3n,
      errors: [1, 3, 5].map((n) => ({ line: BigInt(n), code: 'ODD', reason: `line ${n} is odd` })),
    });
    expect(await waiting()).toBe(0);
  });
});

it('forgets tracked jobs 30 days after their end', async () => {
  const day = 86_400_000;
  const [old, young] = [uuidv7(), uuidv7()];
  for (const [id, days] of [
    [old, 31],
    [young, 29],
  ] as const)
    await test.db.transaction(async (tx) => {
      await createTrackedJob(tx, { id, type: 'product-import' });
      await finishTrackedJob(tx, id, 'succeeded', { nowMs: Date.now() - days * day });
    });
  const jobs = await open();
  await jobs.work('mails', async () => undefined);
  await eventually(async () => expect(await loadTrackedJob(test.db, old)).toBeUndefined());
  expect(await loadTrackedJob(test.db, young)).toBeDefined();
});

describe('a timetable', () => {
  const digest = { ...mails, cron: '*/10 * * * *' };

  it('makes one job per tick, in UTC, over two replicas, and one for all ticks that were missed', async () => {
    let nowMs = 0;
    const clock: Clock = { now: () => nowMs, sleep: (_ms, signal) => systemClock.sleep(10, signal) };
    const ticks: string[] = [];
    const handler = async ({ id }: { id: string }) =>
      void ticks.push(new Date(uuidv7TimeMs(id)).toISOString().slice(11, 16));
    const at = async (time: string, expected: string[]) => {
      nowMs = Date.parse(`2026-01-01T${time}:00Z`);
      await eventually(async () => expect([ticks, await waiting()]).toEqual([expected, 0]));
    };
    await at('11:55', []);
    const replicas = [await open({ queues: { digest }, clock }), await open({ queues: { digest }, clock })];
    for (const jobs of replicas) await jobs.work('digest', handler);
    await at('11:59', []);
    await at('12:00', ['12:00']);
    await at('12:09', ['12:00']);
    await at('12:10', ['12:00', '12:10']);

    await Promise.all(replicas.map((jobs) => jobs.close()));
    await at('12:35', ['12:00', '12:10']);
    const later = await open({ queues: { digest }, clock });
    await later.work('digest', handler);
    await at('12:35', ['12:00', '12:10', '12:35']);
    await at('12:36', ['12:00', '12:10', '12:35']);
    await later.close();
    await at('12:40', ['12:00', '12:10', '12:35']);
  });

  it('refuses what is no timetable, and names the queue', async () => {
    await expect(open({ queues: { digest: { ...mails, cron: 'daily' } } })).rejects.toThrow(
      'queue digest: cron',
    );
  });
});
