import type { Invoice } from './history';
import { randomOf, sample } from './statistics';

const DAY_MS = 24 * 3_600_000;
const START_MS = Date.UTC(2025, 0, 1);

/** The best hundredth of the products makes a twelfth of all lines, as in the shop of the Online Retail data (UCI). */
const ZIPF = 0.6;

/** A made-up shop in which some things are liked by the same people. */
export const GENERATED = { customers: 400, products: 600, tastes: 15, days: 300, orders: 10 };

/**
 * A history with planted taste: every product belongs to one of the tastes, every customer has two of them, and seven of ten products
 * of an invoice come from these; the others are whatever is popular. Popularity falls off as in a shop (Zipf's law).
 */
export function generateHistory(seed: number, shop = GENERATED): Invoice[] {
  const random = randomOf(seed);
  const { customers, products, tastes, days, orders } = shop;
  const ids = Array.from({ length: products }, (_, index) => `p${String(index).padStart(3, '0')}`);
  const tasteOf = ids.map(() => Math.floor(random() * tastes));
  const popularity = ids.map((_, index) => 1 / (index + 1) ** ZIPF);
  const drawOf = (members: readonly number[]) => {
    const total = members.reduce((sum, index) => sum + popularity[index]!, 0);
    return () => {
      let left = random() * total;
      for (const index of members) {
        left -= popularity[index]!;
        if (left < 0) return ids[index]!;
      }
      return ids[members.at(-1)!]!;
    };
  };
  const every = ids.map((_, index) => index);
  const anything = drawOf(every);
  const ofTaste = Array.from({ length: tastes }, (_, taste) =>
    drawOf(every.filter((index) => tasteOf[index] === taste)),
  );
  const invoices: Invoice[] = [];
  for (let customer = 0; customer < customers; customer += 1) {
    const own = sample(ofTaste, 2, random);
    for (let order = 0; order < orders; order += 1) {
      const size = 3 + Math.floor(random() * 6);
      const basket = new Set<string>();
      for (let draw = 0; draw < size; draw += 1)
        basket.add(random() < 0.7 ? own[Math.floor(random() * own.length)]!() : anything());
      invoices.push({
        id: `${customer}-${order}`,
        customer: `c${customer}`,
        atMs: START_MS + Math.floor(random() * days * DAY_MS),
        productIds: [...basket],
      });
    }
  }
  return invoices.sort((a, b) => a.atMs - b.atMs || (a.id < b.id ? -1 : 1));
}
