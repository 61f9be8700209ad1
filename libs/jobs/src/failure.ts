import { Fault, type FaultKind } from '@headroom/resilience';

/** Thrown by a handler whose job can never succeed: it goes to the dead letters at once, with this message. */
export class PermanentJobError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'PermanentJobError';
  }
}

/**
 * The job belongs to a later attempt (this one was silent or ran too long), or is finished: nothing of this attempt may be
 * committed. Thrown by `complete` and `continueWith`, so that the transaction around them is rolled back.
 */
export class JobLost extends Error {
  constructor(queue: string, id: string, attempt: number) {
    super(`attempt ${attempt} of job ${id} of ${queue} has been replaced`);
    this.name = 'JobLost';
  }
}

const TRANSIENT: readonly FaultKind[] = [
  'unavailable',
  'overloaded',
  'timeout',
  'throttled',
  'in_flight',
  'internal',
];

/**
 * True where another attempt cannot help: a PermanentJobError, or a Fault that says that the request itself is wrong. Errors of
 * unknown kind are tried again, up to the queue's limit.
 */
export function isPermanent(error: unknown): boolean {
  return error instanceof PermanentJobError || (error instanceof Fault && !TRANSIENT.includes(error.kind));
}

/** What an operator reads: the message alone, without stack, statement or values. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 1_000);
}
