/** Why units on hand became more or fewer. */
export type LedgerReason = 'opening' | 'correction' | 'sale' | 'return';

/** The units of one product; `onHand` is `available + held`. */
export interface Stock {
  productId: string;
  available: bigint;
  held: bigint;
  /** Of what was published last. */
  version: bigint;
}

/** One product's line of a hold, at the price of the moment it was placed. */
export interface HeldLine {
  productId: string;
  sku: string;
  name: string;
  quantity: number;
  unitPriceMinor: bigint;
  currency: string;
}

/**
 * A hold's life:
 * held -> confirmed (sold) -> returned (units back on hand)
 * held -> expired (its time ran out, units given back) -> confirmed (the units were taken once more)
 * held, expired -> released (given back for good); a release without a hold makes one that is released from the start.
 */
export type HoldState = 'held' | 'expired' | 'confirmed' | 'released' | 'returned';

/** A hold as it is on record. */
export interface Hold {
  orderId: string;
  state: HoldState;
  /** In the order asked for. */
  lines: HeldLine[];
  expiresAtMs: number;
}

/** The largest number of buckets of a product: every read of its units adds up that many rows. */
export const MOST_BUCKETS = 16;

/**
 * The bucket to take `quantity` from: one at random among those that had enough when they were read, so that buyers do not meet
 * in one row. Null: no single bucket has enough, take from several.
 */
export function chooseBucket(
  buckets: readonly bigint[],
  quantity: number,
  random: () => number = Math.random,
): number | null {
  const enough = buckets.flatMap((available, bucket) => (available >= BigInt(quantity) ? [bucket] : []));
  return enough[Math.floor(random() * enough.length)] ?? null;
}

/** `total` units over `buckets` buckets, none with more than one unit above another. */
export function spread(total: bigint, buckets: number): bigint[] {
  const each = total / BigInt(buckets);
  const rest = Number(total % BigInt(buckets));
  return Array.from({ length: buckets }, (_, bucket) => each + (bucket < rest ? 1n : 0n));
}

/**
 * How many buckets a contended product should have; undefined: as many as it has. The last few units are not worth
 * splitting: buyers would have to gather them from many rows.
 */
export function moreBuckets(buckets: number, available: bigint): number | undefined {
  const doubled = Math.min(buckets * 2, MOST_BUCKETS);
  return doubled > buckets && available >= BigInt(doubled) * 4n ? doubled : undefined;
}
