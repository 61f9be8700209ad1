import type { Queryable } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import { PgBoss, type Db } from 'pg-boss';

/** The schema that the migrations put pg-boss's tables into. */
export const SCHEMA = 'jobs';

/** Silence after which a job's process counts as dead. */
export const HEARTBEAT_SECONDS = 15;

/** How often somebody looks for jobs of dead processes; with the heartbeat well below a minute. */
export const SUPERVISE_SECONDS = 5;

/**
 * pg-boss over the service's own pool: it gets no connection of its own, does not LISTEN, makes no tables, and its timers are
 * off. Supervision, timetables, retries and dead letters are driven from here, so that each commits together with what it is
 * about. Its calls run in the transaction that is passed as `db` (see `within`).
 */
export async function openBoss(db: Queryable, logger: Logger): Promise<PgBoss> {
  const boss = new PgBoss({
    db: within(db, 'jobs.supervise'),
    schema: SCHEMA,
    migrate: false,
    supervise: false,
    schedule: false,
    registerInstance: false,
    reindex: false,
    monitorVacuum: false,
    monitorIntervalSeconds: SUPERVISE_SECONDS,
    openTelemetry: { enabled: false },
  });
  boss.on('error', (error) => logger.warn('pg-boss reported an error', { err: error }));
  boss.on('warning', (warning) => logger.warn('pg-boss warns', { reason: warning.message }));
  try {
    await boss.start();
  } catch (error) {
    await boss.stop({ close: false, graceful: false });
    throw error;
  }
  return boss;
}

/** A pool or transaction as pg-boss takes it; `name` names the statements for metrics and traces. */
export function within(db: Queryable, name: string): Db {
  return {
    executeSql: async (text, values = []) => ({
      rows: await db.rows({ name, text: `${text.trimEnd()} /* ${name} */`, values: [...values] }),
    }),
  };
}
