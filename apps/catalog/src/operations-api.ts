import { operationsV1 } from '@headroom/contracts';
import { operationsHandlers, type Jobs } from '@headroom/jobs';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService, type ServerCall } from '@headroom/rpc';

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
  return implement(
    'headroom.operations.v1.OperationsService',
    operationsV1.OperationsServiceService,
    operationsHandlers({
      deadLetters: jobs.deadLetters,
      trackedJobs: db,
      authorize: (call: ServerCall) => call.admin(),
    }),
  );
}
