import { operationsV1 } from '@headroom/contracts';
import { loadTrackedJob, operationsHandlers, type Jobs } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService, type ServerCall } from '@headroom/rpc';
import type { Uploads } from '@headroom/storage';

/**
 * The service's background work as an admin sees it: imports, and jobs that were given up. It reads no topic, so that its dead
 * letters are jobs alone.
 */
export function operationsService(deps: { db: Queryable; jobs: Pick<Jobs, 'deadLetters'> }): GrpcService {
  return implement(
    'headroom.operations.v1.OperationsService',
    operationsV1.OperationsServiceService,
    operationsHandlers({
      deadLetters: deps.jobs.deadLetters,
      trackedJobs: deps.db,
      authorize: (call: ServerCall) => call.admin(),
    }),
  );
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
      return { job: await loadTrackedJob(db, await uploads.complete(request)), positions: [] };
    },
    async abandonUpload(request, call) {
      await call.admin();
      await uploads.abandon(request);
      return {};
    },
  });
}
