import { freePort, startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { join } from 'node:path';
import type { PostgresServer } from '@headroom/embedded-postgres';

declare global {
  var headroomTestServer: PostgresServer | undefined;
}

/** Jest's global set-up: one real server for all files of a run, unless TEST_POSTGRES_URL names one already. */
export default async function globalSetup(): Promise<void> {
  if (process.env['TEST_POSTGRES_URL']) return;
  const directory = temporaryDirectory('test');
  const server = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: false,
    settings: { max_connections: 400 },
  });
  globalThis.headroomTestServer = server;
  process.env['TEST_POSTGRES_URL'] = server.url('postgres');
}
