import { Fault, type FaultKind, type FaultOptions } from '@headroom/resilience';

/**
 * Every code that the public API can answer, with the kind that decides its status and the title of its problem document.
 * docs/errors.md is tested against this table.
 */
export const FAULT_CODES = {
  BODY_MALFORMED: { kind: 'invalid', title: 'The body is not valid JSON' },
  VALIDATION_FAILED: { kind: 'invalid', title: 'The request is not valid' },
  CURSOR_INVALID: { kind: 'invalid', title: 'The cursor is not valid for this list' },
  PAGE_TOO_DEEP: { kind: 'invalid', title: 'The page is too deep: use the cursor' },
  CONSISTENCY_TOKEN_INVALID: { kind: 'invalid', title: 'The consistency token is not valid' },
  PASSWORD_TOO_COMMON: { kind: 'invalid', title: 'The password is among the commonest' },
  RESET_TOKEN_INVALID: { kind: 'invalid', title: 'The reset token is unknown, used or expired' },
  IDEMPOTENCY_KEY_REQUIRED: { kind: 'invalid', title: 'An Idempotency-Key header is required' },
  IDEMPOTENCY_KEY_INVALID: { kind: 'invalid', title: 'The Idempotency-Key header is not valid' },
  UNAUTHENTICATED: { kind: 'unauthenticated', title: 'A valid access token is required' },
  CREDENTIALS_INVALID: { kind: 'unauthenticated', title: 'E-mail or password is wrong' },
  REFRESH_INVALID: { kind: 'unauthenticated', title: 'The refresh token is unknown or has expired' },
  REFRESH_REUSED: {
    kind: 'unauthenticated',
    title: 'The refresh token had been used before: the session has ended',
  },
  REFRESH_REVOKED: { kind: 'unauthenticated', title: 'The session of this refresh token has ended' },
  FORBIDDEN: { kind: 'forbidden', title: 'This account may not do that' },
  USER_DISABLED: { kind: 'forbidden', title: 'This account is disabled' },
  NOT_FOUND: { kind: 'not_found', title: 'There is no such thing' },
  METHOD_NOT_ALLOWED: { kind: 'method_not_allowed', title: 'This path does not answer that method' },
  EMAIL_TAKEN: { kind: 'conflict', title: 'An account with this e-mail exists' },
  SKU_TAKEN: { kind: 'conflict', title: 'A product with this SKU exists' },
  PRODUCT_ARCHIVED: { kind: 'conflict', title: 'The product is archived' },
  STOCK_NEGATIVE: { kind: 'conflict', title: 'The stock would fall below what is held, or below zero' },
  OUT_OF_STOCK: { kind: 'conflict', title: 'Not enough units are available' },
  CART_EMPTY: { kind: 'conflict', title: 'The cart is empty' },
  ORDER_NOT_CANCELLABLE: { kind: 'conflict', title: 'The order can no longer be cancelled' },
  IDEMPOTENCY_IN_FLIGHT: { kind: 'in_flight', title: 'A request with this key is still running' },
  VERSION_MISMATCH: { kind: 'precondition_failed', title: 'The thing has changed since it was read' },
  IF_MATCH_REQUIRED: { kind: 'precondition_required', title: 'An If-Match header is required' },
  BODY_TOO_LARGE: { kind: 'too_large', title: 'The body is too large' },
  MEDIA_TYPE_UNSUPPORTED: {
    kind: 'unsupported_type',
    title: 'The body has a media type that is not accepted',
  },
  IMAGE_UNSUPPORTED: { kind: 'unsupported_type', title: 'The content is no JPEG, PNG or WebP image' },
  PRODUCT_UNAVAILABLE: { kind: 'unprocessable', title: 'A product does not exist or is no longer sold' },
  CURRENCY_MIXED: { kind: 'unprocessable', title: 'An order has one currency' },
  IDEMPOTENCY_KEY_REUSED: { kind: 'unprocessable', title: 'The key was used with another request' },
  RATE_LIMITED: { kind: 'throttled', title: 'Too many requests' },
  SIGN_IN_THROTTLED: { kind: 'throttled', title: 'Too many failed sign-ins' },
  INTERNAL: { kind: 'internal', title: 'Something went wrong on our side' },
  OVERLOADED: { kind: 'overloaded', title: 'The system is busy' },
  DEPENDENCY_UNAVAILABLE: { kind: 'unavailable', title: 'A part of the system is not available' },
  CONSISTENCY_TIMEOUT: { kind: 'timeout', title: 'The view has not caught up with the write yet' },
} as const satisfies Record<string, { kind: FaultKind; title: string }>;

export type FaultCode = keyof typeof FAULT_CODES;

/** A fault of a known code; `kind` is given only where a code has two statuses (CURRENCY_MIXED of a cart is a conflict). */
export function fault(code: FaultCode, options: FaultOptions & { kind?: FaultKind } = {}): Fault {
  return new Fault(options.kind ?? FAULT_CODES[code].kind, code, options);
}
