import { Fault, FAULT_KINDS } from '@headroom/resilience';
import { FAULT_CODES, type FaultCode } from './fault-codes';

/** A problem document (RFC 9457). Extra members name what the problem is about, e.g. `productIds`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  requestId: string;
  errors?: Array<{ path: string; message: string }>;
  [extra: string]: unknown;
}

/** What a client reads of a fault. Anything that is not a Fault becomes INTERNAL without a trace of its text. */
export function problemOf(error: unknown, requestId: string): Problem {
  const known =
    error instanceof Fault && error.kind !== 'internal' && error.code in FAULT_CODES ? error : undefined;
  const code = (known?.code ?? 'INTERNAL') as FaultCode;
  const { title, kind } = FAULT_CODES[code];
  return {
    type: `https://headroom.dev/errors/${code.toLowerCase().replaceAll('_', '-')}`,
    title,
    status: FAULT_KINDS[known?.kind ?? kind].http,
    detail: known?.detail ?? title,
    code,
    requestId,
    ...(known?.errors ? { errors: known.errors } : {}),
    ...known?.extra,
  };
}
