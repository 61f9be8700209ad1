import type { Database } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import type { BlobStore } from './blob-store';
import { createPostgresStore } from './postgres-store';
import { readS3Url } from './s3-url';

/**
 * The store that `url` (STORAGE_URL, validated by STORAGE_CONFIG) names: `s3://bucket/prefix?endpoint=...&region=...`, or, unset, rows
 * in `db`, which stays its owner's to close and has `storageMigrations()`.
 */
export async function openBlobStore({
  url,
  db,
  logger,
}: {
  url: string | undefined;
  db: Database;
  logger: Logger;
}): Promise<BlobStore> {
  if (url === undefined) return createPostgresStore({ db });
  const location = readS3Url(url);
  if (!location) throw new TypeError('STORAGE_URL must be a URL such as s3://bucket?region=eu-central-1');
  // The client takes some 30 MB and 200 ms that nobody pays who does without.
  const { createS3Store } = await import('./s3-store');
  return createS3Store({ ...location, logger });
}
