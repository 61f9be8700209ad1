import { best, type Scored } from './association';

const DAY_MS = 24 * 3_600_000;
/** After this time a purchase or a view says half as much about what somebody wants. */
const INTEREST_HALF_LIFE_DAYS = 30;
/** What a view says beside a purchase. */
const VIEW_WEIGHT = 0.3;
/** The newest orders and activities of somebody that are looked at. */
export const HISTORY = { orders: 20, activities: 100 } as const;
/** Things that speak for somebody at most: the strongest. */
export const MAX_SEEDS = 50;
/** What somebody bought within this time is not recommended to them again. */
const REPURCHASE_MS = 30 * DAY_MS;

/** A product that speaks for what comes next, and how much. */
export interface Seed {
  id: string;
  weight: number;
}

/** Something that somebody did with a product. */
export interface Interest {
  productId: string;
  kind: 'purchase' | 'view';
  atMs: number;
}

/**
 * What somebody's history says: recent things weigh more, by their age before the newest one, so that who has been away is
 * still known. Of several interests in a product the strongest counts. At most MAX_SEEDS, strongest first.
 */
export function seedsOf(history: readonly Interest[]): Seed[] {
  const newestMs = history.reduce((newest, { atMs }) => Math.max(newest, atMs), -Infinity);
  const weights = new Map<string, number>();
  for (const { productId, kind, atMs } of history) {
    const age = (newestMs - atMs) / DAY_MS;
    const weight = (kind === 'purchase' ? 1 : VIEW_WEIGHT) * 2 ** (-age / INTEREST_HALF_LIFE_DAYS);
    weights.set(productId, Math.max(weight, weights.get(productId) ?? 0));
  }
  return best(
    [...weights].map(([id, weight]) => ({ id, score: weight })),
    MAX_SEEDS,
  ).map(({ id, score }) => ({ id, weight: score }));
}

/** What somebody has bought so recently that it is not recommended to them again. */
export const recentlyBought = (history: readonly Interest[], nowMs: number): Set<string> =>
  new Set(
    history
      .filter(({ kind, atMs }) => kind === 'purchase' && atMs > nowMs - REPURCHASE_MS)
      .map(({ productId }) => productId),
  );

/** The neighbours of all seeds, weighted and added up, without `excluded`; best first. */
export function blend(
  seeds: readonly Seed[],
  neighboursOf: (id: string) => readonly Scored[],
  options: { excluded: ReadonlySet<string>; limit: number },
): Scored[] {
  const scores = new Map<string, number>();
  for (const seed of seeds)
    for (const { id, score } of neighboursOf(seed.id))
      if (!options.excluded.has(id)) scores.set(id, (scores.get(id) ?? 0) + seed.weight * score);
  return best(
    [...scores].map(([id, score]) => ({ id, score })),
    options.limit,
  );
}
