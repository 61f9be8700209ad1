/**
 * The one error type that crosses a boundary. The closed `kind` alone decides HTTP status, gRPC status and whether a
 * caller may try again; the open `code` is what a client of the public API reads (docs/errors.md).
 * Anything thrown that is not a Fault is a programming error: it becomes `internal` at the edge and is never retried.
 */
export type FaultKind = keyof typeof FAULT_KINDS;

/** gRPC status numbers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const FAULT_KINDS = {
  invalid: { http: 400, grpc: 3, retriable: false },
  unauthenticated: { http: 401, grpc: 16, retriable: false },
  forbidden: { http: 403, grpc: 7, retriable: false },
  not_found: { http: 404, grpc: 5, retriable: false },
  method_not_allowed: { http: 405, grpc: 12, retriable: false },
  conflict: { http: 409, grpc: 6, retriable: false },
  in_flight: { http: 409, grpc: 10, retriable: false },
  precondition_failed: { http: 412, grpc: 9, retriable: false },
  too_large: { http: 413, grpc: 3, retriable: false },
  unsupported_type: { http: 415, grpc: 3, retriable: false },
  unprocessable: { http: 422, grpc: 9, retriable: false },
  precondition_required: { http: 428, grpc: 9, retriable: false },
  throttled: { http: 429, grpc: 8, retriable: false },
  internal: { http: 500, grpc: 13, retriable: false },
  overloaded: { http: 503, grpc: 8, retriable: false },
  unavailable: { http: 503, grpc: 14, retriable: true },
  timeout: { http: 503, grpc: 4, retriable: false },
} as const satisfies Record<string, { http: number; grpc: number; retriable: boolean }>;

/** One invalid member of an input: where it is (a JSON path such as `items[0].quantity`) and what is wrong with it. */
export interface FieldError {
  path: string;
  message: string;
}

export interface FaultOptions {
  /** A sentence for the caller; must not hold secrets, SQL or internal host names. */
  detail?: string;
  cause?: unknown;
  errors?: FieldError[];
  /** Whole seconds after which another try makes sense; becomes `Retry-After`. */
  retryAfterSeconds?: number;
  /** Extra members of the problem document, e.g. `productIds`. */
  extra?: Record<string, unknown>;
}

export class Fault extends Error {
  readonly kind: FaultKind;
  readonly code: string;
  readonly detail: string | undefined;
  readonly errors: FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly extra: Record<string, unknown> | undefined;

  constructor(kind: FaultKind, code: string, options: FaultOptions = {}) {
    super(options.detail ?? code, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.kind = kind;
    this.code = code;
    this.detail = options.detail;
    this.errors = options.errors;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.extra = options.extra;
  }
}

/** True only for faults whose kind says that the same call may succeed when repeated unchanged. */
export function isRetriable(error: unknown): boolean {
  return error instanceof Fault && FAULT_KINDS[error.kind].retriable;
}
