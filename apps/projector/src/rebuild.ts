import type { EventLog } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { systemClock, type Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { startProjection } from './project';
import { appliedOffsets, beginVersion, groupOf, listVersions } from './repository';
import type { View } from './views/view';

/** How often the progress is looked at. */
const LOOK_MS = 250;

/**
 * Replays the log into the next version of a view and returns once it is the live one. The running projector works on it as
 * well and would finish it alone; this process works too, so that a rebuild also ends while none runs. Begun again after a
 * crash, it goes on where it was. `report` gets a line of progress about once a second.
 */
export async function rebuild(options: {
  db: Database;
  log: EventLog;
  view: View;
  logger: Logger;
  report: (line: string) => void;
  clock?: Clock;
}): Promise<void> {
  const { db, log, view, logger, report, clock = systemClock } = options;
  const { version, resumed } = await beginVersion(db, view);
  const name = `${view.name} v${version.version}`;
  report(resumed ? `${name} is being built already: going on` : `${name} is being built`);
  const projection = startProjection({
    db,
    log,
    views: [view],
    logger,
    clock,
    keeps: (each) => each.version === version.version && each.state === 'building',
  });
  try {
    const startedAt = clock.now();
    let reportedAt = startedAt;
    let doneBefore: bigint | undefined;
    for (;;) {
      const current = (await listVersions(db)).find(
        (each) => each.view === view.name && each.version === version.version,
      );
      if (current?.state === 'live') {
        report(`${name} is live after ${((clock.now() - startedAt) / 1_000).toFixed(1)} s`);
        return;
      }
      if (current?.state !== 'building') throw new Error(`${name} was given up for a newer one`);
      if (clock.now() - reportedAt >= 1_000) {
        const [done, total] = await progress(db, log, view, groupOf(version));
        const perSecond = Math.round(
          Number(done - (doneBefore ?? done)) / ((clock.now() - reportedAt) / 1_000),
        );
        report(`${name}: ${done} of ${total} events, ${perSecond}/s`);
        [reportedAt, doneBefore] = [clock.now(), done];
      }
      await clock.sleep(LOOK_MS);
    }
  } finally {
    await projection.close();
  }
}

async function progress(db: Database, log: EventLog, view: View, group: string): Promise<[bigint, bigint]> {
  const applied = await appliedOffsets(db, group);
  const positions = await log.positions(
    group,
    view.topics.map((topic) => topic.name),
  );
  const sum = (values: Iterable<bigint>) => [...values].reduce((total, each) => total + each, 0n);
  return [sum(applied.values()), sum(positions.map((each) => each.end))];
}
