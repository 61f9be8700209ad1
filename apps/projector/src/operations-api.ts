import { fault, operationsV1 } from '@headroom/contracts';
import { listTrackedJobs, loadTrackedJob, mergeNewestFirst, type Jobs } from '@headroom/jobs';
import { countParked, discardParked, listParked, requeueParked, type ParkedEvent } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { isUuidv7 } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import { afterIdOf, limitOf } from './requests';

/** The gRPC handlers of the projector's work in the background: its jobs, and what could not be done. Role admin. */
export function operationsService(options: { db: Database; jobs: Pick<Jobs, 'deadLetters'> }): GrpcService {
  const { db, jobs } = options;
  return implement('headroom.operations.v1.OperationsService', operationsV1.OperationsServiceService, {
    async listJobs({ afterId, includeTotal, ...request }, call) {
      await call.admin();
      const limit = limitOf(request.limit);
      afterIdOf(afterId);
      const { jobs: found, ...page } = await listTrackedJobs(db, { limit, afterId, includeTotal });
      return { ...page, jobs: found };
    },

    async getJob({ jobId }, call) {
      await call.admin();
      const job = isUuidv7(jobId) ? await loadTrackedJob(db, jobId) : undefined;
      if (!job) throw fault('NOT_FOUND');
      return job;
    },

    async listDeadLetters({ afterId, includeTotal, ...request }, call) {
      await call.admin();
      const limit = limitOf(request.limit);
      afterIdOf(afterId);
      const [parked, dead] = await Promise.all([
        listParked(db, { limit: limit + 1, afterId }),
        jobs.deadLetters.list({ limit, afterId, includeTotal }),
      ]);
      const { items, more } = mergeNewestFirst(
        [
          { items: parked.map(deadLetterOf), more: false },
          { items: dead.deadLetters, more: dead.more },
        ],
        limit,
      );
      if (!includeTotal) return { deadLetters: items, more };
      const counted = await countParked(db);
      return {
        deadLetters: items,
        more,
        total: counted.total + (dead.total ?? 0n),
        totalIsEstimate: counted.totalIsEstimate || (dead.totalIsEstimate ?? false),
      };
    },

    async requeueDeadLetter({ deadLetterId: id }, call) {
      await call.admin();
      if (!isUuidv7(id) || !((await requeueParked(db, id)) || (await jobs.deadLetters.requeue(id))))
        throw fault('NOT_FOUND');
      return {};
    },

    async discardDeadLetter({ deadLetterId: id }, call) {
      await call.admin();
      if (!isUuidv7(id) || !((await discardParked(db, id)) || (await jobs.deadLetters.discard(id))))
        throw fault('NOT_FOUND');
      return {};
    },
  });
}

const deadLetterOf = (parked: ParkedEvent): operationsV1.DeadLetter => ({
  id: parked.id,
  source: parked.group,
  topic: parked.topic,
  key: parked.key,
  eventId: parked.eventId ?? '',
  error: parked.error,
  attempts: parked.attempts,
  failedAt: parked.failedAt.toISOString(),
  payload: parked.payload,
});
