import { operationsV1 } from '@headroom/contracts';
import { mergeDeadLetters, operationsHandlers, type Jobs } from '@headroom/jobs';
import { parkedDeadLetters } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { implement, type ServerCall } from '@headroom/rpc';

/** The service's background work as an admin sees it: events that the group `mails` could not use, and mails that were given up. */
export function operationsApi({ home, jobs }: { home: Database; jobs: Pick<Jobs, 'deadLetters'> }) {
  return implement(
    'headroom.operations.v1.OperationsService',
    operationsV1.OperationsServiceService,
    operationsHandlers({
      deadLetters: mergeDeadLetters(parkedDeadLetters(home), jobs.deadLetters),
      trackedJobs: home,
      authorize: (call: ServerCall) => call.admin(),
    }),
  );
}
