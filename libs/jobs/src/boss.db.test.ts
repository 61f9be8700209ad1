import { createTestDatabase } from '@headroom/testing';
import { silentLogger } from '@headroom/telemetry';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getConstructionPlans, PgBoss } from 'pg-boss';
import { within } from './boss';
import { jobsMigrations } from './migrations';
import { openJobs } from './jobs';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

const statements = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('--') && !/^(BEGIN|COMMIT);$/.test(line));

it('migrates to the tables of the pg-boss that is installed', () => {
  const migration = readFileSync(join(jobsMigrations(), '0001_job-queues.sql'), 'utf8');
  expect(statements(migration)).toEqual(statements(getConstructionPlans('jobs')));
});

it('finds nothing missing or changed in what was migrated, and needs no right to make tables', async () => {
  const test = await createTestDatabase(jobsMigrations());
  try {
    const boss = new PgBoss({
      db: within(test.db, 'test'),
      schema: 'jobs',
      migrate: false,
      supervise: false,
    });
    expect(await boss.detectSchemaDrift()).toMatchObject({ ok: true });
    const before = await tables();
    const queue = { retryLimit: 1, retryDelaySeconds: 1, expireInSeconds: 10, maxQueued: 10 };
    const jobs = await openJobs({ db: test.db, logger: silentLogger, queues: { mails: queue } });
    await jobs.work('mails', async () => undefined);
    await jobs.close();
    expect(await tables()).toEqual(before);
  } finally {
    await test.drop();
  }
  function tables() {
    return test.db.rows({ name: 'test.tables', text: 'select oid from pg_class order by oid', values: [] });
  }
});
