import { Fault, FAULT_KINDS, type FaultKind } from '@headroom/resilience';

/** Every code that this API answers, with its status's kind and title. They are the provider's own, not the shop's. */
export const PROBLEMS = {
  BODY_MALFORMED: { kind: 'invalid', title: 'The body is not valid JSON' },
  VALIDATION_FAILED: { kind: 'invalid', title: 'The request is not valid' },
  TOKEN_INVALID: { kind: 'invalid', title: 'The card token is not valid' },
  CURSOR_INVALID: { kind: 'invalid', title: 'The cursor is not valid for this list' },
  IDEMPOTENCY_KEY_REQUIRED: { kind: 'invalid', title: 'An Idempotency-Key header is required' },
  IDEMPOTENCY_KEY_INVALID: { kind: 'invalid', title: 'The Idempotency-Key header is not valid' },
  NOT_FOUND: { kind: 'not_found', title: 'There is no such path' },
  METHOD_NOT_ALLOWED: { kind: 'method_not_allowed', title: 'This path does not answer that method' },
  BODY_TOO_LARGE: { kind: 'too_large', title: 'The body is too large' },
  MEDIA_TYPE_UNSUPPORTED: {
    kind: 'unsupported_type',
    title: 'The body has a media type that is not accepted',
  },
  IDEMPOTENCY_KEY_REUSED: { kind: 'unprocessable', title: 'The key was used with another request' },
  CHARGE_UNKNOWN: { kind: 'unprocessable', title: 'There is no such charge' },
  CHARGE_NOT_REFUNDABLE: { kind: 'unprocessable', title: 'The charge took nothing' },
  REFUND_TOO_LARGE: { kind: 'unprocessable', title: 'The refund is more than what is left of the charge' },
  PROCESSING_FAILED: {
    kind: 'internal',
    title: 'The charge could not be processed: try again with the same key',
  },
  INTERNAL: { kind: 'internal', title: 'Something went wrong on our side' },
  PROVIDER_DOWN: { kind: 'unavailable', title: 'The card network is not available' },
  DEPENDENCY_UNAVAILABLE: { kind: 'unavailable', title: 'The provider is not available' },
} as const satisfies Record<string, { kind: FaultKind; title: string }>;

/** A code of the table above. */
export type ProblemCode = keyof typeof PROBLEMS;

/** A problem document (RFC 9457); `errors` names the members that are wrong. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ProblemCode;
  requestId: string;
  errors?: Array<{ path: string; message: string }>;
}

/** What a caller reads of an error. Anything without a code of the table becomes INTERNAL, without a trace of its text. */
export function problemOf(error: unknown, requestId: string): Problem {
  const known = error instanceof Fault && Object.hasOwn(PROBLEMS, error.code) ? error : undefined;
  const code = (known?.code ?? 'INTERNAL') as ProblemCode;
  const { title, kind } = PROBLEMS[code];
  return {
    type: `https://headroom.dev/payment-sandbox/errors/${code.toLowerCase().replaceAll('_', '-')}`,
    title,
    status: FAULT_KINDS[kind].http,
    detail: known?.detail ?? title,
    code,
    requestId,
    ...(known?.errors ? { errors: known.errors } : {}),
  };
}
