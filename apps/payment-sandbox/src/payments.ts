import { createHash } from 'node:crypto';

/** What a merchant asks to be charged. Amounts are minor units of the currency. */
export interface ChargeRequest {
  orderId: string;
  amountMinor: bigint;
  currency: string;
  token: string;
}

/** What a merchant asks to be given back of a charge. */
export interface RefundRequest {
  chargeId: string;
  amountMinor: bigint;
}

/** A charge or a refund as it is on record; records never change. */
export interface Payment {
  id: string;
  orderId: string;
  /** Only of refunds: the charge that is given back. */
  chargeId?: string;
  idempotencyKey: string;
  amountMinor: bigint;
  currency: string;
  status: 'succeeded' | 'declined';
  createdAt: Date;
}

/** How a card behaves. Whatever is not said here is as usual: the charge succeeds and is answered at once. */
export interface Card {
  /** The charge is put on record as declined. */
  declined?: true;
  /** The first call of each key ends with 500 and charges nothing. */
  failsFirst?: true;
  /** The call that makes the charge is never answered. */
  silent?: true;
  /** The call that makes the charge is answered so many milliseconds later. */
  delayMs?: number;
  /** Never gets as far as a charge: the provider is down for this card, or the card does not exist. */
  refused?: 'down' | 'invalid';
}

/** The test cards by their tokens; any other token is refused as invalid. */
export const CARDS: ReadonlyMap<string, Card> = new Map<string, Card>([
  ['tok_ok', {}],
  ['tok_declined', { declined: true }],
  ['tok_slow', { delayMs: 3_000 }],
  ['tok_timeout_charged', { silent: true }],
  ['tok_error', { failsFirst: true }],
  ['tok_invalid', { refused: 'invalid' }],
  ['tok_down', { refused: 'down' }],
]);

/** Equal for requests that mean the same, whatever the order of their members; the token cannot be read back from it. */
export function fingerprint(request: ChargeRequest | RefundRequest): Buffer {
  const members = Object.entries(request)
    .map(([name, value]) => [name, String(value)])
    .sort(([a], [b]) => (a! < b! ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(members)).digest();
}
