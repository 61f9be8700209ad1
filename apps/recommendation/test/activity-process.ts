import { activityEvent } from '@headroom/contracts';
import { openEventLog } from '@headroom/messaging';
import { openDatabase } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { publishKnown, startActivityBuffer } from '../src/activity';
import { openLiveModel } from '../src/live-model';

/**
 * A process that takes activities for ever, for a test that ends it: `node activity-process.ts <database> <event log> <product>`.
 * It reports each id as it takes it and each batch once it is written; on SIGTERM it closes its buffer and goes.
 */
async function main([databaseUrl, logUrl, productId]: string[]): Promise<void> {
  const db = openDatabase({ url: databaseUrl!, name: 'activity-process', logger: silentLogger });
  const log = await openEventLog({ url: logUrl!, logger: silentLogger, name: 'activity-process' });
  const liveModel = await openLiveModel({ db, logger: silentLogger });
  const publish = publishKnown({ db, log, liveModel });
  const report = (message: { taken: string } | { written: string[] }) => process.send!(message);
  const buffer = startActivityBuffer({
    logger: silentLogger,
    async publish(activities) {
      await publish(activities);
      report({ written: activities.map(({ event }) => event.id) });
    },
  });
  const taking = setInterval(() => {
    const id = uuidv7();
    buffer.take(
      activityEvent({
        id,
        time: new Date().toISOString(),
        data: { type: 'view', productId: productId!, userId: null, guestId: 'guest' },
      }),
    );
    report({ taken: id });
  }, 2);
  process.on('SIGTERM', () => {
    clearInterval(taking);
    void (async () => {
      await buffer.close();
      await liveModel.close();
      await log.close();
      await db.close();
      process.disconnect();
    })();
  });
}

void main(process.argv.slice(2));
