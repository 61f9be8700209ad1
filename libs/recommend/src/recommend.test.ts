import {
  association,
  basketOf,
  blend,
  changed,
  HALF_LIFE_DAYS,
  logLikelihoodRatio,
  MAX_BASKET,
  MAX_SEEDS,
  NOTHING,
  rankNeighbours,
  seedsOf,
  trend,
  valueAt,
} from '.';

const DAY = 24 * 3_600_000;
const NOW = Date.UTC(2026, 0, 1);

describe('association', () => {
  it('has the likelihood ratios of the literature', () => {
    // Dunning 1993, table 1: "the swiss" 110 of 2,442 and 29,114, and what is left of 31,777 bigrams
    const ratio = logLikelihoodRatio({ together: 110, one: 2_552, other: 221, total: 31_777 });
    expect(ratio).toBeCloseTo(270.72, 1);
    expect(logLikelihoodRatio({ together: 10, one: 100, other: 100, total: 1_000 })).toBeCloseTo(0, 9);
  });

  it('trusts many meetings more than one, and a meeting by chance not at all', () => {
    const counts = (together: number, other: number) => ({ together, one: 50, other, total: 10_000 });
    expect(logLikelihoodRatio(counts(1, 1))).toBeLessThan(logLikelihoodRatio(counts(20, 40)));
    expect(association(counts(1, 5_000))).toBeLessThan(association(counts(20, 5_000)));
    expect(association({ together: 1, one: 100, other: 100, total: 200 }, 0)).toBeLessThan(0);
  });

  it('pairs every product of an order once, and of a very large order always the same hundred', () => {
    expect(basketOf('o', ['b', 'a', 'b'])).toEqual(['a', 'b']);
    const large = Array.from({ length: 1_000 }, (_, index) => `p${index}`);
    const basket = basketOf('order-1', large);
    expect(basket).toHaveLength(MAX_BASKET);
    expect(basketOf('order-1', [...large].reverse())).toEqual(basket);
    expect(basketOf('order-2', large)).not.toEqual(basket);
  });

  it('ranks what is not known apart by id, so that the same counts give the same list', () => {
    const partners = ['c', 'a', 'b'].map((id) => ({ id, together: 2, orders: 3 }));
    expect(rankNeighbours(3, partners, 10).map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    expect(rankNeighbours(3, [{ id: 'gone', together: 0, orders: 3 }], 10)).toEqual([]);
  });
});

describe('a faded sum', () => {
  it('is halved by its half-life, whatever the order of the events', () => {
    const changes = [0, 1, 5, 9].map((days) => ({ weight: 1, atMs: NOW - days * DAY }));
    const expected = [0, 1, 5, 9].reduce((sum, days) => sum + 2 ** (-days / 3), 0);
    const together = changed(NOTHING, changes, 3);
    const oneByOne = [...changes].reverse().reduce((sum, change) => changed(sum, [change], 3), NOTHING);
    expect(valueAt(together, NOW, 3)).toBeCloseTo(expected, 9);
    expect(oneByOne).toBeCloseTo(together, 9);
    expect(valueAt(together, NOW + 3 * DAY, 3)).toBeCloseTo(expected / 2, 9);
  });

  it('loses what is taken back, to nothing when nothing else was there', () => {
    const sale = { weight: 1, atMs: NOW };
    const other = changed(NOTHING, [{ weight: 1, atMs: NOW - 40 * DAY }], 3);
    const both = changed(other, [sale], 3);
    expect(changed(both, [{ ...sale, weight: -1 }], 3)).toBeCloseTo(other, 3);
    expect(changed(changed(NOTHING, [sale], 3), [{ ...sale, weight: -1 }], 3)).toBe(NOTHING);
  });

  it('neither overflows nor vanishes within a century', () => {
    for (const years of [-56, -16, 0, 44]) {
      const sum = changed(NOTHING, [{ weight: 1, atMs: NOW + years * 365 * DAY }], 3);
      expect(Number.isFinite(sum)).toBe(true);
      expect(changed(sum, [{ weight: -1, atMs: NOW + years * 365 * DAY }], 3)).toBe(NOTHING);
    }
  });
});

describe('trend', () => {
  const sums = (daily: (daysAgo: number) => number) => {
    const changes = Array.from({ length: 365 }, (_, days) => ({
      weight: daily(days),
      atMs: NOW - days * DAY,
    }));
    const wanted = changes.filter(({ weight }) => weight > 0);
    return {
      recent: changed(NOTHING, wanted, HALF_LIFE_DAYS.recent),
      past: changed(NOTHING, wanted, HALF_LIFE_DAYS.past),
    };
  };

  it('is about nothing for what sells as always, however well', () => {
    expect(
      Math.abs(
        trend(
          sums(() => 100),
          NOW,
        ),
      ),
    ).toBeLessThan(3);
    expect(
      trend(
        sums((days) => (days < 3 ? 40 : 4)),
        NOW,
      ),
    ).toBeGreaterThan(10);
    expect(
      trend(
        sums((days) => (days < 7 ? 0 : 40)),
        NOW,
      ),
    ).toBeLessThan(-1);
  });

  it('is nothing for what was bought years ago', () => {
    expect(
      trend(
        sums((days) => (days > 300 ? 1_000 : 0)),
        NOW + 3_650 * DAY,
      ),
    ).toBeCloseTo(0, 9);
    expect(trend({ recent: NOTHING, past: NOTHING }, NOW)).toBe(0);
  });
});

describe('a blend', () => {
  it('weighs purchases above views and new above old, by the newest', () => {
    const old = NOW - 5_000 * DAY;
    const seeds = seedsOf([
      { productId: 'bought', kind: 'purchase', atMs: old },
      { productId: 'viewed', kind: 'view', atMs: old },
      { productId: 'before', kind: 'purchase', atMs: old - 30 * DAY },
    ]);
    expect(seeds).toEqual([
      { id: 'bought', weight: 1 },
      { id: 'before', weight: 0.5 },
      { id: 'viewed', weight: 0.3 },
    ]);
  });

  it('is bounded by the newest things, and leaves out what it is told to', () => {
    const history = Array.from({ length: 400 }, (_, index) => ({
      productId: `p${index}`,
      kind: 'view' as const,
      atMs: NOW - index * DAY,
    }));
    expect(seedsOf(history).map(({ id }) => id)).toEqual(
      history.slice(0, MAX_SEEDS).map(({ productId }) => productId),
    );
    const neighbours = () => [
      { id: 'a', score: 2 },
      { id: 'b', score: 1 },
    ];
    const seeds = [
      { id: 'x', weight: 1 },
      { id: 'y', weight: 0.5 },
    ];
    expect(blend(seeds, neighbours, { excluded: new Set(['a']), limit: 5 })).toEqual([
      { id: 'b', score: 1.5 },
    ]);
  });
});
