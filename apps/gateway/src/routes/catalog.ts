import { fault, queryV1, type catalogV1, type Position } from '@headroom/contracts';
import { isUuidv7 } from '@headroom/resilience';
import type { FastifyReply } from 'fastify';
import type { IncomingHttpHeaders } from 'node:http';
import { Type } from 'typebox';
import { LIST_QUERY, listOf, walkTo } from '../cursors';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { expectedVersion, versionEtag } from '../http-cache';
import {
  AdminProduct,
  adminProductJson,
  Category,
  categoryJson,
  Currency,
  HIGHEST_PRICE_MINOR,
  ledgerEntryJson,
  Product,
  productJson,
  Stock,
  stockJson,
  StockLedgerEntry,
} from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';
import { invalid } from '../validation';
import { pathId } from './accounts';

const SORTS = {
  newest: queryV1.ProductSort.PRODUCT_SORT_NEWEST,
  price: queryV1.ProductSort.PRODUCT_SORT_PRICE,
  '-price': queryV1.ProductSort.PRODUCT_SORT_PRICE_DESCENDING,
  popular: queryV1.ProductSort.PRODUCT_SORT_POPULAR,
  relevance: queryV1.ProductSort.PRODUCT_SORT_RELEVANCE,
};
type Sort = keyof typeof SORTS;

const MOST_UNITS = 1_000_000_000;
const PriceBound = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, examples: [500] });
const strict = { additionalProperties: false };

const writable = {
  name: Type.String({
    minLength: 1,
    maxLength: 200,
    pattern: '\\S',
    errorText: 'more than blanks',
    examples: ['Blue mug'],
  }),
  description: Type.String({ maxLength: 10_000, examples: ['Holds 300 ml, survives the dishwasher.'] }),
  category: Type.String({
    maxLength: 200,
    pattern: '^[a-z0-9-]+(/[a-z0-9-]+){0,3}$',
    errorText: 'a path of one to four parts of a-z, 0-9 and -, such as kitchen/mugs',
    examples: ['kitchen/mugs'],
  }),
  price: Type.Object(
    {
      amountMinor: Type.Integer({ minimum: 0, maximum: HIGHEST_PRICE_MINOR, examples: [1999] }),
      currency: Type.Optional(Currency),
    },
    { ...strict, description: "Without a currency it is the shop's" },
  ),
};
const Group = Type.String({
  minLength: 1,
  maxLength: 64,
  pattern: '^\\S(.*\\S)?$',
  errorText: 'without blanks at its ends',
  description: 'Products of one group are variants of each other',
  examples: ['mug'],
});
const Options = Type.Record(
  Type.String({ pattern: '^\\S(.{0,38}\\S)?$' }),
  Type.String({ maxLength: 100, pattern: '^\\S(.*\\S)?$', errorText: 'without blanks at its ends' }),
  { ...strict, description: 'What sets a variant apart', examples: [{ colour: 'blue' }] },
);
const ImageUrl = Type.String({
  maxLength: 2_048,
  pattern: '^(https?://|/)\\S+$',
  errorText: 'an http(s) URL or a path',
  examples: ['https://images.example/blue-mug.webp'],
});

/** The catalogue as shoppers and as admins see it, and its stock. */
export const catalogEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/products',
    tag: 'Catalog',
    summary: 'List and search products',
    description:
      'Sorted by `newest`, or by `relevance` with `q`. `popular` and `relevance` list their first 1,000 and then end; `newest` never skips or repeats while products are added.',
    access: 'optional',
    cache: 'catalog',
    consistent: true,
    query: {
      ...LIST_QUERY,
      ...FIELDS_QUERY,
      category: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 200,
          description: 'Children included',
          examples: ['kitchen/mugs'],
        }),
      ),
      minPriceMinor: Type.Optional(PriceBound),
      maxPriceMinor: Type.Optional(PriceBound),
      currency: Type.Optional(Currency),
      inStock: Type.Optional(Type.Boolean({ examples: [true] })),
      q: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 200,
          pattern: '\\S',
          errorText: 'more than blanks',
          examples: ['mug'],
        }),
      ),
      sort: Type.Optional(Type.Enum(Object.keys(SORTS) as Sort[], { examples: ['price'] })),
    },
    reply: { status: 200, schema: listOf(Product), description: 'Products' },
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, query, request }) {
      const list = deps.cursors.read(query, ['/v1/products']);
      const sort = query.sort ?? (query.q === undefined ? 'newest' : 'relevance');
      if (sort === 'relevance' && query.q === undefined)
        throw invalid('sort', 'can be relevance only with q');
      const byPrice =
        query.minPriceMinor !== undefined ||
        query.maxPriceMinor !== undefined ||
        sort === 'price' ||
        sort === '-price';
      const found = await deps.query.listProducts({
        category: query.category ?? '',
        minPriceMinor: bigintOf(query.minPriceMinor),
        maxPriceMinor: bigintOf(query.maxPriceMinor),
        currency: query.currency ?? (byPrice ? deps.shopCurrency : ''),
        inStock: query.inStock,
        q: query.q ?? '',
        sort: SORTS[sort],
        limit: list.limit,
        after: list.after,
        page: list.page,
        includeTotal: list.includeTotal,
        positions: catalogPositions(deps, request.headers),
      });
      return {
        items: found.products.map(productJson),
        page: list.info(found.next, { total: found.total, isEstimate: found.totalIsEstimate }),
      };
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/products/:idOrSlug',
    tag: 'Catalog',
    summary: 'One product',
    access: 'optional',
    cache: 'catalog',
    consistent: true,
    query: FIELDS_QUERY,
    reply: { status: 200, schema: Product, description: 'The product' },
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, params, request }) {
      catalogPositions(deps, request.headers); // the owner answers, always as last written: only the form matters
      if (!isUuidv7(params.idOrSlug) && !/^[a-z0-9-]{1,255}$/.test(params.idOrSlug)) throw fault('NOT_FOUND');
      return productJson(
        await deps.catalog.getProduct({ idOrSlug: params.idOrSlug, includeArchived: false }),
      );
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/categories',
    tag: 'Catalog',
    summary: 'The tree of categories',
    access: 'optional',
    cache: 'catalog',
    consistent: true,
    reply: {
      status: 200,
      schema: Type.Object({ items: Type.Array(Category) }),
      description: 'All categories that have been used',
    },
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, request }) {
      const { categories } = await deps.query.listCategories({
        positions: catalogPositions(deps, request.headers),
      });
      return { items: categories.map(categoryJson) };
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/products',
    tag: 'Admin: catalog',
    summary: 'Add a product',
    access: 'admin',
    cache: 'none',
    body: Type.Object(
      {
        sku: Type.String({
          minLength: 1,
          maxLength: 64,
          pattern: '^\\S(.*\\S)?$',
          errorText: 'without blanks at its ends',
          examples: ['MUG-BLUE'],
        }),
        ...writable,
        onHand: Type.Integer({ minimum: 0, maximum: MOST_UNITS, examples: [45] }),
        imageUrl: Type.Optional(ImageUrl),
        group: Type.Optional(Group),
        options: Type.Optional(Options),
      },
      strict,
    ),
    reply: {
      status: 201,
      schema: AdminProduct,
      description: 'The new product',
      headers: { Location: 'Where shoppers find it' },
    },
    faults: ['SKU_TAKEN'],
    async handle({ deps, body, reply }) {
      const { price, imageUrl = '', onHand, options, ...rest } = body;
      const written = await deps.catalog.createProduct({
        ...rest,
        price: moneyOf(price, deps),
        onHand: BigInt(onHand),
        imageUrl,
        ...(options ? { options: { values: options } } : {}),
      });
      reply.header('location', `/v1/products/${written.product!.id}`);
      return writtenProduct(deps, reply, written);
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/products',
    tag: 'Admin: catalog',
    summary: 'List products, newest first',
    access: 'admin',
    cache: 'none',
    query: {
      ...LIST_QUERY,
      ...FIELDS_QUERY,
      includeArchived: Type.Boolean({ default: false, examples: [true] }),
    },
    reply: { status: 200, schema: listOf(AdminProduct), description: 'Products' },
    async handle({ deps, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/products']);
      const found = await walkTo(
        list,
        (afterId) =>
          deps.catalog.listProducts({
            includeArchived: query.includeArchived,
            limit: list.limit,
            afterId,
            includeTotal: list.includeTotal,
          }),
        (reply) => reply.nextAfterId,
      );
      return {
        items: found.reply?.products.map(adminProductJson) ?? [],
        page: list.info(found.reply?.nextAfterId ?? '', {
          total: found.first.total,
          isEstimate: found.first.totalIsEstimate,
        }),
      };
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/products/:id',
    tag: 'Admin: catalog',
    summary: 'One product, archived or not',
    access: 'admin',
    cache: 'none',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: AdminProduct, description: 'The product' },
    async handle({ deps, params, reply }) {
      const product = await deps.catalog.getProduct({ idOrSlug: pathId(params.id), includeArchived: true });
      reply.header('etag', versionEtag(product.version));
      return adminProductJson(product);
    },
  }),

  endpoint({
    method: 'PATCH',
    path: '/v1/admin/products/:id',
    tag: 'Admin: catalog',
    summary: 'Change a product',
    access: 'admin',
    cache: 'none',
    ifMatch: 'optional',
    body: Type.Object(
      {
        name: Type.Optional(writable.name),
        description: Type.Optional(writable.description),
        category: Type.Optional(writable.category),
        price: Type.Optional(writable.price),
        imageUrl: Type.Optional(
          Type.Unsafe<string | null>({ ...ImageUrl, type: ['string', 'null'], description: 'Null: none' }),
        ),
        group: Type.Optional(
          Type.Unsafe<string | null>({ ...Group, type: ['string', 'null'], description: 'Null: none' }),
        ),
        options: Type.Optional(Options),
      },
      { ...strict, minProperties: 1 },
    ),
    reply: { status: 200, schema: AdminProduct, description: 'The product as changed' },
    faults: ['PRODUCT_ARCHIVED'],
    async handle({ deps, params, body, request, reply }) {
      const productId = pathId(params.id);
      const { price, imageUrl, group, options, ...rest } = body;
      const ifVersion = await expectedVersion(
        request.headers['if-match'],
        async () => (await deps.catalog.getProduct({ idOrSlug: productId, includeArchived: true })).version,
      );
      const written = await deps.catalog.updateProduct({
        productId,
        ...rest,
        ...(price ? { price: moneyOf(price, deps) } : {}),
        ...(imageUrl === undefined ? {} : { imageUrl: imageUrl ?? '' }),
        ...(group === undefined ? {} : { group: group ?? '' }),
        ...(options ? { options: { values: options } } : {}),
        ifVersion,
      });
      return writtenProduct(deps, reply, written);
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/admin/products/:id',
    tag: 'Admin: catalog',
    summary: 'Archive a product',
    description:
      'It leaves all lists and is not found by shoppers; orders keep it. Archiving twice is the same.',
    access: 'admin',
    cache: 'none',
    reply: { status: 204, description: 'The product is archived' },
    async handle({ deps, params, reply }) {
      const written = await deps.catalog.archiveProduct({ productId: pathId(params.id) });
      tellPositions(deps, reply, written.positions);
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/products/:id/restore',
    tag: 'Admin: catalog',
    summary: 'Bring an archived product back',
    access: 'admin',
    cache: 'none',
    reply: { status: 200, schema: AdminProduct, description: 'The product' },
    async handle({ deps, params, reply }) {
      return writtenProduct(deps, reply, await deps.catalog.restoreProduct({ productId: pathId(params.id) }));
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/products/:id/stock',
    tag: 'Admin: catalog',
    summary: 'The units of a product',
    access: 'admin',
    cache: 'none',
    reply: { status: 200, schema: Stock, description: 'The stock' },
    async handle({ deps, params }) {
      return stockJson(await deps.catalog.getStock({ productId: pathId(params.id) }));
    },
  }),

  endpoint({
    method: 'PUT',
    path: '/v1/admin/products/:id/stock',
    tag: 'Admin: catalog',
    summary: 'Set the units on hand, or change them by a difference',
    description: 'Either `onHand` or `delta`.',
    access: 'admin',
    cache: 'none',
    body: Type.Object(
      {
        onHand: Type.Optional(Type.Integer({ minimum: 0, maximum: MOST_UNITS, examples: [50] })),
        delta: Type.Optional(Type.Integer({ minimum: -MOST_UNITS, maximum: MOST_UNITS })),
      },
      { ...strict, minProperties: 1, maxProperties: 1 },
    ),
    reply: { status: 200, schema: Stock, description: 'The stock as changed' },
    faults: ['STOCK_NEGATIVE'],
    async handle({ deps, params, body, reply }) {
      const written = await deps.catalog.setStock({
        productId: pathId(params.id),
        change:
          body.onHand === undefined
            ? { $case: 'delta', value: BigInt(body.delta!) }
            : { $case: 'onHand', value: BigInt(body.onHand) },
      });
      tellPositions(deps, reply, written.positions);
      return stockJson(written.stock!);
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/products/:id/stock/ledger',
    tag: 'Admin: catalog',
    summary: 'Every change of the units on hand, newest first',
    description: 'The deltas add up to `onHand`.',
    access: 'admin',
    cache: 'none',
    query: { ...LIST_QUERY, ...FIELDS_QUERY },
    reply: { status: 200, schema: listOf(StockLedgerEntry), description: 'Entries' },
    async handle({ deps, params, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/products/:id/stock/ledger', params.id]);
      const productId = pathId(params.id);
      const found = await walkTo(
        list,
        (afterId) =>
          deps.catalog.listStockLedger({
            productId,
            limit: list.limit,
            afterId,
            includeTotal: list.includeTotal,
          }),
        (reply) => reply.nextAfterId,
      );
      return {
        items: found.reply?.entries.map(ledgerEntryJson) ?? [],
        page: list.info(found.reply?.nextAfterId ?? '', {
          total: found.first.total,
          isEstimate: found.first.totalIsEstimate,
        }),
      };
    },
  }),
];

const bigintOf = (value: number | undefined) => (value === undefined ? undefined : BigInt(value));

const moneyOf = (price: { amountMinor: number; currency?: string }, deps: Deps) => ({
  amountMinor: BigInt(price.amountMinor),
  currency: price.currency ?? deps.shopCurrency,
});

const catalogPositions = (deps: Deps, headers: IncomingHttpHeaders) =>
  deps.consistency.read(headers['consistency-token']?.toString(), ['product', 'stock']);

/** Puts what a write has reached into the answer's Consistency-Token. */
export function tellPositions(deps: Deps, reply: FastifyReply, positions: readonly Position[]): void {
  reply.header('consistency-token', deps.consistency.issue(positions));
}

function writtenProduct(deps: Deps, reply: FastifyReply, written: catalogV1.ProductWritten) {
  const product = written.product!;
  reply.header('etag', versionEtag(product.version));
  tellPositions(deps, reply, written.positions);
  return adminProductJson(product);
}
