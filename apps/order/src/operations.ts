import { operationsV1 } from '@headroom/contracts';
import { loadTrackedJob, operationsHandlers, type Jobs } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService, type ServerCall } from '@headroom/rpc';
import { uploadHandlers, type Uploads } from '@headroom/storage';

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
export function uploadService({ db, uploads }: { db: Queryable; uploads: Uploads }): GrpcService {
  return implement(
    'headroom.operations.v1.UploadService',
    operationsV1.UploadServiceService,
    uploadHandlers({
      uploads,
      loadJob: (id) => loadTrackedJob(db, id),
      authorize: (call: ServerCall) => call.admin(),
    }),
  );
}
