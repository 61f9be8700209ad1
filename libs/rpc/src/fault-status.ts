import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { Fault, FAULT_KINDS, type FaultKind, type FaultOptions } from '@headroom/resilience';

/** The trailer that carries a fault as JSON, so that it arrives as it was thrown. */
const TRAILER = 'headroom-fault-bin';

/** The gRPC status of an error thrown by a handler; anything but a Fault becomes INTERNAL without its text. */
export function faultToStatus(error: unknown): Partial<StatusObject> {
  if (!(error instanceof Fault)) return { code: status.INTERNAL, details: 'internal error' };
  const metadata = new Metadata();
  const { kind, code, detail, errors, retryAfterSeconds, extra } = error;
  metadata.set(
    TRAILER,
    Buffer.from(JSON.stringify({ kind, code, detail, errors, retryAfterSeconds, extra })),
  );
  return { code: FAULT_KINDS[kind].grpc, details: detail ?? code, metadata };
}

/**
 * The fault behind a failed call. A call that never reached a handler is `unavailable` (retriable), one whose time ran out
 * is `timeout`: its effect is unknown.
 */
export function statusToFault(error: ServiceError, method: string): Fault {
  const [trailer] = error.metadata?.get(TRAILER) ?? [];
  if (Buffer.isBuffer(trailer)) {
    const { kind, code, ...options } = JSON.parse(trailer.toString('utf8')) as {
      kind: FaultKind;
      code: string;
    } & FaultOptions;
    return new Fault(kind, code, { ...options, cause: error });
  }
  switch (error.code) {
    case status.UNAVAILABLE:
      return new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
        detail: `${method} is not available`,
        cause: error,
        retryAfterSeconds: 1,
      });
    case status.DEADLINE_EXCEEDED:
    case status.CANCELLED:
      return new Fault('timeout', 'DEPENDENCY_UNAVAILABLE', {
        detail: `${method} did not answer in time`,
        cause: error,
        retryAfterSeconds: 1,
      });
    case status.RESOURCE_EXHAUSTED:
      return new Fault('overloaded', 'OVERLOADED', {
        detail: `${method} is overloaded`,
        cause: error,
        retryAfterSeconds: 1,
      });
    default:
      return new Fault('internal', 'INTERNAL', { detail: `${method} failed`, cause: error });
  }
}
