import type { Uploads } from './uploads';

/**
 * The handlers of operations.v1.UploadService for one service; `implement` takes them as they are. `authorize` is asked first in
 * each and throws for callers who may not. Faults: those of `uploads`.
 */
export function uploadHandlers<Call, Job>(options: {
  uploads: Uploads;
  /** The tracked job that a completed upload has become. */
  loadJob: (jobId: string) => Promise<Job>;
  authorize: (call: Call) => Promise<unknown>;
}) {
  const { uploads, loadJob, authorize } = options;
  return {
    async beginUpload(request: Parameters<Uploads['begin']>[0], call: Call) {
      await authorize(call);
      return { uploadId: await uploads.begin(request) };
    },
    async appendUpload(request: Parameters<Uploads['append']>[0], call: Call) {
      await authorize(call);
      await uploads.append(request);
      return {};
    },
    async completeUpload(request: Parameters<Uploads['complete']>[0], call: Call) {
      await authorize(call);
      return { job: await loadJob(await uploads.complete(request)), positions: [] };
    },
    async abandonUpload(request: Parameters<Uploads['abandon']>[0], call: Call) {
      await authorize(call);
      await uploads.abandon(request);
      return {};
    },
  };
}
