import { createHash } from 'node:crypto';

/** Products of one order that are paired at most: 4,950 pairs. Larger orders say little about what goes with what. */
export const MAX_BASKET = 100;
/** Neighbours that are kept of one product. */
export const MAX_NEIGHBOURS = 50;
/**
 * What a product's own popularity counts beside the significance of its company, chosen by `npm run recommend:eval` on the
 * first part of the history. 0: significance alone.
 */
export const POPULARITY_WEIGHT = 1;

/**
 * The products of an order that count, each once: all, or of a very large order MAX_BASKET that its id chooses, so that the same
 * order always counts for the same pairs.
 */
export function basketOf(orderId: string, productIds: readonly string[]): string[] {
  const distinct = [...new Set(productIds)].sort();
  if (distinct.length <= MAX_BASKET) return distinct;
  const rank = (id: string) => createHash('sha1').update(`${orderId}/${id}`).digest('hex');
  return distinct
    .map((id) => ({ id, rank: rank(id) }))
    .sort((a, b) => compare(a.rank, b.rank))
    .slice(0, MAX_BASKET)
    .map(({ id }) => id)
    .sort();
}

/** How often two products were bought, together and each. */
export interface CoPurchase {
  /** Orders with both. */
  together: number;
  /** Orders with the one. */
  one: number;
  /** Orders with the other. */
  other: number;
  /** All orders. */
  total: number;
}

/**
 * How surprised one should be by what two products have in common if they had nothing to do with each other: the
 * log-likelihood ratio of their two-by-two table (T. Dunning, "Accurate Methods for the Statistics of Surprise and Coincidence",
 * Computational Linguistics 19(1), 1993), 0 or more. Unlike a share or a lift it is small where little was seen.
 */
export function logLikelihoodRatio({ together, one, other, total }: CoPurchase): number {
  const onlyOne = one - together;
  const onlyOther = other - together;
  const neither = total - one - other + together;
  const rows = entropy(one, total - one);
  const columns = entropy(other, total - other);
  return Math.max(0, 2 * (rows + columns - entropy(together, onlyOne, onlyOther, neither)));
}

/** Shannon's entropy of counts, times their sum. */
const entropy = (...counts: number[]): number =>
  xLogX(counts.reduce((sum, count) => sum + count, 0)) - counts.reduce((sum, count) => sum + xLogX(count), 0);
const xLogX = (x: number): number => (x <= 0 ? 0 : x * Math.log(x));

/**
 * How much `other` goes with `one`: the root of the likelihood ratio, negative where they avoid each other, plus the logarithm of
 * the other's popularity, which decides while little is known.
 */
export function association(counts: CoPurchase, popularityWeight = POPULARITY_WEIGHT): number {
  const root = Math.sqrt(logLikelihoodRatio(counts));
  const attracted = counts.together * counts.total >= counts.one * counts.other;
  return (attracted ? root : -root) + popularityWeight * Math.log(counts.other);
}

export interface Scored {
  id: string;
  score: number;
}

/** A product's neighbours, best first, at most MAX_NEIGHBOURS; equal scores in the order of their ids. */
export function rankNeighbours(
  orders: number,
  partners: ReadonlyArray<{ id: string; together: number; orders: number }>,
  total: number,
  popularityWeight = POPULARITY_WEIGHT,
): Scored[] {
  return best(
    partners
      .filter((partner) => partner.together > 0)
      .map((partner) => ({
        id: partner.id,
        score: association(
          { together: partner.together, one: orders, other: partner.orders, total },
          popularityWeight,
        ),
      })),
    MAX_NEIGHBOURS,
  );
}

/** The highest scores, equal ones in the order of their ids. */
export function best(scored: readonly Scored[], limit: number): Scored[] {
  return [...scored].sort((a, b) => b.score - a.score || compare(a.id, b.id)).slice(0, limit);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
