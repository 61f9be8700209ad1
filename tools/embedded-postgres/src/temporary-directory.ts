import { chmodSync, mkdtempSync } from 'node:fs';

/**
 * A fresh directory for data that may go, which the account that runs the server can pass through (others cannot list it).
 * Below /var/tmp, since /tmp is often memory. The caller removes it.
 */
export function temporaryDirectory(name: string): string {
  const directory = mkdtempSync(`/var/tmp/headroom-${name}-`);
  chmodSync(directory, 0o711);
  return directory;
}
