import { ManualClock } from '@headroom/testing';
import fc from 'fast-check';
import { trackContention } from './contention';
import { chooseBucket, MOST_BUCKETS, moreBuckets, spread } from './stock';

it('spreads every unit, evenly', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 10_000n), fc.integer({ min: 1, max: 16 }), (total, buckets) => {
      const parts = spread(total, buckets);
      expect(parts).toHaveLength(buckets);
      expect(parts.reduce((sum, part) => sum + part, 0n)).toBe(total);
      expect(parts[0]! - parts.at(-1)!).toBeLessThanOrEqual(1n);
    }),
  );
});

it('chooses among the buckets that have enough, and none where no single one has', () => {
  const buckets = [1n, 7n, 0n, 9n];
  const chosen = new Set([0, 0.49, 0.5, 0.99].map((value) => chooseBucket(buckets, 5, () => value)));
  expect(chosen).toEqual(new Set([1, 3]));
  expect(chooseBucket(buckets, 10, () => 0)).toBeNull();
});

it('doubles buckets up to the most there may be, and leaves the last units together', () => {
  expect(moreBuckets(1, 1_000n)).toBe(2);
  expect(moreBuckets(8, 1_000n)).toBe(MOST_BUCKETS);
  expect(moreBuckets(MOST_BUCKETS, 1_000n)).toBeUndefined();
  expect(moreBuckets(1, 7n)).toBeUndefined();
});

describe('contention', () => {
  const clock = new ManualClock();
  const waits = (contention: ReturnType<typeof trackContention>, count: number, waitedMs: number) =>
    Array.from({ length: count }, () => contention.record('p', waitedMs)).filter(Boolean).length;

  it('is found in enough long waits within a second, once for each such set', () => {
    const contention = trackContention({ clock });
    expect(waits(contention, 19, 5)).toBe(0);
    expect(waits(contention, 1, 5)).toBe(1);
    expect(waits(contention, 19, 5)).toBe(0);
  });

  it('is not found in short waits, nor in long ones that lie apart', () => {
    const contention = trackContention({ clock });
    expect(waits(contention, 1_000, 2.9)).toBe(0);
    clock.advance(1_000);
    expect(waits(contention, 19, 5)).toBe(0);
    clock.advance(1_000);
    expect(waits(contention, 19, 5)).toBe(0);
  });

  it('is a matter of one product', () => {
    const contention = trackContention({ clock });
    for (let n = 0; n < 100; n += 1) expect(contention.record(`product ${n}`, 50)).toBe(false);
  });
});
