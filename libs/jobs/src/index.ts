export { type DeadLetter, type DeadLetterPage } from './dead-jobs';
export * from './dead-letter-sources';
export { JobLost, PermanentJobError } from './failure';
export * from './file-import';
export * from './jobs';
export { LineProblem, malformedLine, readJsonObject, splitCsv, type Cell } from './lines';
export * from './merge-newest-first';
export * from './migrations';
export * from './operations';
export { type EnqueueOptions, type QueueOptions } from './queues';
export {
  addProgress,
  createTrackedJob,
  finishTrackedJob,
  listTrackedJobs,
  loadTrackedJob,
  type Progress,
  type TrackedJob,
  type TrackedJobError,
  type TrackedJobPage,
  type TrackedJobStatus,
} from './tracked-jobs';
export { type JobHandler, type RunningJob } from './worker';
