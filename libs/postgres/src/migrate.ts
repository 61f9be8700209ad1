import type { Logger } from '@headroom/telemetry';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';

/** Any number; the same for all, since each database has its own lock space. */
const LOCK = 4_781_223;

/**
 * Brings a database to the newest of the `NNNN_name.sql` files in `directory`, in order, each once. Files are immutable: a
 * changed checksum is an error. A file is one transaction, unless its first line is `-- no-transaction` (for concurrent index
 * builds), whose statements, separated by lines of `--;;`, run one by one and must be safe to repeat. Replicas that start
 * together wait for one another (an advisory lock on a direct connection, never through a transaction pooler).
 * Returns the names of the files applied.
 */
export async function migrate(options: {
  url: string;
  directory: string;
  logger: Logger;
}): Promise<string[]> {
  const client = new pg.Client({
    connectionString: options.url,
    application_name: 'headroom-migrate',
    connectionTimeoutMillis: 5_000,
  });
  await client.connect();
  try {
    await client.query('set statement_timeout = 0; set lock_timeout = 0');
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    await client.query(
      'create table if not exists schema_migrations (name text primary key, checksum text not null, applied_at timestamptz not null default now())',
    );
    const { rows } = await client.query<{ name: string; checksum: string }>(
      'select name, checksum from schema_migrations',
    );
    const done = new Map(rows.map((row) => [row.name, row.checksum]));
    const files = (await readdir(options.directory))
      .filter((name) => /^\d{4}_[a-z0-9-]+\.sql$/.test(name))
      .sort();
    const applied: string[] = [];
    for (const name of files) {
      const text = await readFile(join(options.directory, name), 'utf8');
      const checksum = createHash('sha256').update(text).digest('hex');
      const known = done.get(name);
      if (known === checksum) continue;
      if (known !== undefined)
        throw new Error(`migration ${name} was changed after it had been applied: write a new one instead`);
      await applyFile(client, name, text, checksum);
      options.logger.info('migration applied', { name });
      applied.push(name);
    }
    await setDatabaseDefaults(client);
    return applied;
  } finally {
    await client.end();
  }
}

async function applyFile(client: pg.Client, name: string, text: string, checksum: string): Promise<void> {
  const record = () =>
    client.query('insert into schema_migrations (name, checksum) values ($1, $2)', [name, checksum]);
  try {
    if (text.startsWith('-- no-transaction')) {
      for (const statement of text.split(/^--;;$/m)) await client.query(statement);
      await record();
      return;
    }
    await client.query('begin');
    await client.query(text);
    await record();
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw new Error(`migration ${name} failed: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** Time-outs for statements outside transactions; kept by the database, since a session behind a pooler keeps none. */
async function setDatabaseDefaults(client: pg.Client): Promise<void> {
  await client.query(`do $$ begin
    execute format('alter database %I set statement_timeout = ''5s''', current_database());
    execute format('alter database %I set lock_timeout = ''3s''', current_database());
    execute format('alter database %I set idle_in_transaction_session_timeout = ''10s''', current_database());
  end $$`);
}

/**
 * Where an app keeps its own migrations, seen from the folder of its running file: beside it in a build, one level up in the
 * sources.
 */
export function migrationsDirectory(folder: string): string {
  const built = join(folder, 'migrations');
  return existsSync(built) ? built : join(folder, '..', 'migrations');
}
