import { writeOutbox } from '@headroom/messaging';
import type { Database } from '@headroom/postgres';
import { demoChange, demoProduct, type DemoProduct } from './demo';
import { productEvent, stockEvent } from './events';
import { findSkus, findSlugs, insertProducts } from './repository';
import { insertStock } from './stock-repository';

const BATCH = 1_000;

/**
 * Brings the demo catalogue `seed` to at least `products` products, with stock, ledger and events, a thousand in a transaction.
 * Those that are there already stay as they are, so that a second run changes nothing and a run that was cut short goes on.
 * Returns how many were added.
 */
export async function seedCatalogue(options: {
  db: Database;
  products: number;
  seed: number;
  currency: string;
  onProgress?: (done: number) => void;
}): Promise<number> {
  const { db, products, seed, currency, onProgress } = options;
  let added = 0;
  for (let from = 0; from < products; from += BATCH) {
    const to = Math.min(from + BATCH, products);
    const batch = Array.from({ length: to - from }, (_, offset) =>
      demoProduct(seed, from + offset, currency),
    );
    added += await addMissing(db, batch);
    onProgress?.(to);
  }
  return added;
}

async function addMissing(db: Database, batch: readonly DemoProduct[]): Promise<number> {
  const known = await findSkus(
    db,
    batch.map((each) => each.input.sku),
  );
  const missing = batch.filter((each) => !known.has(each.input.sku));
  if (missing.length === 0) return 0;
  const taken = await findSlugs(
    db,
    missing.map((each) => each.slugs[0]),
  );
  const changes = missing.map((each) => {
    const [slug, unmistakable] = each.slugs;
    if (taken.has(slug)) return demoChange(each, unmistakable);
    taken.add(slug);
    return demoChange(each, slug);
  });
  await db.transaction(async (tx) => {
    const inserted = await insertProducts(
      tx,
      changes.map(({ product }) => product),
    );
    if (inserted < missing.length)
      throw new Error('products were created at the same time: run the command again');
    await insertStock(
      tx,
      missing.map(({ id, onHand, createdAtMs }) => ({ productId: id, onHand, atMs: createdAtMs })),
    );
    await writeOutbox(
      tx,
      changes.flatMap((change, index) => {
        const { id, onHand, createdAtMs } = missing[index]!;
        const stock = { productId: id, available: onHand, held: 0n, version: 1n };
        return [productEvent(change), stockEvent(stock, createdAtMs)];
      }),
    );
  });
  return missing.length;
}

/** The arguments of the command, `--products N [--seed S]`; throws with a sentence that says what is wrong. */
export function readSeedArguments(values: { products?: string | undefined; seed?: string | undefined }): {
  products: number;
  seed: number;
} {
  const whole = (name: string, text: string, most: number) => {
    if (!/^\d{1,10}$/.test(text) || Number(text) > most)
      throw new Error(`--${name}: found ${JSON.stringify(text)}, expected a whole number from 0 to ${most}`);
    return Number(text);
  };
  return {
    products: whole('products', values.products ?? '1000', 10_000_000),
    seed: whole('seed', values.seed ?? '1', 4_294_967_295),
  };
}
