/*
 * Counters that fade, by forward decay (G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, "Forward Decay: A Practical Time
 * Decay Model for Streaming Systems", ICDE 2009): an event at time t weighs 2^(t / half-life) from a fixed landmark, here the Unix
 * epoch. Nothing has to be touched as time passes, the order of two counters changes by events alone, and an event that comes late
 * weighs what it would have weighed in time. The weights outgrow a double within years, so the sum's logarithm is kept.
 */

const DAY_MS = 24 * 3_600_000;

/** The logarithm to base 2 of a faded sum from the landmark; NOTHING for a sum of 0. */
export type FadedSum = number;

export const NOTHING: FadedSum = -Infinity;

/** After these times an event counts half: what is going on now, and what was usual before. */
export const HALF_LIFE_DAYS = { recent: 3, past: 30 } as const;

/** What a view or a click counts beside a purchase. */
export const INTEREST_WEIGHT = { purchase: 1, activity: 0.1 } as const;

/** Below this part of a term that was taken away, what is left is the rounding. */
const ROUNDING = 1e-9;

/** A signed change of a sum. */
export interface Change {
  weight: number;
  /** When it happened, milliseconds since the Unix epoch. */
  atMs: number;
}

/** The sum after changes; taking away what was added leaves what was there before, up to rounding. */
export function changed(sum: FadedSum, changes: readonly Change[], halfLifeDays: number): FadedSum {
  const terms = changes.map(({ weight, atMs }) => ({
    sign: Math.sign(weight),
    log: Math.log2(Math.abs(weight)) + atMs / DAY_MS / halfLifeDays,
  }));
  const highest = Math.max(sum, ...terms.map(({ log }) => log));
  if (highest === NOTHING) return NOTHING;
  const relative = terms.reduce(
    (total, { sign, log }) => total + sign * 2 ** (log - highest),
    2 ** (sum - highest),
  );
  return relative <= ROUNDING ? NOTHING : highest + Math.log2(relative);
}

/** What the sum is worth at a moment: a purchase of that moment is 1. */
export function valueAt(sum: FadedSum, nowMs: number, halfLifeDays: number): number {
  return 2 ** (sum - nowMs / DAY_MS / halfLifeDays);
}

/**
 * How much more interest there is than there used to be, in standard deviations of a Poisson count: 0 for what sells as always,
 * however well, less for what is on its way out.
 */
export function trend(sums: { recent: FadedSum; past: FadedSum }, nowMs: number): number {
  const now = valueAt(sums.recent, nowMs, HALF_LIFE_DAYS.recent);
  const past = valueAt(sums.past, nowMs, HALF_LIFE_DAYS.past);
  const expected = past * (HALF_LIFE_DAYS.recent / HALF_LIFE_DAYS.past);
  return (now - expected) / Math.sqrt(expected + 1);
}

/** Less than this is no trend. */
export const MIN_TREND = 0.05;
