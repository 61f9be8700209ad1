import type { Queryable } from '@headroom/postgres';
import { Fault, isUuidv7 } from '@headroom/resilience';
import type { DeadLetterSource } from './dead-letter-sources';
import { listTrackedJobs, loadTrackedJob } from './tracked-jobs';

interface PageRequest {
  limit: number;
  afterId: string;
  includeTotal?: boolean | undefined;
}

const PAGE = { default: 20, most: 100 };

/**
 * The handlers of operations.v1.OperationsService for one service; `implement` takes them as they are. `authorize` is asked first
 * in each and throws for callers who may not. `trackedJobs` is left out where a service has no job tables. Faults: `NOT_FOUND`
 * for an id that is unknown here, or malformed; `VALIDATION_FAILED` names the field.
 */
export function operationsHandlers<Call>(options: {
  deadLetters: DeadLetterSource;
  trackedJobs?: Queryable;
  authorize: (call: Call) => Promise<unknown>;
}) {
  const { deadLetters, trackedJobs, authorize } = options;
  return {
    async listJobs(request: PageRequest, call: Call) {
      await authorize(call);
      const page = pageOf(request);
      if (!trackedJobs)
        return { jobs: [], more: false, ...(page.includeTotal ? { total: 0n, totalIsEstimate: false } : {}) };
      return listTrackedJobs(trackedJobs, page);
    },
    async getJob({ jobId }: { jobId: string }, call: Call) {
      await authorize(call);
      const job = trackedJobs && isUuidv7(jobId) ? await loadTrackedJob(trackedJobs, jobId) : undefined;
      if (!job) throw notFound('job');
      return job;
    },
    async listDeadLetters(request: PageRequest, call: Call) {
      await authorize(call);
      return deadLetters.list(pageOf(request));
    },
    async requeueDeadLetter({ deadLetterId }: { deadLetterId: string }, call: Call) {
      await authorize(call);
      if (!isUuidv7(deadLetterId) || !(await deadLetters.requeue(deadLetterId)))
        throw notFound('dead letter');
      return {};
    },
    async discardDeadLetter({ deadLetterId }: { deadLetterId: string }, call: Call) {
      await authorize(call);
      if (!isUuidv7(deadLetterId) || !(await deadLetters.discard(deadLetterId)))
        throw notFound('dead letter');
      return {};
    },
  };
}

function pageOf({ limit, afterId, includeTotal }: PageRequest): PageRequest {
  const errors = [
    ...(limit >= 0 && limit <= PAGE.most
      ? []
      : [{ path: 'limit', message: `must be from 1 to ${PAGE.most}` }]),
    ...(afterId === '' || isUuidv7(afterId) ? [] : [{ path: 'afterId', message: 'must be a UUIDv7' }]),
  ];
  if (errors.length > 0) throw new Fault('invalid', 'VALIDATION_FAILED', { errors });
  return { limit: limit === 0 ? PAGE.default : limit, afterId, includeTotal };
}

const notFound = (what: string) =>
  new Fault('not_found', 'NOT_FOUND', { detail: `there is no such ${what}` });
