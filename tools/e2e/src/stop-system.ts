import { rmSync } from 'node:fs';
import { dirname } from 'node:path';

/** Jest's global tear-down. */
export default async function globalTeardown(): Promise<void> {
  const system = globalThis.headroomSystem;
  if (!system) return;
  await system.stop();
  rmSync(dirname(system.dataDirectory), { recursive: true, force: true });
}
