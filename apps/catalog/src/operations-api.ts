import { fault, operationsV1 } from '@headroom/contracts';
import { listTrackedJobs, loadTrackedJob, type Jobs, type TrackedJob } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { isUuidv7 } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import { readPage } from './page';

/**
 * The gRPC handlers of the catalog's work in the background. It reads no topic, so that its dead letters are jobs alone. Role
 * admin.
 */
export function operationsService({
  db,
  jobs,
}: {
  db: Queryable;
  jobs: Pick<Jobs, 'deadLetters'>;
}): GrpcService {
  return implement('headroom.operations.v1.OperationsService', operationsV1.OperationsServiceService, {
    async listJobs({ afterId, includeTotal, ...request }, call) {
      await call.admin();
      const limit = readPage(request.limit, afterId);
      const page = await listTrackedJobs(db, { limit, afterId, includeTotal });
      return { ...page, jobs: page.jobs.map(jobMessage) };
    },

    async getJob({ jobId }, call) {
      await call.admin();
      const job = isUuidv7(jobId) ? await loadTrackedJob(db, jobId) : undefined;
      if (!job) throw fault('NOT_FOUND');
      return jobMessage(job);
    },

    async listDeadLetters({ afterId, includeTotal, ...request }, call) {
      await call.admin();
      return jobs.deadLetters.list({ limit: readPage(request.limit, afterId), afterId, includeTotal });
    },

    async requeueDeadLetter({ deadLetterId }, call) {
      await call.admin();
      if (!isUuidv7(deadLetterId) || !(await jobs.deadLetters.requeue(deadLetterId)))
        throw fault('NOT_FOUND');
      return {};
    },

    async discardDeadLetter({ deadLetterId }, call) {
      await call.admin();
      if (!isUuidv7(deadLetterId) || !(await jobs.deadLetters.discard(deadLetterId)))
        throw fault('NOT_FOUND');
      return {};
    },
  });
}

/** A piece of background work as the service's callers see it. */
export const jobMessage = (job: TrackedJob): operationsV1.Job => ({ ...job });
