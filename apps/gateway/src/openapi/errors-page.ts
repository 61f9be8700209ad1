import { FAULT_CODES, type FaultCode } from '@headroom/contracts';
import { FAULT_KINDS } from '@headroom/resilience';
import { faultsOf, type Endpoint } from '../endpoint';
import { statusOf } from './document';

/** What the developer of a client does about each code. */
const ADVICE: Record<FaultCode, string> = {
  BODY_MALFORMED: 'Send one JSON value in UTF-8, complete.',
  VALIDATION_FAILED: 'Mend what `errors` names: `path` says where, `message` what is expected.',
  CURSOR_INVALID:
    'Start the list again without a cursor; use cursors only under the filters and the sort they came from.',
  PAGE_TOO_DEEP: 'Go on with `page.nextCursor`; numbered pages end at 10.',
  CONSISTENCY_TOKEN_INVALID: 'Send a `Consistency-Token` exactly as a write returned it, or none.',
  PASSWORD_TOO_COMMON: 'Ask for another password.',
  RESET_TOKEN_INVALID: 'Ask for a new mail. Only the token of the newest mail works, once.',
  IDEMPOTENCY_KEY_REQUIRED: 'Make one key per intended effect, and send the same key with every repetition.',
  IDEMPOTENCY_KEY_INVALID: 'Use 1 to 255 visible ASCII characters, for example a UUID.',
  UNAUTHENTICATED: 'Refresh the session; when that fails, sign in.',
  CREDENTIALS_INVALID: 'Ask for e-mail and password again.',
  REFRESH_INVALID: 'Sign in.',
  REFRESH_REUSED: 'Sign in. Somebody may have stolen the token: both users of it have been signed out.',
  REFRESH_REVOKED: 'Sign in.',
  FORBIDDEN: 'Use an account that has the role.',
  USER_DISABLED: 'Tell the user to turn to support.',
  NOT_FOUND: 'Check the address and the id. What belongs to somebody else is not found either.',
  METHOD_NOT_ALLOWED: 'Use a method from the `Allow` header.',
  EMAIL_TAKEN: 'Sign in, or register another address. Addresses are compared without case.',
  SKU_TAKEN: 'Use another SKU, or restore the archived product that has it.',
  PRODUCT_ARCHIVED: 'Restore the product before changing it.',
  STOCK_NEGATIVE: 'Read the stock: at least what is held must stay on hand.',
  OUT_OF_STOCK:
    'Show which products are short (`productIds`) and let the buyer choose again, with a new key.',
  CART_EMPTY: 'Put something into the cart first.',
  ORDER_NOT_CANCELLABLE: 'Read the order: it has ended already.',
  IDEMPOTENCY_IN_FLIGHT: 'Repeat with the same key after `Retry-After` seconds.',
  VERSION_MISMATCH: 'Read again, apply the change to what is there now, and send the new ETag.',
  IF_MATCH_REQUIRED: 'Read first and send the ETag as `If-Match`.',
  BODY_TOO_LARGE: 'Send at most 1 MiB, a picture of 10 MiB, an import of 1 GiB.',
  MEDIA_TYPE_UNSUPPORTED:
    'Send `application/json`, or the type of file that the route names; not compressed.',
  IMAGE_UNSUPPORTED: 'Send a whole JPEG, PNG or WebP file; its content decides, not its name or media type.',
  PRODUCT_UNAVAILABLE: 'Remove the products named in `productIds`: they do not exist or are no longer sold.',
  CURRENCY_MIXED: 'Place one order per currency.',
  IDEMPOTENCY_KEY_REUSED: 'Use a new key for a new request.',
  RATE_LIMITED: 'Wait `Retry-After` seconds.',
  SIGN_IN_THROTTLED: 'Wait `Retry-After` seconds before the next try.',
  INTERNAL: 'Repeat once, with the same `Idempotency-Key` where there is one; then report the `requestId`.',
  OVERLOADED: 'Repeat after `Retry-After` seconds, with a growing pause.',
  DEPENDENCY_UNAVAILABLE:
    'Repeat after `Retry-After` seconds. A write may have had its effect: repeat it with the same `Idempotency-Key`, or read first.',
  CONSISTENCY_TIMEOUT:
    'Repeat after `Retry-After` seconds, or read without the token and accept an older answer.',
};

/** docs/errors.md: every code with its status, meaning, remedy and routes. A pure function of the tables. */
export function errorsPage(endpoints: readonly Endpoint[]): string {
  const rows = (Object.keys(FAULT_CODES) as FaultCode[]).map((code) => {
    const answering = endpoints.filter((endpoint) => faultsOf(endpoint).includes(code));
    const statuses = new Set([
      ...(answering.length > 0
        ? answering.map((endpoint) => statusOf(endpoint, code))
        : [FAULT_KINDS[FAULT_CODES[code].kind].http]),
    ]);
    return `| \`${code}\` | ${[...statuses].sort().join(', ')} | ${FAULT_CODES[code].title} | ${ADVICE[code]} | ${routes(code, answering, endpoints)} |`;
  });
  return `${[
    '# Errors',
    '',
    'Every error is a problem document (RFC 9457, `application/problem+json`) with `type`, `title`, `status`, `detail`,',
    '`code` and `requestId`; `VALIDATION_FAILED` adds `errors`, a list of `{path, message}`. Decide by `code`: it never',
    'changes its meaning, while `title` and `detail` are for people. 429, 503 and `IDEMPOTENCY_IN_FLIGHT` come with',
    '`Retry-After` in seconds.',
    '',
    'The checks come in this order, so that one mistake is answered at a time: route and method, rate limit, sign-in, role,',
    'size, media type, JSON, form of the `Idempotency-Key`, validation, stored key, existence and ownership, precondition,',
    'state.',
    '',
    'This page is written by `npx tsx apps/gateway/src/openapi/write.ts`, and a test fails when it differs from the code.',
    '',
    '| Code | Status | Meaning | What to do | Routes |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n')}\n`;
}

/** Codes of nearly every route are told by the rule, the others by name. */
function routes(code: FaultCode, answering: readonly Endpoint[], all: readonly Endpoint[]): string {
  switch (code) {
    case 'METHOD_NOT_ALLOWED':
      return 'every path';
    case 'NOT_FOUND':
      return 'every path with an id, and every address that is none of ours';
    case 'UNAUTHENTICATED':
      return 'every route that takes an access token';
    case 'FORBIDDEN':
      return 'every route below `/v1/admin`';
    case 'DEPENDENCY_UNAVAILABLE':
    case 'OVERLOADED':
      return 'every route behind which a service works';
    case 'BODY_MALFORMED':
    case 'BODY_TOO_LARGE':
    case 'MEDIA_TYPE_UNSUPPORTED':
      return 'every POST, PUT, PATCH and DELETE';
    case 'CURSOR_INVALID':
    case 'PAGE_TOO_DEEP':
      return 'every list';
  }
  if (answering.length === 0) return 'none yet';
  if (answering.length === all.length) return 'every route';
  return answering.map(({ method, path }) => `\`${method} ${path.replace(/:(\w+)/g, '{$1}')}\``).join(', ');
}
