import { fault } from '@headroom/contracts';
import { createHash } from 'node:crypto';

/** The key of a request that must have its effect once. Throws IDEMPOTENCY_KEY_REQUIRED or IDEMPOTENCY_KEY_INVALID. */
export function idempotencyKey(header: string | string[] | undefined): string {
  if (header === undefined) throw fault('IDEMPOTENCY_KEY_REQUIRED');
  if (typeof header !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(header))
    throw fault('IDEMPOTENCY_KEY_INVALID', { detail: 'a key has 1 to 255 visible ASCII characters' });
  return header;
}

/** SHA-256 of a path and a JSON body: the order of an object's members does not matter, the order of an array does. */
export function fingerprint(path: string, body: unknown): Buffer {
  return createHash('sha256')
    .update(`${path}\n${canonicalJson(body ?? {})}`)
    .digest();
}

/** JSON with the members of every object in one order. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : each,
  );
}
