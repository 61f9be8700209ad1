import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The directory of the migrations that a database needs for uploads, and to keep files itself; applied beside a service's own. */
export function storageMigrations(): string {
  const besideBundle = join(__dirname, 'storage-migrations');
  return existsSync(besideBundle) ? besideBundle : join(__dirname, '../migrations');
}
