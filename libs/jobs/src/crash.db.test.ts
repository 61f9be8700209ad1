import { sql } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { probeQueues } from '../test/probe-queues';
import { jobsMigrations, openJobs, type Jobs } from './index';

let test: TestDatabase;
let jobs: Jobs;
const children: ChildProcess[] = [];

beforeAll(async () => {
  test = await createTestDatabase(jobsMigrations());
  await test.db.execute(
    sql('test.effects')`create table effects (name text not null, by_attempt int not null)`,
  );
  jobs = await openJobs({ db: test.db, logger: silentLogger, queues: probeQueues });
});
afterAll(async () => {
  await jobs.close();
  await Promise.all(
    children.map(async (child) => {
      const gone = child.exitCode !== null || child.signalCode !== null || once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }),
  );
  await test.drop();
});

/** A child process that has taken the one job of the queue. */
async function childWithJob(queue: keyof typeof probeQueues): Promise<ChildProcess> {
  await test.db.transaction((tx) => jobs.enqueue(tx, queue, {}));
  const child = fork(join(__dirname, '../test/probe-worker.ts'), [test.url, queue], {
    execArgv: ['--import', 'tsx'],
    cwd: join(__dirname, '../../..'),
    env: { PATH: process.env['PATH'] },
  });
  children.push(child);
  expect(await once(child, 'message')).toEqual(['taken', undefined]);
  return child;
}

it("runs a killed worker's job again within a minute, and lets a worker that wakes up late change nothing", async () => {
  const [killed, frozen] = await Promise.all([childWithJob('killed'), childWithJob('frozen')]);
  for (const queue of ['killed', 'frozen'] as const)
    await jobs.work(queue, ({ attempt, complete }) =>
      test.db.transaction(async (tx) => {
        await tx.execute(sql('test.effect')`insert into effects values (${queue}, ${attempt})`);
        await complete(tx);
      }),
    );
  killed.kill('SIGKILL');
  frozen.kill('SIGSTOP');
  const effects = () =>
    test.db.rows<{ name: string; by_attempt: number }>(
      sql('test.effects')`select name, by_attempt from effects order by name`,
    );
  const byTheSecond = [
    { name: 'frozen', by_attempt: 2 },
    { name: 'killed', by_attempt: 2 },
  ];
  await eventually(async () => expect(await effects()).toEqual(byTheSecond), 60_000);

  const said = once(frozen, 'message');
  frozen.kill('SIGCONT');
  frozen.send('go on');
  expect(await said).toEqual(['JobLost', undefined]);
  expect(await effects()).toEqual(byTheSecond);
  expect((await jobs.deadLetters.list({ limit: 10 })).deadLetters).toEqual([]);
}, 90_000);
