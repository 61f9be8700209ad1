import { freePort, startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { migrate, openDatabase, sql } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { jobsMigrations, openJobs } from '../src/index';

/**
 * Jobs a second on a durable server: enqueued one per transaction, and run with one small effect each, by one process that runs
 * 1 and 8 at once. The exit code tells whether every job had exactly one effect.
 * `npx tsx --tsconfig tsconfig.base.json libs/jobs/bench/throughput.ts --jobs 2000`
 */
async function measureThroughput(): Promise<void> {
  const { values: options } = parseArgs({
    options: { jobs: { type: 'string', default: '2000' }, json: { type: 'boolean', default: false } },
  });
  const count = Number(options.jobs);
  const directory = temporaryDirectory('jobs-throughput');
  const server = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: true,
  });
  const rows = [];
  try {
    await server.ensureDatabases(['jobs']);
    const url = server.url('jobs');
    await migrate({ url, directory: jobsMigrations(), logger: silentLogger });
    const db = openDatabase({ url, name: 'jobs', logger: silentLogger, maxConnections: 12 });
    await db.execute(sql('bench.effects')`create table effects (n int not null)`);
    for (const concurrency of [1, 8]) {
      const queue = { retryLimit: 0, retryDelaySeconds: 1, expireInSeconds: 30, maxQueued: 10 * count };
      const jobs = await openJobs({ db, logger: silentLogger, queues: { small: queue } });
      const enqueueStart = performance.now();
      for (let n = 0; n < count; n += concurrency)
        await Promise.all(
          Array.from({ length: Math.min(concurrency, count - n) }, (_, offset) =>
            db.transaction((tx) => jobs.enqueue(tx, 'small', { n: n + offset })),
          ),
        );
      const enqueueSeconds = (performance.now() - enqueueStart) / 1_000;
      const workStart = performance.now();
      let done = 0;
      await new Promise<void>((resolve, reject) => {
        jobs
          .work<{ n: number }>(
            'small',
            async ({ payload, complete }) => {
              await db.transaction(async (tx) => {
                await tx.execute(sql('bench.effect')`insert into effects values (${payload.n})`);
                await complete(tx);
              });
              if ((done += 1) === count) resolve();
            },
            { concurrency },
          )
          .catch(reject);
      });
      const workSeconds = (performance.now() - workStart) / 1_000;
      await jobs.close();
      const effects = await db.row<{ exact: boolean }>(
        sql('bench.check')`select count(*) = ${count} and count(distinct n) = ${count} as exact from effects`,
      );
      await db.execute(sql('bench.clear')`truncate effects`);
      rows.push({
        atOnce: concurrency,
        enqueuedPerSecond: Math.round(count / enqueueSeconds),
        runPerSecond: Math.round(count / workSeconds),
        oneEffectEach: effects!.exact,
      });
    }
    await db.close();
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  if (options.json) process.stdout.write(`${JSON.stringify(rows)}\n`);
  else console.table(rows);
  process.exitCode = rows.every((row) => row.oneEffectEach) ? 0 : 1;
}

void measureThroughput();
