import { createHmac, timingSafeEqual } from 'node:crypto';

export interface Signer {
  /** `text` in a form that is safe in URLs and headers, readable by anyone, changeable by no one. */
  seal(text: string): string;
  /** The text that was sealed, or undefined when `token` was not made by this signer. */
  open(token: string): string | undefined;
}

/**
 * Signs short texts with HMAC-SHA-256 under a key of their own per `purpose`, so that a token of one kind never passes for
 * another although all come from one secret.
 */
export function createSigner(secret: string, purpose: string): Signer {
  const key = createHmac('sha256', secret).update(`headroom/${purpose}`).digest();
  const mac = (payload: string) => createHmac('sha256', key).update(payload).digest();
  return {
    seal(text) {
      const payload = Buffer.from(text).toString('base64url');
      return `${payload}.${mac(payload).toString('base64url')}`;
    },
    open(token) {
      const match = /^([\w-]+)\.([\w-]{43})$/.exec(token);
      if (!match) return undefined;
      const [, payload = '', signature = ''] = match;
      // Compared as text: base64 has several spellings of the same last bits, and only ours is right.
      const expected = Buffer.from(mac(payload).toString('base64url'));
      if (!timingSafeEqual(expected, Buffer.from(signature))) return undefined;
      return Buffer.from(payload, 'base64url').toString();
    },
  };
}
