import { fault, queryV1, TOPICS } from '@headroom/contracts';
import type { Database, Queryable } from '@headroom/postgres';
import { isUuidv7, type Clock } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import { categoryTree } from './categories';
import type { LiveViews } from './live-views';
import { orderMessage } from './order-message';
import { createReadSince } from './read-since';
import { readWatermark } from './repository';
import { afterIdOf, checkDays, invalid, limitOf } from './requests';
import { customers, customerTotals } from './views/customers';
import { listOrdersOfUser, orders } from './views/orders';
import {
  allowSimilarWords,
  countByCategory,
  countProducts,
  listProducts,
  matchesExactly,
  products,
  type ProductFilter,
  type ProductPlace,
  type ProductRow,
  type ProductSort,
} from './views/products';
import { countSales, listSales, sales } from './views/sales';

export interface QueryOptions {
  db: Database;
  liveViews: LiveViews;
  /** The currency of a price sort or bound that names none. */
  shopCurrency: string;
  clock?: Clock;
}

const MAX_PAGE = 10;
const MAX_SEARCH_LENGTH = 256;

/** The read side: every method answers from the live version of one view. */
export function queryService(options: QueryOptions): GrpcService {
  const { db, liveViews, shopCurrency } = options;
  const liveSince = createReadSince(options);

  return implement('headroom.query.v1.QueryService', queryV1.QueryServiceService, {
    async listProducts(request, call) {
      const limit = limitOf(request.limit);
      const text = request.q.replaceAll('\0', ' ').trim();
      if (text.length > MAX_SEARCH_LENGTH)
        throw invalid('q', `is longer than ${MAX_SEARCH_LENGTH} characters`);
      if (request.currency !== '' && !/^[A-Z]{3}$/.test(request.currency))
        throw invalid('currency', 'must be three capital letters');
      const sort = sortOf(request.sort, text);
      const offset = offsetOf(request, limit);
      const after = request.after === '' ? undefined : decodePlace(request.after, sort);
      const priced =
        sort === 'price' ||
        sort === '-price' ||
        request.minPriceMinor !== undefined ||
        request.maxPriceMinor !== undefined;
      const { schema } = await liveSince(products, request.positions, call);
      const read = async (source: Queryable, fuzzy: boolean) => {
        const filter: ProductFilter = {
          category: request.category === '' ? undefined : request.category,
          minPriceMinor: request.minPriceMinor,
          maxPriceMinor: request.maxPriceMinor,
          currency: request.currency || (priced ? shopCurrency : undefined),
          inStock: request.inStock,
          search: text === '' ? undefined : { text, fuzzy },
        };
        const page = await listProducts(source, schema, { filter, sort, after: after?.place, offset, limit });
        const total = request.includeTotal
          ? await countProducts(source, schema, filter)
          : { totalIsEstimate: false };
        return {
          products: page.products.map(productOf),
          next: page.next ? encodePlace(sort, fuzzy, page.next) : '',
          ...total,
        };
      };
      const exact = after?.fuzzy ? undefined : await read(db, false);
      if (exact && (text === '' || after || exact.products.length > 0)) return exact;
      return db.transaction(async (tx) => {
        // Similar words are for a text that nothing has, not for one that only the filters or the page number leave empty.
        if (exact && (await matchesExactly(tx, schema, text))) return exact;
        await allowSimilarWords(tx);
        return read(tx, true);
      });
    },

    async listCategories(request, call) {
      const { schema } = await liveSince(products, request.positions, call);
      return { categories: categoryTree(await countByCategory(db, schema)) };
    },

    async listOrders(request, call) {
      const { userId } = await call.principal();
      const limit = limitOf(request.limit);
      const afterId = afterIdOf(request.afterId);
      const offset = offsetOf({ page: request.page, after: request.afterId }, limit);
      const live = liveViews.of(orders);
      // Before the rows: it vouches for them, not for what may be applied after they were read.
      const watermarkMs = await readWatermark(db, orders, live);
      const rows = await listOrdersOfUser(db, live.schema, {
        userId,
        afterId,
        offset,
        limit: limit + 1,
      });
      return {
        orders: rows.slice(0, limit).map(orderMessage),
        more: rows.length > limit,
        watermarkMs: BigInt(watermarkMs),
      };
    },

    async getSalesByDay(request, call) {
      await call.admin();
      const limit = limitOf(request.limit);
      checkDays(request);
      const after = /^(\d{4}-\d{2}-\d{2})\/([A-Z]{3})$/.exec(request.after);
      if (request.after !== '' && !after) throw fault('CURSOR_INVALID');
      const live = await liveSince(sales, request.positions, call);
      const watermarkMs = await readWatermark(db, sales, live, [TOPICS.order]);
      const rows = await listSales(db, live.schema, 'day', {
        from: request.from,
        to: request.to,
        after: after ? { group: after[1]!, currency: after[2]! } : undefined,
        limit: limit + 1,
      });
      const days = rows.slice(0, limit);
      const last = days.at(-1);
      return {
        days: days.map((row) => ({
          day: row.group,
          currency: row.currency,
          orders: row.orders,
          units: row.units,
          revenue: { amountMinor: row.revenue_minor, currency: row.currency },
        })),
        next: rows.length > limit && last ? `${last.group}/${last.currency}` : '',
        asOf: new Date(watermarkMs).toISOString(),
        ...(request.includeTotal ? await countSales(db, live.schema, 'day', request) : {}),
      };
    },

    async getCustomerSummary(_request, call) {
      const { userId } = await call.principal();
      const totals = await customerTotals(db, liveViews.of(customers).schema, userId);
      const times = totals.flatMap((row) => [row.first_order_at.getTime(), row.last_order_at.getTime()]);
      return {
        userId,
        orders: totals.reduce((sum, row) => sum + row.orders, 0n),
        confirmedOrders: totals.reduce((sum, row) => sum + row.confirmed_orders, 0n),
        spent: totals
          .filter((row) => row.confirmed_orders > 0n)
          .map((row) => ({ amountMinor: row.spent_minor, currency: row.currency })),
        firstOrderAt: times.length === 0 ? '' : new Date(Math.min(...times)).toISOString(),
        lastOrderAt: times.length === 0 ? '' : new Date(Math.max(...times)).toISOString(),
      };
    },
  });
}

function offsetOf({ page, after }: { page: number; after: string }, limit: number): number {
  if (page === 0) return 0;
  if (after !== '') throw invalid('page', 'must not stand beside cursor');
  if (page < 0) throw invalid('page', `must be from 1 to ${MAX_PAGE}`);
  if (page > MAX_PAGE)
    throw fault('PAGE_TOO_DEEP', { detail: `page is at most ${MAX_PAGE}: go on with cursor` });
  return (page - 1) * limit;
}

function sortOf(sort: queryV1.ProductSort, text: string): ProductSort {
  switch (sort) {
    case queryV1.ProductSort.PRODUCT_SORT_UNSPECIFIED:
      return text === '' ? 'newest' : 'relevance';
    case queryV1.ProductSort.PRODUCT_SORT_NEWEST:
      return 'newest';
    case queryV1.ProductSort.PRODUCT_SORT_PRICE:
      return 'price';
    case queryV1.ProductSort.PRODUCT_SORT_PRICE_DESCENDING:
      return '-price';
    case queryV1.ProductSort.PRODUCT_SORT_POPULAR:
      return 'popular';
    case queryV1.ProductSort.PRODUCT_SORT_RELEVANCE:
      if (text === '') throw invalid('sort', 'relevance needs q');
      return 'relevance';
    default:
      throw invalid('sort', 'is not known');
  }
}

/** A place in a list as a text; it says which order it belongs to and whether similar words were looked for. */
function encodePlace(sort: ProductSort, fuzzy: boolean, { key, id, count }: ProductPlace): string {
  return Buffer.from(JSON.stringify([sort, fuzzy, String(key), id, count])).toString('base64url');
}

function decodePlace(text: string, sort: ProductSort): { fuzzy: boolean; place: ProductPlace } {
  try {
    const [madeFor, fuzzy, key, id, count] = JSON.parse(
      Buffer.from(text, 'base64url').toString('utf8'),
    ) as unknown[];
    if (
      madeFor === sort &&
      typeof fuzzy === 'boolean' &&
      typeof key === 'string' &&
      /^-?\d{1,18}$/.test(key) &&
      typeof id === 'string' &&
      isUuidv7(id) &&
      typeof count === 'number' &&
      Number.isSafeInteger(count) &&
      count > 0
    )
      return { fuzzy, place: { key: BigInt(key), id, count } };
  } catch {
    // no JSON: falls through to the fault
  }
  throw fault('CURSOR_INVALID');
}

const productOf = (row: ProductRow) => ({
  id: row.id,
  slug: row.slug,
  sku: row.sku,
  name: row.name,
  description: row.description,
  category: row.category,
  price: { amountMinor: row.price_minor, currency: row.currency },
  available: row.available,
  imageUrl: row.image_url ?? '',
  archived: row.archived,
  createdAt: row.created_at.toISOString(),
  updatedAt: row.updated_at.toISOString(),
  version: row.version,
});
