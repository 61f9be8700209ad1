import { migrate } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The directory of the migrations that a database needs to have an outbox, to consume events, or to be the event log. They
 * are applied beside a service's own: file names are unique among all.
 */
export function messagingMigrations(part: 'outbox' | 'inbox' | 'event-log'): string {
  const besideBundle = join(__dirname, 'messaging-migrations');
  return join(existsSync(besideBundle) ? besideBundle : join(__dirname, '../migrations'), part);
}

/** Brings the database of the Postgres event log to its newest form. Services only use it; whoever starts the system calls this. */
export async function migrateEventLog(url: string, logger: Logger): Promise<void> {
  await migrate({ url, directory: messagingMigrations('event-log'), logger });
}
