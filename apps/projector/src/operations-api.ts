import { operationsV1 } from '@headroom/contracts';
import { mergeDeadLetters, operationsHandlers, type Jobs } from '@headroom/jobs';
import { parkedDeadLetters } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { implement, type GrpcService, type ServerCall } from '@headroom/rpc';

/** The projector's background work as an admin sees it: exports, and the events and jobs that could not be done. */
export function operationsService(options: { db: Database; jobs: Pick<Jobs, 'deadLetters'> }): GrpcService {
  const { db, jobs } = options;
  return implement(
    'headroom.operations.v1.OperationsService',
    operationsV1.OperationsServiceService,
    operationsHandlers({
      deadLetters: mergeDeadLetters(parkedDeadLetters(db), jobs.deadLetters),
      trackedJobs: db,
      authorize: (call: ServerCall) => call.admin(),
    }),
  );
}
