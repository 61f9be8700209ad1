import type { Database, SqlPart } from '@headroom/postgres';
import { fault } from '@headroom/contracts';
import { startPoller } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { listVersions, schemaOf, type ViewVersion } from './repository';
import type { View } from './views/view';

/** A version of a view that may be read now. */
export interface LiveView {
  version: number;
  schema: SqlPart;
}

export interface LiveViews {
  /** Throws `unavailable` while there is no live version that this program can read. */
  of(view: View): LiveView;
  /** Why a view cannot be read, or undefined. */
  problem(): string | undefined;
  close(): Promise<void>;
}

/** Far below the grace period of a replaced version, so that no reader meets a dropped one. */
const LOOK_MS = 250;

/**
 * Knows which version of each view is live. It looks four times a second and keeps what it knew while the database is away;
 * rejects when the database cannot be reached at the start.
 */
export async function openLiveViews(options: {
  db: Database;
  views: readonly View[];
  logger: Logger;
}): Promise<LiveViews> {
  const { db, views, logger } = options;
  let versions: ViewVersion[] = await listVersions(db);
  const poller = startPoller({
    idleMs: LOOK_MS,
    onError: (error) => logger.warn('the live versions of the views could not be read', { err: error }),
    async round() {
      versions = await listVersions(db);
      return false;
    },
  });
  const problemOf = (view: View): string | undefined => {
    const live = versions.find((each) => each.view === view.name && each.state === 'live');
    if (!live) return `the ${view.name} view does not exist yet`;
    return live.shape === view.shape
      ? undefined
      : `the ${view.name} view is being rebuilt for this version of the program`;
  };
  return {
    of(view) {
      const problem = problemOf(view);
      if (problem !== undefined)
        throw fault('DEPENDENCY_UNAVAILABLE', { detail: problem, retryAfterSeconds: 1 });
      const live = versions.find((each) => each.view === view.name && each.state === 'live')!;
      return { version: live.version, schema: schemaOf(live) };
    },
    problem: () => views.map(problemOf).find((problem) => problem !== undefined),
    close: () => poller.close(),
  };
}
