import { sql, type Database, type Tx } from '@headroom/postgres';

/**
 * Makes the waiting step of a chain of jobs, as a worker would whose process a test may let die: no worker may run the queue. A
 * step that somebody else has completed meanwhile throws, so that its transaction is rolled back. Returns whether another step
 * follows in the queue; false also when none waited.
 */
export async function makeNextStep<P extends object>(options: {
  /** The database with the tables of `jobsMigrations()`. */
  db: Database;
  jobs: {
    enqueue(tx: Tx, queue: string, payload: object, options: { trackedJobId: string }): Promise<string>;
  };
  queue: string;
  trackedJobId: string;
  handler: (job: {
    id: string;
    queue: string;
    payload: P;
    attempt: number;
    trackedJobId: string;
    signal: AbortSignal;
    complete(tx: Tx): Promise<void>;
    continueWith(tx: Tx, payload: object, next?: { queue?: string }): Promise<void>;
  }) => Promise<void>;
}): Promise<boolean> {
  const { db, jobs, queue, trackedJobId, handler } = options;
  const waiting = () =>
    db.row<{ id: string; payload: P }>(sql('test.waitingStep')`
      select id, data->'payload' as payload from jobs.job_common
      where name = ${queue} and data->>'trackedJobId' = ${trackedJobId}`);
  const step = await waiting();
  if (!step) return false;
  const complete = async (tx: Tx) => {
    const completed = await tx.execute(sql('test.completeStep')`
      delete from jobs.job_common where name = ${queue} and id = ${step.id}`);
    if (completed !== 1) throw new Error('the step was taken over');
  };
  await handler({
    ...{ id: step.id, queue, payload: step.payload, attempt: 1, trackedJobId },
    signal: new AbortController().signal,
    complete,
    async continueWith(tx, payload, next = {}) {
      await complete(tx);
      await jobs.enqueue(tx, next.queue ?? queue, payload, { trackedJobId });
    },
  });
  return (await waiting()) !== undefined;
}
