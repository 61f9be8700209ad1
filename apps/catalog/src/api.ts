import { catalogV1, fault } from '@headroom/contracts';
import { writeOutbox } from '@headroom/messaging';
import { isUniqueViolation, type Database, type Tx } from '@headroom/postgres';
import { isUuidv7, uuidv7, type Clock, type FieldError } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import {
  holdMessage,
  productEvent,
  productMessage,
  productPosition,
  stockEvent,
  stockMessage,
  stockPosition,
  variantMessage,
} from './events';
import type { Holds } from './holds';
import {
  archiveProduct,
  changeProduct,
  createProduct,
  MOST_UNITS,
  MOST_VARIANTS,
  readChanges,
  readNewProduct,
  restoreProduct,
  slugCandidates,
  validate,
  type ProductChange,
  type ProductInput,
} from './product';
import {
  countProducts,
  findProduct,
  findQuotes,
  findVariants,
  insertProducts,
  listProducts,
  lockGroup,
  lockProduct,
  updateProduct,
  type StockedProduct,
} from './repository';
import { spread, type Stock } from './stock';
import {
  countLedger,
  enterCorrection,
  findStock,
  insertStock,
  listLedger,
  lockBuckets,
  lockStock,
  sumHeld,
  writeBuckets,
} from './stock-repository';

const DEFAULT_LIMIT = 20;
const MOST_LIMIT = 100;
const MOST_LINES = 1_000;
const MOST_QUANTITY = 9_999;
const LONGEST_TTL_SECONDS = 86_400;

/** The gRPC handlers of the catalog. Shoppers and services call without a role; the methods of admins verify it. */
export function catalogService(deps: {
  db: Database;
  clock: Clock;
  holds: Holds;
  shopCurrency: string;
  holdTtlSeconds: number;
  wakeRelay?: () => void;
  /** Called after a correction, so that the new stock is published soon. */
  wakePublisher?: () => void;
}): GrpcService {
  const { db, clock, holds, shopCurrency, wakeRelay, wakePublisher } = deps;

  const saveChange = async (tx: Tx, change: ProductChange) => {
    await updateProduct(tx, change.product);
    await writeOutbox(tx, [productEvent(change)], wakeRelay);
  };

  /** Changes one product under its row lock; `decide` gives the change, or undefined when there is none. */
  const change = (
    productId: string,
    decide: (product: StockedProduct, nowMs: number) => ProductChange | undefined,
  ): Promise<catalogV1.ProductWritten> =>
    db.transaction(
      async (tx) => {
        const found = isUuidv7(productId) ? await lockProduct(tx, productId) : undefined;
        if (!found) throw fault('NOT_FOUND');
        const changed = decide(found, clock.now());
        if (changed && changed.product.group !== found.group) await joinGroup(tx, changed.product.group);
        if (changed) await saveChange(tx, changed);
        const product = { ...(changed?.product ?? found), available: found.available };
        return { product: productMessage(product), positions: [productPosition(product)] };
      },
      { retry: true },
    );

  const create = async (input: ProductInput, onHand: bigint): Promise<catalogV1.ProductWritten> => {
    const nowMs = clock.now();
    const id = uuidv7(nowMs);
    const insert = async (tx: Tx) => {
      for (const slug of slugCandidates(input.name, id)) {
        const created = createProduct(input, { id, slug, nowMs });
        if ((await insertProducts(tx, [created.product])) === 1) return created;
      }
      throw new Error(`every slug for product ${id} is taken`);
    };
    try {
      return await db.transaction(
        async (tx) => {
          await joinGroup(tx, input.group ?? null);
          const created = await insert(tx);
          await insertStock(tx, [{ productId: id, onHand, atMs: nowMs }]);
          const stock: Stock = { productId: id, available: onHand, held: 0n, version: 1n };
          await writeOutbox(tx, [productEvent(created), stockEvent(stock, nowMs)], wakeRelay);
          return {
            product: productMessage({ ...created.product, available: onHand }),
            positions: [productPosition(created.product), stockPosition(id, stock.version)],
          };
        },
        { retry: true },
      );
    } catch (error) {
      if (isUniqueViolation(error, 'products_sku')) throw fault('SKU_TAKEN');
      throw error;
    }
  };

  const setStock = (productId: string, wanted: StockChange): Promise<catalogV1.StockWritten> =>
    db.transaction(
      async (tx) => {
        const published = isUuidv7(productId) ? await lockStock(tx, productId) : undefined;
        if (!published) throw fault('NOT_FOUND');
        const buckets = await lockBuckets(tx, productId);
        const held = await sumHeld(tx, productId);
        const before = buckets.reduce((sum, available) => sum + available, 0n);
        const delta = wanted.$case === 'delta' ? wanted.value : wanted.value - before - held;
        const available = before + delta;
        if (available < 0n) throw fault('STOCK_NEGATIVE', { detail: `${held} units are held` });
        if (delta !== 0n) await writeBuckets(tx, productId, spread(available, buckets.length));
        await enterCorrection(tx, productId, delta, clock.now());
        if (wakePublisher) tx.afterCommit(wakePublisher);
        // Whatever is published next is read after this commit, since the stock is locked until then.
        const version = published.version + 1n;
        return {
          stock: stockMessage({ productId, available, held, version }),
          positions: [stockPosition(productId, version)],
        };
      },
      { retry: true },
    );

  return implement('headroom.catalog.v1.CatalogService', catalogV1.CatalogServiceService, {
    async getProduct({ idOrSlug, includeArchived }, call) {
      if (includeArchived) await call.admin();
      const product = /^[a-z0-9-]{1,255}$/.test(idOrSlug) ? await findProduct(db, idOrSlug) : undefined;
      if (!product || (product.archived && !includeArchived)) throw fault('NOT_FOUND');
      const variants = product.group === null ? undefined : await findVariants(db, product.group);
      return {
        ...productMessage(product),
        ...(variants && { variants: { variants: variants.map(variantMessage) } }),
      };
    },

    async getQuotes({ productIds }) {
      const quotes = await findQuotes(db, productIds.filter(isUuidv7));
      return {
        quotes: quotes.map(({ id, name, priceMinor, currency, available }) => ({
          productId: id,
          name,
          price: { amountMinor: priceMinor, currency },
          available,
        })),
      };
    },

    async createProduct(request, call) {
      await call.admin();
      const { input, onHand } = readNewProduct(request, shopCurrency);
      return create(input, onHand);
    },

    async updateProduct(request, call) {
      await call.admin();
      const changes = readChanges(request, shopCurrency);
      return change(request.productId, (product, nowMs) => {
        if (request.ifVersion !== undefined && request.ifVersion !== product.version)
          throw fault('VERSION_MISMATCH', { detail: `the product has version ${product.version}` });
        return changeProduct(product, changes, nowMs);
      });
    },

    async archiveProduct({ productId }, call) {
      await call.admin();
      return change(productId, archiveProduct);
    },

    async restoreProduct({ productId }, call) {
      await call.admin();
      return change(productId, restoreProduct);
    },

    async listProducts({ includeArchived, afterId, includeTotal, ...request }, call) {
      await call.admin();
      const limit = readPage(request.limit, afterId);
      const found = await listProducts(db, { includeArchived, afterId, limit: limit + 1 });
      const products = found.slice(0, limit);
      return {
        products: products.map(productMessage),
        nextAfterId: found.length > limit ? products.at(-1)!.id : '',
        ...(includeTotal ? await countProducts(db, includeArchived) : { totalIsEstimate: false }),
      };
    },

    async getStock({ productId }, call) {
      await call.admin();
      return stockMessage(await stockOf(productId));
    },

    async setStock({ productId, change: wanted }, call) {
      await call.admin();
      return setStock(productId, readStockChange(wanted));
    },

    async listStockLedger({ productId, afterId, includeTotal, ...request }, call) {
      await call.admin();
      const limit = readPage(request.limit, afterId);
      await stockOf(productId);
      const found = await listLedger(db, { productId, afterId, limit: limit + 1 });
      const entries = found.slice(0, limit);
      return {
        entries: entries.map(({ id, delta, reason, orderId, at }) => ({
          id,
          delta,
          reason,
          orderId: orderId ?? '',
          at: at.toISOString(),
        })),
        nextAfterId: found.length > limit ? entries.at(-1)!.id : '',
        ...(includeTotal ? await countLedger(db, productId) : { totalIsEstimate: false }),
      };
    },

    async placeHold({ orderId, lines, ttlSeconds }) {
      validate([...orderIdErrors(orderId), ...lineErrors(lines), ...ttlErrors(ttlSeconds)]);
      return holdMessage(await holds.place(orderId, lines, ttlSeconds || deps.holdTtlSeconds));
    },

    async confirmHold({ orderId }) {
      validate(orderIdErrors(orderId));
      return { orderId, state: await holds.confirm(orderId) };
    },

    async releaseHold({ orderId }) {
      validate(orderIdErrors(orderId));
      return { orderId, state: await holds.release(orderId) };
    },

    async returnUnits({ orderId }) {
      validate(orderIdErrors(orderId));
      return { orderId, state: await holds.returnUnits(orderId) };
    },
  });

  async function stockOf(productId: string): Promise<Stock> {
    const stock = isUuidv7(productId) ? await findStock(db, productId) : undefined;
    if (!stock) throw fault('NOT_FOUND');
    return stock;
  }
}

/** Throws VALIDATION_FAILED when the group has no room for one more; holds its place until the transaction ends. */
async function joinGroup(tx: Tx, group: string | null): Promise<void> {
  if (group !== null && (await lockGroup(tx, group)) >= MOST_VARIANTS)
    validate([{ path: 'group', message: `has ${MOST_VARIANTS} products already` }]);
}

type StockChange = NonNullable<catalogV1.SetStockRequest['change']>;

function readStockChange(change: catalogV1.SetStockRequest['change']): StockChange {
  if (!change) {
    validate([{ path: 'onHand', message: 'is required, or delta instead' }]);
    throw new Error('unreachable');
  }
  const least = change.$case === 'onHand' ? 0n : -MOST_UNITS;
  if (change.value < least || change.value > MOST_UNITS)
    validate([{ path: change.$case, message: `must be from ${least} to ${MOST_UNITS}` }]);
  return change;
}

/** The number of items that a list was asked for, default 20; throws VALIDATION_FAILED. */
function readPage(limit: number, afterId: string): number {
  validate([
    ...(limit >= 0 && limit <= MOST_LIMIT
      ? []
      : [{ path: 'limit', message: `must be from 1 to ${MOST_LIMIT}` }]),
    ...(afterId === '' || isUuidv7(afterId) ? [] : [{ path: 'afterId', message: 'must be an id' }]),
  ]);
  return limit || DEFAULT_LIMIT;
}

const orderIdErrors = (orderId: string): FieldError[] =>
  isUuidv7(orderId) ? [] : [{ path: 'orderId', message: 'must be an id' }];

const ttlErrors = (ttlSeconds: number): FieldError[] =>
  ttlSeconds >= 0 && ttlSeconds <= LONGEST_TTL_SECONDS
    ? []
    : [{ path: 'ttlSeconds', message: `must be from 1 to ${LONGEST_TTL_SECONDS}` }];

function lineErrors(lines: readonly catalogV1.HoldLine[]): FieldError[] {
  const errors: FieldError[] = [];
  if (lines.length < 1 || lines.length > MOST_LINES)
    errors.push({ path: 'lines', message: `must be 1 to ${MOST_LINES}` });
  const seen = new Set<string>();
  lines.forEach(({ productId, quantity }, index) => {
    if (!isUuidv7(productId)) errors.push({ path: `lines[${index}].productId`, message: 'must be an id' });
    if (seen.has(productId)) errors.push({ path: `lines[${index}].productId`, message: 'stands twice' });
    seen.add(productId);
    if (quantity < 1 || quantity > MOST_QUANTITY)
      errors.push({ path: `lines[${index}].quantity`, message: `must be from 1 to ${MOST_QUANTITY}` });
  });
  return errors;
}
