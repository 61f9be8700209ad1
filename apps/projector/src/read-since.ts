import { fault, type Position } from '@headroom/contracts';
import type { Database } from '@headroom/postgres';
import { isUuidv7, systemClock, type Clock } from '@headroom/resilience';
import type { ServerCall } from '@headroom/rpc';
import type { LiveView, LiveViews } from './live-views';
import type { View } from './views/view';

/** How long a read waits for the positions it was given. */
const WAIT_MS = 2_000;
const WAIT_STEP_MS = 20;

/** The live version of a view, once it has applied at least the positions; CONSISTENCY_TIMEOUT after two seconds. */
export type ReadSince = (
  view: View,
  positions: readonly Position[],
  call: Pick<ServerCall, 'signal'>,
) => Promise<LiveView>;

export function createReadSince(options: { db: Database; liveViews: LiveViews; clock?: Clock }): ReadSince {
  const { db, liveViews, clock = systemClock } = options;
  return async (view, positions, call) => {
    const wanted = positions.filter(({ subject }) => {
      const [kind, id] = subject.split('/');
      return view.subjects.includes(kind ?? '') && isUuidv7(id ?? '');
    });
    const subjects = [...new Set(wanted.map(({ subject }) => subject))];
    const until = clock.now() + WAIT_MS;
    for (;;) {
      const live = liveViews.of(view);
      if (subjects.length === 0) return live;
      const applied = await view.appliedVersions(db, live.schema, subjects);
      if (wanted.every(({ subject, version }) => (applied.get(subject) ?? 0n) >= version)) return live;
      if (clock.now() >= until || call.signal.aborted)
        throw fault('CONSISTENCY_TIMEOUT', { retryAfterSeconds: 1 });
      await clock.sleep(WAIT_STEP_MS, call.signal);
    }
  };
}
