import { TOPICS, type DomainEvent, type ProductData } from '@headroom/contracts';
import { countRows, sql, type ListTotal, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import { idsOf, isUnder, jsonRows, newestOf, ordersOf, type View } from './view';

/** `popular` counts the units of confirmed orders placed within this time. */
const POPULAR_MS = 30 * 24 * 3_600_000;
/** `popular` and `relevance` end after this many products: deeper, the order means nothing. */
const RANKED_LIMIT = 1_000;
/** Matches that are ranked at most: a word that half the catalogue has must not make every search read half of it. */
const RANKED_CANDIDATES = 10_000;
/** Categories are paths of at most this many parts. */
const CATEGORY_DEPTH = 4;
const CATEGORY = new RegExp(`^[a-z0-9-]+(/[a-z0-9-]+){0,${CATEGORY_DEPTH - 1}}$`);

/**
 * What a list may be narrowed to by equality alone: everything, or a category at each depth. Each scope has one index per sort
 * order, with `in_stock` before the sort key, so that every combination of category, stock and order is a range of one index.
 */
const SCOPES = ['all', ...Array.from({ length: CATEGORY_DEPTH }, (_, depth) => `c${depth + 1}`)];

/**
 * The product listing. A row may begin as a stub without a name when its stock is known first; `listed` hides stubs and
 * archived products. `popular` changes by way of `popularity_changes`: consumers only insert there, and `upkeep` adds the
 * changes up, so that a product that sells fast is rewritten once a second and not once per order.
 */
export const products: View = {
  name: 'products',
  shape: 1,
  topics: [TOPICS.catalog, TOPICS.order],
  subjects: ['product', 'stock'],

  create: (schema) => sql('products.create')`
    create table ${schema}.products (
      id uuid primary key,
      version bigint not null default 0,
      slug text not null default '',
      sku text not null default '',
      name text not null default '',
      description text not null default '',
      category text not null default '',
      price_minor bigint not null default 0,
      currency text not null default '',
      image_url text,
      archived boolean not null default false,
      created_at timestamptz,
      updated_at timestamptz,
      stock_version bigint not null default 0,
      available bigint not null default 0,
      popular bigint not null default 0,
      listed boolean not null generated always as (version > 0 and not archived) stored,
      in_stock boolean not null generated always as (available > 0) stored,
      c1 text generated always as (split_part(category, '/', 1)) stored,
      c2 text generated always as (case when split_part(category, '/', 2) <> ''
        then split_part(category, '/', 1) || '/' || split_part(category, '/', 2) end) stored,
      c3 text generated always as (case when split_part(category, '/', 3) <> ''
        then split_part(category, '/', 1) || '/' || split_part(category, '/', 2) || '/' || split_part(category, '/', 3) end) stored,
      c4 text generated always as (case when split_part(category, '/', 4) <> '' then category end) stored,
      document tsvector not null generated always as (
        setweight(to_tsvector('english', name), 'A') || setweight(to_tsvector('english', sku), 'A') ||
        setweight(to_tsvector('english', translate(category, '/-', '  ')), 'C') ||
        setweight(to_tsvector('english', description), 'D')) stored
    ) with (fillfactor = 85);
    ${SCOPES.map((scope) => scopeIndexes(schema, scope)).reduce((all, each) => sql.part`${all};${each}`)};
    create index products_by_category on ${schema}.products (category) where listed;
    create index products_document on ${schema}.products using gin (document) where listed;
    create index products_name on ${schema}.products using gin (name gin_trgm_ops) where listed;
    create table ${schema}.counted (
      order_id uuid primary key,
      version bigint not null,
      placed_at timestamptz not null,
      product_ids uuid[] not null,
      units bigint[] not null
    );
    create index counted_by_age on ${schema}.counted (placed_at);
    create table ${schema}.popularity_changes (
      id bigint generated always as identity primary key,
      product_id uuid not null,
      units bigint not null
    );
    create index popularity_changes_by_product on ${schema}.popularity_changes (product_id)`,

  async apply(tx, schema, { events }, nowMs) {
    const stocks = stocksOf(events);
    await applyProducts(tx, schema, events, stocks);
    await applyStock(tx, schema, [...stocks.values()]);
    await notePopularity(tx, schema, events, nowMs);
  },

  async upkeep(db, schema, nowMs) {
    while ((await forgetOldOrders(db, schema, nowMs)) > 0);
    while ((await addUpPopularity(db, schema)) > 0);
  },

  async appliedVersions(db, schema, subjects) {
    const productIds = idsOf('product', subjects);
    const stockIds = idsOf('stock', subjects);
    const rows = await db.rows<{ id: string; version: bigint; stock_version: bigint }>(sql(
      'products.applied',
    )`
      select id, version, stock_version from ${schema}.products
      where id = any(${[...productIds, ...stockIds]}::uuid[])`);
    return new Map(
      rows.flatMap((row) => [
        [`product/${row.id}`, row.version] as const,
        [`stock/${row.id}`, row.stock_version] as const,
      ]),
    );
  },
};

function scopeIndexes(schema: SqlPart, scope: string): SqlPart {
  const index = (order: string, columns: SqlPart) => {
    const name = sql.identifier(`products_${scope}_${order}`);
    return scope === 'all'
      ? sql.part`create index ${name} on ${schema}.products (in_stock, ${columns}) where listed`
      : sql.part`create index ${name} on ${schema}.products (${sql.identifier(scope)}, in_stock, ${columns})
          where listed and ${sql.identifier(scope)} is not null`;
  };
  return sql.part`${index('newest', sql.part`id`)};
    ${index('price', sql.part`currency, price_minor, id`)};
    ${index('popular', sql.part`popular, id`)}`;
}

interface StockRow {
  id: string;
  stock_version: number;
  available: number;
}

/** What the events say of stock last, by product. */
const stocksOf = (events: readonly DomainEvent[]) =>
  new Map<string, StockRow>(
    newestOf(events)
      .filter((event) => isUnder(event, 'catalog.stock-'))
      .map(({ data: { productId: id, available }, aggregateversion: stock_version }) => [
        id,
        { id, stock_version, available },
      ]),
  );

/**
 * A product that is new comes with its stock where the batch has both, as it has after its creation: `in_stock` is in most of the
 * table's indexes, so that each of them would otherwise be written twice.
 */
async function applyProducts(
  tx: Tx,
  schema: SqlPart,
  events: readonly DomainEvent[],
  stocks: ReadonlyMap<string, StockRow>,
): Promise<void> {
  const rows = newestOf(events)
    .filter((event) => isUnder(event, 'catalog.product-') || isUnder(event, 'catalog.price-'))
    .map((event) => {
      const product = event.data as ProductData;
      return {
        id: product.id,
        version: event.aggregateversion,
        slug: product.slug,
        sku: product.sku,
        name: product.name,
        description: product.description,
        category: product.category,
        price_minor: product.price.amountMinor,
        currency: product.price.currency,
        image_url: product.imageUrl,
        archived: product.archived,
        created_at: product.createdAt,
        updated_at: product.updatedAt,
        stock_version: 0,
        available: 0,
        ...stocks.get(product.id),
      };
    });
  if (rows.length === 0) return;
  const columns = sql.part`id, version, slug, sku, name, description, category, price_minor, currency, image_url, archived,
    created_at, updated_at`;
  await tx.execute(sql('products.apply')`
    insert into ${schema}.products as known (${columns}, stock_version, available)
    select ${columns}, stock_version, available
    from json_to_recordset(${jsonRows(rows)}::json) as r (id uuid, version bigint, slug text, sku text, name text,
      description text, category text, price_minor bigint, currency text, image_url text, archived boolean,
      created_at timestamptz, updated_at timestamptz, stock_version bigint, available bigint)
    on conflict (id) do update set (version, slug, sku, name, description, category, price_minor, currency, image_url,
      archived, created_at, updated_at) = (excluded.version, excluded.slug, excluded.sku, excluded.name,
      excluded.description, excluded.category, excluded.price_minor, excluded.currency, excluded.image_url,
      excluded.archived, excluded.created_at, excluded.updated_at)
    where known.version < excluded.version`);
}

async function applyStock(tx: Tx, schema: SqlPart, rows: readonly StockRow[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(sql('products.apply-stock')`
    insert into ${schema}.products as known (id, stock_version, available)
    select id, stock_version, available
    from json_to_recordset(${jsonRows(rows)}::json) as r (id uuid, stock_version bigint, available bigint)
    where not exists (
      select from ${schema}.products as p where p.id = r.id and p.stock_version >= r.stock_version)
    on conflict (id) do update set stock_version = excluded.stock_version, available = excluded.available
    where known.stock_version < excluded.stock_version`);
}

/** Orders that were placed longer ago than counts are left out, whenever they become known. */
async function notePopularity(
  tx: Tx,
  schema: SqlPart,
  events: readonly DomainEvent[],
  nowMs: number,
): Promise<void> {
  const recent = ordersOf(events).filter(({ order }) => Date.parse(order.placedAt) > nowMs - POPULAR_MS);
  if (recent.length === 0) return;
  const known = new Map(
    (
      await tx.rows<{ order_id: string; version: bigint; product_ids: string[]; units: string[] }>(
        sql('products.counted')`
          select order_id, version, product_ids, units from ${schema}.counted
          where order_id = any(${recent.map(({ order }) => order.id)}::uuid[]) order by order_id for update`,
      )
    ).map((row) => [row.order_id, row]),
  );
  const newer = recent.filter(({ order, version }) => (known.get(order.id)?.version ?? 0n) < BigInt(version));
  const changes = new Map<string, bigint>();
  const change = (productId: string, units: bigint) =>
    changes.set(productId, (changes.get(productId) ?? 0n) + units);
  const rows = newer.map(({ order, version }) => {
    const before = known.get(order.id);
    before?.product_ids.forEach((id, index) => change(id, -BigInt(before.units[index]!)));
    const units = new Map<string, bigint>();
    if (order.status === 'confirmed')
      for (const item of order.items)
        units.set(item.productId, (units.get(item.productId) ?? 0n) + BigInt(item.quantity));
    units.forEach((count, id) => change(id, count));
    return {
      order_id: order.id,
      version,
      placed_at: order.placedAt,
      product_ids: `{${[...units.keys()].join(',')}}`,
      units: `{${[...units.values()].join(',')}}`,
    };
  });
  await tx.execute(sql('products.count')`
    insert into ${schema}.counted (order_id, version, placed_at, product_ids, units)
    select order_id, version, placed_at, product_ids::uuid[], units::bigint[]
    from json_to_recordset(${jsonRows(rows)}::json) as r (order_id uuid, version bigint, placed_at timestamptz,
      product_ids text, units text)
    on conflict (order_id) do update set (version, product_ids, units) =
      (excluded.version, excluded.product_ids, excluded.units)`);
  const changed = [...changes].filter(([, units]) => units !== 0n);
  if (changed.length === 0) return;
  await tx.execute(sql('products.note-popularity')`
    insert into ${schema}.popularity_changes (product_id, units)
    select * from unnest(${changed.map(([id]) => id)}::uuid[], ${changed.map(([, units]) => units)}::bigint[])`);
}

/** Takes orders that have become too old out of `popular`; several processes share the work. */
function forgetOldOrders(db: Queryable, schema: SqlPart, nowMs: number): Promise<number> {
  return db.execute(sql('products.forget-old-orders')`
    with old as (
      delete from ${schema}.counted where order_id in (
        select order_id from ${schema}.counted where placed_at <= ${new Date(nowMs - POPULAR_MS)}
        order by placed_at limit 500 for update skip locked)
      returning product_ids, units),
    noted as (
      insert into ${schema}.popularity_changes (product_id, units)
      select line.product_id, -sum(line.units) from old, unnest(old.product_ids, old.units) as line (product_id, units)
      group by line.product_id)
    select from old`);
}

/**
 * Adds noted changes to the products; those of a product that is locked or not known yet stay for a later round. Nothing is
 * waited for, so this can never be part of a deadlock with a consumer.
 */
function addUpPopularity(db: Queryable, schema: SqlPart): Promise<number> {
  return db.execute(sql('products.add-up-popularity')`
    with due as (
      select distinct product_id from (select product_id from ${schema}.popularity_changes order by id limit 5000) as oldest),
    taken as (
      select id from ${schema}.products where id in (select product_id from due) for update skip locked),
    gone as (
      delete from ${schema}.popularity_changes where product_id in (select id from taken) returning product_id, units),
    change as (select product_id, sum(units)::bigint as units from gone group by product_id)
    update ${schema}.products as known set popular = known.popular + change.units
    from change where known.id = change.product_id`);
}

/** What a product list may be narrowed to; undefined members do not narrow it. */
export interface ProductFilter {
  /** A path such as `kitchen/mugs`; includes the categories below. */
  category: string | undefined;
  /** Inclusive. */
  minPriceMinor: bigint | undefined;
  /** Inclusive. */
  maxPriceMinor: bigint | undefined;
  currency: string | undefined;
  inStock: boolean | undefined;
  search: Search | undefined;
}

/** Words to look for; `fuzzy` looks for similar words too and is used where nothing matches exactly. */
export interface Search {
  text: string;
  fuzzy: boolean;
}

export type ProductSort = 'newest' | 'price' | '-price' | 'popular' | 'relevance';

/** The place after one product of a list: its sort key (0 for `newest`), its id, and how many came before and with it. */
export interface ProductPlace {
  key: bigint;
  id: string;
  count: number;
}

/** One product as the view has it. */
export interface ProductRow {
  id: string;
  version: bigint;
  slug: string;
  sku: string;
  name: string;
  description: string;
  category: string;
  price_minor: bigint;
  currency: string;
  image_url: string | null;
  archived: boolean;
  created_at: Date;
  updated_at: Date;
  available: bigint;
}

/**
 * True when a listed product has all words of the text: then similar words are not looked for. For a transaction of its own:
 * it turns sequential scans off until the end, since the planner would bet on meeting a match soon, and lose where there is none.
 */
export async function matchesExactly(tx: Tx, schema: SqlPart, text: string): Promise<boolean> {
  await tx.execute(sql('products.insist-on-index')`set local enable_seqscan = off`);
  const row = await tx.row<{ found: boolean }>(sql('products.matches')`
    select exists (select from ${schema}.products where listed and ${matches({ text, fuzzy: false })}) as found`);
  return row!.found;
}

/** For fuzzy searches, whose operator reads its threshold from a setting: lasts until the end of the transaction. */
export async function allowSimilarWords(tx: Tx): Promise<void> {
  await tx.execute(sql('products.allow-similar-words')`set local pg_trgm.word_similarity_threshold = 0.3`);
}

/**
 * One page of products. Index: products_<scope>_<order>, read from the place on once for each state of stock, so a page
 * costs the same wherever it lies; where the words searched for are rare, products_document or products_name and a sort of
 * the matches. `newest` is the order of creation (ids are UUIDv7): inserts never shift what is still to come. `popular` and
 * `relevance` end after 1,000 products; `relevance` ranks the first 10,000 matches. A fuzzy search belongs in a transaction
 * that has called `allowSimilarWords`.
 */
export async function listProducts(
  db: Queryable,
  schema: SqlPart,
  query: ProductListQuery,
): Promise<{ products: ProductRow[]; next: ProductPlace | undefined }> {
  const { sort, after, offset } = query;
  const countBefore = after?.count ?? offset;
  const left = sort === 'popular' || sort === 'relevance' ? RANKED_LIMIT - countBefore : Infinity;
  const limit = Math.min(query.limit, left);
  if (limit <= 0) return { products: [], next: undefined };
  const page = sort === 'relevance' ? rankedProducts(schema, query) : orderedProducts(schema, query);
  const rows = await db.rows<ProductRow & { key: bigint }>(sql(`products.list-${sort}`)`
    with page as (
      select id, key from (${page}) as found order by ${SORTS[sort].order} limit ${limit + 1} offset ${offset})
    select id, version, slug, sku, name, description, category, price_minor, currency, image_url, archived, created_at,
      updated_at, available, key
    from page join ${schema}.products using (id)
    order by ${SORTS[sort].order}`);
  const products = rows.slice(0, limit);
  const last = products.at(-1);
  const more = rows.length > limit && limit < left;
  return {
    products,
    next: more && last ? { key: last.key, id: last.id, count: countBefore + limit } : undefined,
  };
}

export interface ProductListQuery {
  filter: ProductFilter;
  /** `relevance` only with words to search for. */
  sort: ProductSort;
  /** Undefined: from the start. */
  after: ProductPlace | undefined;
  /** Products to leave out at the start, for numbered pages; 0 otherwise. */
  offset: number;
  limit: number;
}

/**
 * How many products a filter finds: counted up to 10,000, above that the planner's estimate. As for `listProducts`, a fuzzy
 * search needs `allowSimilarWords`.
 */
export function countProducts(db: Queryable, schema: SqlPart, filter: ProductFilter): Promise<ListTotal> {
  return countRows(db, 'products.list', sql.part`${schema}.products where ${sql.and(conditions(filter))}`);
}

/** How each order is kept: its key, its order by key and id, and what comes after a place in it. */
const SORTS: Record<
  ProductSort,
  { key: SqlPart; order: SqlPart; indexOrder: SqlPart; after: (place: ProductPlace) => SqlPart }
> = {
  newest: {
    key: sql.part`0::bigint`,
    order: sql.part`id desc`,
    indexOrder: sql.part`id desc`,
    after: ({ id }) => sql.part`id < ${id}::uuid`,
  },
  price: {
    key: sql.part`price_minor`,
    order: sql.part`key, id`,
    indexOrder: sql.part`price_minor, id`,
    after: ({ key, id }) => sql.part`(price_minor, id) > (${key}::bigint, ${id}::uuid)`,
  },
  '-price': {
    key: sql.part`price_minor`,
    order: sql.part`key desc, id desc`,
    indexOrder: sql.part`price_minor desc, id desc`,
    after: ({ key, id }) => sql.part`(price_minor, id) < (${key}::bigint, ${id}::uuid)`,
  },
  popular: {
    key: sql.part`popular`,
    order: sql.part`key desc, id desc`,
    indexOrder: sql.part`popular desc, id desc`,
    after: ({ key, id }) => sql.part`(popular, id) < (${key}::bigint, ${id}::uuid)`,
  },
  relevance: {
    key: sql.part`key`,
    order: sql.part`key desc, id desc`,
    indexOrder: sql.part`key desc, id desc`,
    after: ({ key, id }) => sql.part`(key, id) < (${key}::bigint, ${id}::uuid)`,
  },
};

/** The start of one index range for each state of stock that is asked for, to be merged. */
function orderedProducts(schema: SqlPart, { filter, sort, after, offset, limit }: ProductListQuery): SqlPart {
  const { key, indexOrder } = SORTS[sort];
  return (filter.inStock === undefined ? [true, false] : [filter.inStock])
    .map((inStock) => {
      const where = conditions({ ...filter, inStock });
      if (after) where.push(SORTS[sort].after(after));
      return sql.part`(select id, ${key} as key from ${schema}.products where ${sql.and(where)}
        order by ${indexOrder} limit ${offset + limit + 1})`;
    })
    .reduce((all, each) => sql.part`${all} union all ${each}`);
}

function rankedProducts(schema: SqlPart, { filter, after }: ProductListQuery): SqlPart {
  return sql.part`
    select id, key from (
      select id, (1e6 * ${rank(filter.search!)})::bigint as key from ${schema}.products
      where ${sql.and(conditions(filter))} limit ${RANKED_CANDIDATES}) as ranked
    where ${after ? SORTS.relevance.after(after) : sql.part`true`}`;
}

function conditions(filter: ProductFilter): SqlPart[] {
  const parts = [sql.part`listed`];
  if (filter.category !== undefined)
    parts.push(
      CATEGORY.test(filter.category)
        ? sql.part`${sql.identifier(`c${filter.category.split('/').length}`)} = ${filter.category}`
        : sql.part`false`,
    );
  if (filter.inStock !== undefined) parts.push(filter.inStock ? sql.part`in_stock` : sql.part`not in_stock`);
  if (filter.currency !== undefined) parts.push(sql.part`currency = ${filter.currency}`);
  if (filter.minPriceMinor !== undefined) parts.push(sql.part`price_minor >= ${filter.minPriceMinor}`);
  if (filter.maxPriceMinor !== undefined) parts.push(sql.part`price_minor <= ${filter.maxPriceMinor}`);
  if (filter.search !== undefined) parts.push(matches(filter.search));
  return parts;
}

const exactQuery = (text: string) => sql.part`websearch_to_tsquery('english', ${text})`;

/** The words of a fuzzy search; one or two letters are similar to everything. */
const wordsOf = (text: string): string[] =>
  (text.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? []).slice(0, 8).map((word) => word.slice(0, 64));

/**
 * Exact: the language of web search engines. Fuzzy: every word stands in the text, or one like it in the name. Trigrams find
 * the candidates by an index; since those of a short word match too much, the edit distance (one for up to four letters,
 * else two, which covers two letters swapped) decides.
 */
function matches({ text, fuzzy }: Search): SqlPart {
  if (!fuzzy) return sql.part`document @@ ${exactQuery(text)}`;
  const words = wordsOf(text);
  if (words.length === 0) return sql.part`false`;
  return sql.and(
    words.map((word) => {
      const edits = word.length > 4 ? 2 : 1;
      return sql.part`(${word} <% name and exists (
          select from regexp_split_to_table(lower(name), '[^[:alnum:]]+') as part
          where levenshtein_less_equal(left(part, 64), ${word}, ${edits}) <= ${edits})
        or document @@ plainto_tsquery('english', ${word}))`;
    }),
  );
}

function rank({ text, fuzzy }: Search): SqlPart {
  if (!fuzzy) return sql.part`ts_rank('{0.05, 0.2, 0.4, 1}', document, ${exactQuery(text)}, 1)`;
  return wordsOf(text)
    .map((word) => sql.part`strict_word_similarity(${word}, name)`)
    .reduce((sum, each) => sql.part`${sum} + ${each}`, sql.part`0`);
}

/** The number of listed products directly in each category, by path; an index-only scan of products_by_category. */
export function countByCategory(
  db: Queryable,
  schema: SqlPart,
): Promise<Array<{ category: string; products: bigint }>> {
  return db.rows(sql('products.count-by-category')`
    select category, count(*) as products from ${schema}.products where listed and category <> ''
    group by category order by category`);
}
