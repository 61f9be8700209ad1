// Millions of draws: a name of the module is found faster than a member of a global.
const { ceil, floor, imul } = Math;

/** Numbers from 0 to 1 that a seed decides (Mulberry32, T. Ettinger 2017, public domain): good enough to draw samples. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` of the items, in an order that `random` decides. */
export function sample<T>(items: readonly T[], count: number, random: () => number): T[] {
  const rest = [...items];
  const drawn: T[] = [];
  while (drawn.length < count && rest.length > 0) {
    const index = floor(random() * rest.length);
    drawn.push(rest[index]!);
    rest[index] = rest.at(-1)!;
    rest.pop();
  }
  return drawn;
}

export interface Estimate {
  mean: number;
  /** Bounds of the 95 % confidence interval. */
  low: number;
  high: number;
}

const RESAMPLES = 1_000;

/**
 * The mean of independent observations with its 95 % confidence interval by the percentile bootstrap (B. Efron, "Bootstrap
 * Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979); the seed makes it repeatable.
 */
export function estimate(values: readonly number[], seed: number): Estimate {
  const random = randomOf(seed);
  const meanOf = (draw: (index: number) => number) => {
    let sum = 0;
    for (let index = 0; index < values.length; index += 1) sum += draw(index);
    return values.length === 0 ? 0 : sum / values.length;
  };
  const means = Array.from({ length: RESAMPLES }, () =>
    meanOf(() => values[floor(random() * values.length)]!),
  ).sort((a, b) => a - b);
  return {
    mean: meanOf((index) => values[index]!),
    low: means[floor(RESAMPLES * 0.025)]!,
    high: means[ceil(RESAMPLES * 0.975) - 1]!,
  };
}
