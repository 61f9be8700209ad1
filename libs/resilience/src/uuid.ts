import { randomBytes } from 'node:crypto';

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/**
 * A version 7 UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits. Ids made by one
 * process in the same millisecond are not ordered among themselves.
 */
export function uuidv7(nowMs: number = Date.now(), random: Buffer = tenBytes()): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(nowMs, 0, 6);
  random.copy(bytes, 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

let pool = Buffer.alloc(0);

/** Random bytes, asked for many at once: a call costs more than the bytes. */
function tenBytes(): Buffer {
  if (pool.length < 10) pool = randomBytes(4_000);
  const taken = pool.subarray(0, 10);
  pool = pool.subarray(10);
  return taken;
}

/** True for the canonical lower-case form of a version 7 UUID, the only form of an id that the system makes. */
export function isUuidv7(text: string): boolean {
  return PATTERN.test(text);
}

/** The milliseconds since the Unix epoch that a version 7 UUID carries. */
export function uuidv7TimeMs(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}
