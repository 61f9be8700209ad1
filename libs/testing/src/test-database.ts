import { migrate, openDatabase, type Database } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { eventually } from './eventually';

export interface TestDatabase {
  url: string;
  db: Database;
  /** Fails when connections other than this one's own were left open, then drops the database. */
  drop(): Promise<void>;
}

/** The address of a database on the test server. */
export function testServerUrl(database: string): string {
  const url = new URL(process.env['TEST_POSTGRES_URL'] ?? fail());
  url.pathname = `/${database}`;
  return url.toString();
}

/**
 * A fresh database with the migrations of `directories` applied, cloned from a template that the first caller makes: one
 * per test file.
 */
export async function createTestDatabase(...directories: string[]): Promise<TestDatabase> {
  const template = `template_${createHash('sha256').update(fingerprint(directories)).digest('hex').slice(0, 16)}`;
  const name = `test_${randomBytes(8).toString('hex')}`;
  const admin = new pg.Client({ connectionString: testServerUrl('postgres') });
  await admin.connect();
  try {
    await admin.query('select pg_advisory_lock(77001)'); // one process makes the template, and a template clones alone
    const { rowCount } = await admin.query('select 1 from pg_database where datname = $1', [template]);
    if (rowCount === 0) {
      await admin.query(`drop database if exists "${template}_making"`);
      await admin.query(`create database "${template}_making"`);
      for (const directory of directories)
        await migrate({ url: testServerUrl(`${template}_making`), directory, logger: silentLogger });
      await admin.query(`alter database "${template}_making" rename to "${template}"`);
    }
    await admin.query(`create database "${name}" template "${template}" strategy file_copy`);
  } finally {
    await admin.end();
  }
  const url = testServerUrl(name);
  const db = openDatabase({ url, name: 'test', logger: silentLogger, maxConnections: 4 });
  return {
    url,
    db,
    async drop() {
      await db.close();
      const client = new pg.Client({ connectionString: testServerUrl('postgres') });
      await client.connect();
      try {
        // A connection that was closed in good order is on the server's list for some milliseconds more.
        await eventually(async () => {
          const { rows } = await client.query<{ application_name: string }>(
            'select application_name from pg_stat_activity where datname = $1 and backend_type = $2',
            [name, 'client backend'],
          );
          if (rows.length > 0)
            throw new Error(
              `connections were left open: ${rows.map((row) => row.application_name).join(', ')}`,
            );
        }, 2_000);
      } finally {
        await client.query(`drop database "${name}" with (force)`);
        await client.end();
      }
    },
  };
}

function fingerprint(directories: string[]): string {
  return directories
    .flatMap((directory) =>
      readdirSync(directory)
        .sort()
        .map((name) => `${name}\n${readFileSync(join(directory, name), 'utf8')}`),
    )
    .join('\n');
}

function fail(): never {
  throw new Error('TEST_POSTGRES_URL is not set: run the tests through jest, whose set-up starts a server');
}
