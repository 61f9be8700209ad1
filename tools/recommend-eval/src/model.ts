import { basketOf, rankNeighbours, type Scored } from '@headroom/recommend';
import type { Invoice } from './history';

/** What the service would have learnt from these invoices, in memory. */
export interface Model {
  /** Products that were bought, the most popular first. */
  popular: string[];
  neighboursOf(id: string): readonly Scored[];
}

/** Counts as apps/recommendation does and ranks with the same functions. */
export function train(invoices: readonly Invoice[], popularityWeight: number): Model {
  const orders = new Map<string, number>();
  const together = new Map<string, Map<string, number>>();
  const count = <K>(counts: Map<K, number>, key: K) => counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const invoice of invoices) {
    const basket = basketOf(invoice.id, invoice.productIds);
    for (const id of basket) {
      count(orders, id);
      const partners = together.get(id) ?? new Map<string, number>();
      together.set(id, partners);
      for (const partner of basket) if (partner !== id) count(partners, partner);
    }
  }
  const ranked = new Map<string, Scored[]>();
  return {
    popular: [...orders].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([id]) => id),
    neighboursOf(id) {
      const known = ranked.get(id);
      if (known) return known;
      const partners = [...(together.get(id) ?? [])].map(([partner, count]) => ({
        id: partner,
        together: count,
        orders: orders.get(partner)!,
      }));
      const neighbours = rankNeighbours(orders.get(id) ?? 0, partners, invoices.length, popularityWeight);
      ranked.set(id, neighbours);
      return neighbours;
    },
  };
}
