import { fault } from '@headroom/contracts';
import type { Database, SqlPart } from '@headroom/postgres';
import { startPoller } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { SHAPE } from './model-repository';
import { listModels, schemaOf, type Model } from './models-repository';

export interface LiveModel {
  /** The schema to read from; throws `unavailable` while there is no live version that this program can read. */
  schema(): SqlPart;
  /** Why nothing can be read, or undefined. */
  problem(): string | undefined;
  close(): Promise<void>;
}

/** Far below the grace period of a replaced version, so that no reader meets a dropped one. */
const LOOK_MS = 250;

/**
 * Knows which version is live. It looks four times a second and keeps what it knew while the database is away; rejects when the
 * database cannot be reached at the start.
 */
export async function openLiveModel({ db, logger }: { db: Database; logger: Logger }): Promise<LiveModel> {
  const find = async () => (await listModels(db)).find((model) => model.state === 'live');
  let live: Model | undefined = await find();
  const poller = startPoller({
    idleMs: LOOK_MS,
    onError: (error) => logger.warn('the live version could not be read', { err: error }),
    async round() {
      live = await find();
      return false;
    },
  });
  const problem = () => {
    if (!live) return 'nothing has been learnt yet';
    return live.shape === SHAPE
      ? undefined
      : 'everything is being learnt anew for this version of the program';
  };
  return {
    problem,
    schema() {
      const reason = problem();
      if (reason !== undefined)
        throw fault('DEPENDENCY_UNAVAILABLE', { detail: reason, retryAfterSeconds: 1 });
      return schemaOf(live!);
    },
    close: () => poller.close(),
  };
}
