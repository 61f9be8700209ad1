import { systemClock, type Clock } from '@headroom/resilience';

/** Which products are so sought after that buyers wait for one another's row locks. */
export interface Contention {
  /** Notes one wait for a product's row lock; true when the recent waits are long enough to split the product. */
  record(productId: string, waitedMs: number): boolean;
}

interface Waits {
  since: number;
  count: number;
  totalMs: number;
}

/**
 * Looks at the waits of this process in windows of one second per product: from 20 waits on, an average of 3 ms or more means
 * that the product should be split. Then counting begins anew, so that the next verdict is about the split product. 3 ms
 * is several times what a whole take needs when nobody else wants the row (0.45 ms, see takeFromRow). Remembers the products of the last second only.
 */
export function trackContention(
  options: { clock?: Clock; thresholdMs?: number; leastSamples?: number; windowMs?: number } = {},
): Contention {
  const { clock = systemClock, thresholdMs = 3, leastSamples = 20, windowMs = 1_000 } = options;
  let recent = new Map<string, Waits>();
  let lookedAt = clock.now();

  const forgetOld = (now: number) => {
    if (now - lookedAt < windowMs) return;
    lookedAt = now;
    recent = new Map([...recent].filter(([, waits]) => now - waits.since < windowMs));
  };

  return {
    record(productId, waitedMs) {
      const now = clock.now();
      forgetOld(now);
      let waits = recent.get(productId);
      if (!waits || now - waits.since >= windowMs) {
        waits = { since: now, count: 0, totalMs: 0 };
        recent.set(productId, waits);
      }
      waits.count += 1;
      waits.totalMs += waitedMs;
      if (waits.count < leastSamples || waits.totalMs / waits.count < thresholdMs) return false;
      recent.delete(productId);
      return true;
    },
  };
}
