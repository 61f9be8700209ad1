import { rmSync } from 'node:fs';
import { dirname } from 'node:path';

/** Jest's global tear-down: stops the server that the set-up started and removes its files. */
export default async function globalTeardown(): Promise<void> {
  const server = globalThis.headroomTestServer;
  if (!server) return;
  await server.stop();
  rmSync(dirname(server.dataDirectory), { recursive: true, force: true });
}
