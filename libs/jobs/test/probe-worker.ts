import { openDatabase, sql } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { openJobs } from '../src/index';
import { probeQueues } from './probe-queues';

/**
 * A process that takes one job and says so, then waits for a word from its parent and only then writes the effect and
 * completes. Says how that went.
 */
async function main(): Promise<void> {
  const [url, queue] = process.argv.slice(2) as [string, keyof typeof probeQueues];
  const db = openDatabase({ url, name: 'probe', logger: silentLogger });
  const jobs = await openJobs({ db, logger: silentLogger, queues: probeQueues });
  const say = (word: string) => process.send!(word);
  await jobs.work(queue, async (job) => {
    const told = new Promise<void>((resolve) => process.once('message', () => resolve()));
    say('taken');
    await told;
    try {
      await db.transaction(async (tx) => {
        await tx.execute(
          sql('probe.effect')`insert into effects values (${`${queue} by the child`}, ${job.attempt})`,
        );
        await job.complete(tx);
      });
      say('completed');
    } catch (error) {
      say((error as Error).name);
      throw error;
    }
  });
}

void main();
