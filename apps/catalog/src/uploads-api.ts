import { operationsV1 } from '@headroom/contracts';
import { loadTrackedJob } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService, type ServerCall } from '@headroom/rpc';
import { uploadHandlers, type Uploads } from '@headroom/storage';

/** The gRPC handlers of files that come in. Role admin. */
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
