import type { EventLog } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { systemClock, type Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { LEARNT_TOPICS, startLearning } from './learn';
import { appliedOffsets, beginModel, groupOf, listModels } from './models-repository';

/** How often the progress is looked at. */
const LOOK_MS = 250;
const REPORT_MS = 1_000;

/**
 * Learns everything anew from the log and returns once that is what readers see; they see the old lists until then. A running
 * service works on it as well and would finish it alone; this process works too, so that a rebuild also ends while none runs. Begun
 * again after a crash, it goes on where it was. `report` gets a line of progress about once a second.
 */
export async function rebuild(options: {
  db: Database;
  log: EventLog;
  logger: Logger;
  report: (line: string) => void;
  clock?: Clock;
}): Promise<void> {
  const { db, log, logger, report, clock = systemClock } = options;
  const { model, resumed } = await beginModel(db);
  const name = `recommendation v${model.version}`;
  report(resumed ? `${name} is being built already: going on` : `${name} is being built`);
  const learning = startLearning({
    db,
    log,
    logger,
    clock,
    keeps: (each) => each.version === model.version && each.state === 'building',
  });
  try {
    const startedAt = clock.now();
    let reportedAt = startedAt;
    for (;;) {
      const current = (await listModels(db)).find((each) => each.version === model.version);
      if (current?.state === 'live') {
        report(`${name} is live after ${((clock.now() - startedAt) / 1_000).toFixed(1)} s`);
        return;
      }
      if (current?.state !== 'building') throw new Error(`${name} was given up for a newer one`);
      if (clock.now() - reportedAt >= REPORT_MS) {
        const applied = await appliedOffsets(db, groupOf(model));
        const positions = await log.positions(
          groupOf(model),
          LEARNT_TOPICS.map((topic) => topic.name),
        );
        const done = [...applied.values()].reduce((sum, each) => sum + each, 0n);
        report(`${name}: ${done} of ${positions.reduce((sum, each) => sum + each.end, 0n)} events`);
        reportedAt = clock.now();
      }
      await clock.sleep(LOOK_MS);
    }
  } finally {
    await learning.close();
  }
}
