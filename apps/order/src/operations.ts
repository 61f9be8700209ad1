import { fault, operationsV1 } from '@headroom/contracts';
import { listTrackedJobs, loadTrackedJob, type Jobs } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { isUuidv7 } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import type { Uploads } from '@headroom/storage';

/** Rows of a list without a limit, and the most of one. */
const LIST_LIMIT = { default: 100, most: 500 };

/**
 * The service's background work as an admin sees it: imports, and jobs that were given up. It reads no topic, so that it has no
 * parked events.
 */
export function operationsService(deps: { db: Queryable; jobs: Pick<Jobs, 'deadLetters'> }): GrpcService {
  const { db } = deps;
  const { deadLetters } = deps.jobs;
  return implement('headroom.operations.v1.OperationsService', operationsV1.OperationsServiceService, {
    async listJobs(request, call) {
      await call.admin();
      return listTrackedJobs(db, pageOf(request));
    },
    async getJob({ jobId }, call) {
      await call.admin();
      return jobOf(db, jobId);
    },
    async listDeadLetters(request, call) {
      await call.admin();
      return deadLetters.list(pageOf(request));
    },
    async requeueDeadLetter({ deadLetterId }, call) {
      await call.admin();
      if (!isUuidv7(deadLetterId) || !(await deadLetters.requeue(deadLetterId))) throw noSuch('dead letter');
      return {};
    },
    async discardDeadLetter({ deadLetterId }, call) {
      await call.admin();
      if (!isUuidv7(deadLetterId) || !(await deadLetters.discard(deadLetterId))) throw noSuch('dead letter');
      return {};
    },
  });
}

/** Files for the service, in parts. */
export function uploadService(deps: { db: Queryable; uploads: Uploads }): GrpcService {
  const { db, uploads } = deps;
  return implement('headroom.operations.v1.UploadService', operationsV1.UploadServiceService, {
    async beginUpload(request, call) {
      await call.admin();
      return { uploadId: await uploads.begin(request) };
    },
    async appendUpload(request, call) {
      await call.admin();
      await uploads.append(request);
      return {};
    },
    async completeUpload(request, call) {
      await call.admin();
      return { job: await jobOf(db, await uploads.complete(request)), positions: [] };
    },
    async abandonUpload(request, call) {
      await call.admin();
      await uploads.abandon(request);
      return {};
    },
  });
}

async function jobOf(db: Queryable, id: string): Promise<operationsV1.Job> {
  const job = isUuidv7(id) ? await loadTrackedJob(db, id) : undefined;
  if (!job) throw noSuch('job');
  return job;
}

function pageOf(request: { limit: number; afterId: string; includeTotal?: boolean | undefined }) {
  const { limit, afterId, includeTotal } = request;
  if (afterId !== '' && !isUuidv7(afterId))
    throw fault('VALIDATION_FAILED', { errors: [{ path: 'afterId', message: 'must be the id of an item' }] });
  return { limit: limit > 0 ? Math.min(limit, LIST_LIMIT.most) : LIST_LIMIT.default, afterId, includeTotal };
}

const noSuch = (what: string) => fault('NOT_FOUND', { detail: `there is no such ${what}` });
