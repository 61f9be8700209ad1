import { openDatabase, sql, type Tx } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SystemAddresses } from './running-system';

/** The address of one database of a started system, as its superuser. */
export function databaseUrl(
  { dataDirectory, ports }: SystemAddresses,
  database: 'catalog' | 'order' | 'views' | 'events' | 'user_1',
): string {
  const { postgresPassword } = JSON.parse(readFileSync(join(dataDirectory, 'secrets.json'), 'utf8')) as {
    postgresPassword: string;
  };
  return `postgres://headroom:${encodeURIComponent(postgresPassword)}@127.0.0.1:${ports.postgres}/${database}`;
}

/**
 * Runs `work` while no table of the database can be written (reads go on): a slow or stuck store, on demand. Writers wait
 * until their lock timeout.
 */
export async function whileUnwritable<T>(url: string, work: () => Promise<T>): Promise<T> {
  const db = openDatabase({ url, name: 'e2e', logger: silentLogger, maxConnections: 1 });
  try {
    const lockAndWork = async (tx: Tx) => {
      const tables = await tx.rows<{ name: string }>(
        sql('e2e.tables')`select tablename as name from pg_tables where schemaname = current_schema()`,
      );
      const names = sql.list(tables.map(({ name }) => sql.identifier(name)));
      await tx.execute(sql('e2e.lock')`lock table ${names} in exclusive mode`);
      return await work();
    };
    return await db.transaction(lockAndWork, { retry: true }); // taking many locks beside writers can deadlock
  } finally {
    await db.close();
  }
}
