import { operationsV1 } from '@headroom/contracts';
import { loadTrackedJob } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService } from '@headroom/rpc';
import type { Uploads } from '@headroom/storage';

/** The gRPC handlers of files that come in. Role admin. */
export function uploadService({ db, uploads }: { db: Queryable; uploads: Uploads }): GrpcService {
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
      const job = await loadTrackedJob(db, await uploads.complete(request));
      return { job, positions: [] };
    },

    async abandonUpload(request, call) {
      await call.admin();
      await uploads.abandon(request);
      return {};
    },
  });
}
