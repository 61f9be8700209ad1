import type { ImportedLine, ImportOutcome, LineError } from '@headroom/jobs';
import { writeOutbox } from '@headroom/messaging';
import type { Tx } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { productEvent, stockEvent } from './events';
import type { ImportedProduct } from './import-product';
import { claimSkus } from './import-repository';
import { changeProduct, createProduct, slugCandidates, type Product, type ProductChange } from './product';
import { findBySku, findSlugs, insertProducts, lockProducts, updateProducts } from './repository';
import { insertStock } from './stock-repository';

type Line = ImportedLine<ImportedProduct>;

/** A slug was taken while the batch chose it: run the transaction again. */
export class SlugTaken extends Error {
  constructor() {
    super('a slug was taken at the same time');
    this.name = 'SlugTaken';
  }
}

/**
 * Brings products to what the lines of a batch say, as part of the caller's transaction, with a dozen statements however many
 * lines there are: products that are new with stock, ledger and events as when an admin creates one, the others changed where
 * they differ. Members that a line leaves out stay as they are, or get the defaults of a new product. A SKU that an earlier line
 * of the file had, or that an archived product has, is an error of its line. Only products that change are locked. Throws
 * SlugTaken, or violates products_sku, when somebody creates such a product at the same time.
 */
export async function writeBatch(
  tx: Tx,
  lines: readonly Line[],
  options: { jobId: string; shopCurrency: string; nowMs: number; wakeRelay?: (() => void) | undefined },
): Promise<ImportOutcome> {
  const { jobId, nowMs } = options;
  const { first, errors } = await firstOfEachSku(tx, jobId, lines);
  const known = new Map((await findBySku(tx, [...first.keys()])).map((product) => [product.sku, product]));

  const fresh: Line[] = [];
  const different: string[] = [];
  for (const each of first.values()) {
    const product = known.get(each.row.sku);
    if (!product) fresh.push(each);
    else if (product.archived) errors.push(archivedError(each));
    else if (changeProduct(product, changesOf(each.row), nowMs)) different.push(product.id);
  }

  const changes: ProductChange[] = [];
  for (const product of different.length === 0 ? [] : await lockProducts(tx, different)) {
    const each = first.get(product.sku)!;
    if (product.archived) {
      errors.push(archivedError(each));
      continue;
    }
    const change = changeProduct(product, changesOf(each.row), nowMs);
    if (change) changes.push(change);
  }
  if (changes.length > 0)
    await updateProducts(
      tx,
      changes.map(({ product }) => product),
    );
  const created = fresh.length === 0 ? [] : await createAll(tx, fresh, options);

  await writeOutbox(
    tx,
    [
      ...changes.map((change) => productEvent(change)),
      ...created.flatMap(({ change, onHand }) => {
        const stock = { productId: change.product.id, available: onHand, held: 0n, version: 1n };
        return [productEvent(change), stockEvent(stock, nowMs)];
      }),
    ],
    options.wakeRelay,
  );
  errors.sort((one, other) => one.line - other.line);
  return {
    created: created.length,
    updated: changes.length,
    unchanged: lines.length - created.length - changes.length - errors.length,
    errors,
  };
}

/** The first line of each SKU; later ones, in this batch or an earlier one, are errors. */
async function firstOfEachSku(tx: Tx, jobId: string, lines: readonly Line[]) {
  const bySku = new Map<string, Line>();
  const repeated: Line[] = [];
  for (const each of lines)
    if (bySku.has(each.row.sku)) repeated.push(each);
    else bySku.set(each.row.sku, each);
  const unseen = bySku.size === 0 ? new Set<string>() : await claimSkus(tx, jobId, [...bySku.keys()]);
  const first = new Map([...bySku].filter(([sku]) => unseen.has(sku)));
  repeated.push(...[...bySku.values()].filter(({ row }) => !unseen.has(row.sku)));
  const errors: LineError[] = repeated.map(({ line, row }) => ({
    line,
    code: 'SKU_DUPLICATE',
    reason: `the SKU ${row.sku} stands in an earlier line of the file`,
  }));
  return { first, errors };
}

async function createAll(
  tx: Tx,
  lines: readonly Line[],
  { shopCurrency, nowMs }: { shopCurrency: string; nowMs: number },
): Promise<Array<{ change: ProductChange; onHand: bigint }>> {
  const candidates = lines.map(({ row }) => {
    const id = uuidv7(nowMs);
    return { row, id, slugs: slugCandidates(row.name, id) };
  });
  const taken = await findSlugs(
    tx,
    candidates.map(({ slugs }) => slugs[0]),
  );
  const created = candidates.map(({ row, id, slugs }) => {
    const { onHand = 0n, ...members } = row;
    const slug = taken.has(slugs[0]) ? slugs[1] : slugs[0];
    taken.add(slug);
    const input = { description: '', category: '', imageUrl: '', currency: shopCurrency, ...members };
    return { change: createProduct(input, { id, slug, nowMs }), onHand };
  });
  // By SKU, so that two imports at once wait for each other instead of blocking each other.
  created.sort(({ change: one }, { change: other }) => (one.product.sku < other.product.sku ? -1 : 1));
  const products: Product[] = created.map(({ change }) => change.product);
  if ((await insertProducts(tx, products)) < products.length) throw new SlugTaken();
  await insertStock(
    tx,
    created.map(({ change, onHand }) => ({ productId: change.product.id, onHand, atMs: nowMs })),
  );
  return created;
}

/** What a line says of a product that exists: its opening units are those of long ago. */
function changesOf({ sku: _sku, onHand: _onHand, ...changes }: ImportedProduct) {
  return changes;
}

const archivedError = ({ line, row }: Line): LineError => ({
  line,
  code: 'SKU_ARCHIVED',
  reason: `the product with the SKU ${row.sku} is archived: restore it first`,
});
