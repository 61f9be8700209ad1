import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The directory of the migrations that a database needs to have job queues: pg-boss's tables (schema `jobs`), dead jobs,
 * timetables and tracked jobs. They are applied beside a service's own: file names are unique among all.
 */
export function jobsMigrations(): string {
  const besideBundle = join(__dirname, 'jobs-migrations');
  return existsSync(besideBundle) ? besideBundle : join(__dirname, '../migrations');
}
