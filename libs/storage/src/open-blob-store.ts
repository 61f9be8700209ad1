import type { Database } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import type { BlobStore } from './blob-store';
import { createPostgresStore } from './postgres-store';

/**
 * The store that `url` (STORAGE_URL) names. Unset: rows in `db`, which stays its owner's to close.
 */
export async function openBlobStore({
  url,
  db,
}: {
  url: string | undefined;
  db: Database;
  logger: Logger;
}): Promise<BlobStore> {
  if (url === undefined) return createPostgresStore({ db });
  throw new Error('STORAGE_URL: this store is not known');
}
