import { openEventLog } from '@headroom/messaging';
import { silentLogger } from '@headroom/telemetry';
import type { SystemAddresses } from './running-system';
import { databaseUrl } from './system-databases';

/** Writes a record that no consumer can read into the log of a running system: each group of the topic parks its key. */
export async function appendPoison(system: SystemAddresses, topic: string, key: string): Promise<void> {
  const log = await openEventLog({
    url: databaseUrl(system, 'events'),
    logger: silentLogger,
    name: 'e2e',
  });
  try {
    await log.append([{ topic, key, value: 'no JSON at all' }]);
  } finally {
    await log.close();
  }
}
