import { countRows, sql, type ListTotal, type Queryable, type Tx } from '@headroom/postgres';
import { isUuidv7 } from '@headroom/resilience';
import { sortedOptions, type Product, type ProductOptions } from './product';

/** A product with the units that can be sold right now. */
export type StockedProduct = Product & { available: bigint };

/** What a buyer has to know of a product. */
export interface Offer {
  productId: string;
  sku: string;
  name: string;
  priceMinor: bigint;
  currency: string;
  archived: boolean;
  /** Available units by bucket, from bucket 0. */
  buckets: bigint[];
}

interface ProductRow {
  id: string;
  slug: string;
  sku: string;
  name: string;
  description: string;
  category: string;
  price_minor: bigint;
  currency: string;
  image_url: string;
  variant_group: string | null;
  options: ProductOptions | null;
  archived: boolean;
  version: bigint;
  created_at: Date;
  updated_at: Date;
  available: bigint;
}

const toProduct = (row: ProductRow): StockedProduct => ({
  id: row.id,
  slug: row.slug,
  sku: row.sku,
  name: row.name,
  description: row.description,
  category: row.category,
  priceMinor: row.price_minor,
  currency: row.currency,
  imageUrl: row.image_url,
  group: row.variant_group,
  options: row.options && sortedOptions(row.options),
  archived: row.archived,
  version: row.version,
  createdAtMs: row.created_at.getTime(),
  updatedAtMs: row.updated_at.getTime(),
  available: row.available,
});

const available = sql.part`(select coalesce(sum(b.available), 0)::bigint from stock_buckets b where b.product_id = p.id) as available`;

/** One product, archived or not, with its units, in one statement. Index: primary key or products_slug. */
export async function findProduct(db: Queryable, idOrSlug: string): Promise<StockedProduct | undefined> {
  const key = isUuidv7(idOrSlug) ? sql.part`p.id = ${idOrSlug}` : sql.part`p.slug = ${idOrSlug}`;
  const row = await db.row<ProductRow>(
    sql('product.find')`select p.*, ${available} from products p where ${key}`,
  );
  return row && toProduct(row);
}

/** As findProduct by id, under the row lock that every change of a product takes. */
export async function lockProduct(tx: Tx, id: string): Promise<StockedProduct | undefined> {
  const row = await tx.row<ProductRow>(
    sql('product.lock')`select p.*, ${available} from products p where p.id = ${id} for no key update of p`,
  );
  return row && toProduct(row);
}

const optionsJson = (options: ProductOptions | null) => options && JSON.stringify(options);

/** A product as others of its group show it. */
export type Variant = Pick<StockedProduct, 'id' | 'options' | 'priceMinor' | 'currency' | 'available'>;

/** The products of a group that are for sale, oldest first. Index: products_variants. */
export async function findVariants(db: Queryable, group: string): Promise<Variant[]> {
  const rows = await db.rows<ProductRow>(sql('product.variants')`
    select p.id, p.options, p.price_minor, p.currency, ${available} from products p
    where p.variant_group = ${group} and not p.archived order by p.id`);
  return rows.map(({ id, options, price_minor: priceMinor, currency, available: units }) => ({
    ...{ id, priceMinor, currency, available: units },
    options: options && sortedOptions(options),
  }));
}

/**
 * How many products a group has, archived ones included, under a lock on its name: until the transaction ends nobody else joins
 * the group. Index: products_variants.
 */
export async function lockGroup(tx: Tx, group: string): Promise<number> {
  await tx.execute(
    sql('product.lock-group')`select pg_advisory_xact_lock(hashtextextended('variants/' || ${group}, 0))`,
  );
  const row = await tx.row<{ count: bigint }>(
    sql('product.count-group')`select count(*) as count from products where variant_group = ${group}`,
  );
  return Number(row!.count);
}

/**
 * Inserts new products and returns how many: fewer than were given when a slug is taken. A SKU that is taken violates
 * products_sku.
 */
export async function insertProducts(tx: Tx, products: readonly Product[]): Promise<number> {
  const column = <T>(read: (product: Product) => T) => products.map(read);
  const time = (ms: number) => new Date(ms);
  return tx.execute(sql('product.insert')`
    insert into products (id, slug, sku, name, description, category, price_minor, currency, image_url,
      variant_group, options, archived, version, created_at, updated_at)
    select * from unnest(
      ${column((each) => each.id)}::uuid[], ${column((each) => each.slug)}::text[],
      ${column((each) => each.sku)}::text[], ${column((each) => each.name)}::text[],
      ${column((each) => each.description)}::text[], ${column((each) => each.category)}::text[],
      ${column((each) => each.priceMinor)}::bigint[], ${column((each) => each.currency)}::text[],
      ${column((each) => each.imageUrl)}::text[], ${column((each) => each.group)}::text[],
      ${column((each) => optionsJson(each.options))}::jsonb[], ${column((each) => each.archived)}::boolean[],
      ${column((each) => each.version)}::bigint[],
      ${column((each) => time(each.createdAtMs))}::timestamptz[], ${column((each) => time(each.updatedAtMs))}::timestamptz[])
    on conflict (slug) do nothing`);
}

/** Writes a changed product whose row the caller has locked; id, slug, sku and time of creation never change. */
export async function updateProduct(tx: Tx, product: Product): Promise<void> {
  await tx.execute(sql('product.update')`
    update products
    set name = ${product.name}, description = ${product.description}, category = ${product.category},
        price_minor = ${product.priceMinor}, currency = ${product.currency}, image_url = ${product.imageUrl},
        variant_group = ${product.group}, options = ${optionsJson(product.options)}::jsonb,
        archived = ${product.archived}, version = ${product.version}, updated_at = ${new Date(product.updatedAtMs)}
    where id = ${product.id}`);
}

/** The products that have these SKUs, archived ones too, as committed last. Index: products_sku. */
export async function findBySku(db: Queryable, skus: readonly string[]): Promise<Product[]> {
  const rows = await db.rows<ProductRow>(
    sql(
      'product.find-by-sku',
    )`select p.*, 0::bigint as available from products p where p.sku = any(${skus}::text[])`,
  );
  return rows.map(toProduct);
}

/** As lockProduct for many, in the order of their ids, without their units. */
export async function lockProducts(tx: Tx, ids: readonly string[]): Promise<Product[]> {
  const rows = await tx.rows<ProductRow>(sql('product.lock-many')`
    select p.*, 0::bigint as available from products p where p.id = any(${ids}::uuid[])
    order by p.id for no key update of p`);
  return rows.map(toProduct);
}

/** As updateProduct for many. */
export async function updateProducts(tx: Tx, products: readonly Product[]): Promise<void> {
  const column = <T>(read: (product: Product) => T) => products.map(read);
  await tx.execute(sql('product.update-many')`
    update products p
    set name = n.name, description = n.description, category = n.category, price_minor = n.price_minor,
        currency = n.currency, image_url = n.image_url, version = n.version, updated_at = n.updated_at
    from unnest(
      ${column((each) => each.id)}::uuid[], ${column((each) => each.name)}::text[],
      ${column((each) => each.description)}::text[], ${column((each) => each.category)}::text[],
      ${column((each) => each.priceMinor)}::bigint[], ${column((each) => each.currency)}::text[],
      ${column((each) => each.imageUrl)}::text[], ${column((each) => each.version)}::bigint[],
      ${column((each) => new Date(each.updatedAtMs))}::timestamptz[]
    ) as n (id, name, description, category, price_minor, currency, image_url, version, updated_at)
    where p.id = n.id`);
}

/** At most `limit` products behind `afterId`, newest first. Index: primary key, backwards. */
export async function listProducts(
  db: Queryable,
  { includeArchived, afterId, limit }: { includeArchived: boolean; afterId: string; limit: number },
): Promise<StockedProduct[]> {
  const filter = sql.and([
    ...(includeArchived ? [] : [sql.part`not p.archived`]),
    ...(afterId === '' ? [] : [sql.part`p.id < ${afterId}`]),
  ]);
  const rows = await db.rows<ProductRow>(
    sql(
      'product.list',
    )`select p.*, ${available} from products p where ${filter} order by p.id desc limit ${limit}`,
  );
  return rows.map(toProduct);
}

/** The products that are for sale among `ids`, with price and units, in no particular order. Index: primary key. */
export async function findQuotes(
  db: Queryable,
  ids: readonly string[],
): Promise<Array<Pick<StockedProduct, 'id' | 'name' | 'priceMinor' | 'currency' | 'available'>>> {
  const rows = await db.rows<Pick<ProductRow, 'id' | 'name' | 'price_minor' | 'currency' | 'available'>>(
    sql('product.quotes')`
      select p.id, p.name, p.price_minor, p.currency, ${available} from products p
      where p.id = any(${ids}::uuid[]) and not p.archived`,
  );
  return rows.map(({ price_minor: priceMinor, ...rest }) => ({ ...rest, priceMinor }));
}

/** The products among `ids`, archived ones too, with their buckets as committed last. Index: primary keys. */
export async function findOffers(db: Queryable, ids: readonly string[]): Promise<Map<string, Offer>> {
  const rows = await db.rows<
    Pick<ProductRow, 'id' | 'sku' | 'name' | 'price_minor' | 'currency' | 'archived'> & { buckets: string[] }
  >(sql('product.offers')`
    select p.id, p.sku, p.name, p.price_minor, p.currency, p.archived,
      array(select b.available from stock_buckets b where b.product_id = p.id order by b.bucket) as buckets
    from products p where p.id = any(${ids}::uuid[])`);
  return new Map(
    rows.map((row) => [
      row.id,
      {
        productId: row.id,
        sku: row.sku,
        name: row.name,
        priceMinor: row.price_minor,
        currency: row.currency,
        archived: row.archived,
        buckets: row.buckets.map(BigInt),
      },
    ]),
  );
}

/** Those of `skus` that a product has, archived or not. Index: products_sku. */
export async function findSkus(db: Queryable, skus: readonly string[]): Promise<Set<string>> {
  const rows = await db.rows<{ sku: string }>(
    sql('product.skus')`select sku from products where sku = any(${skus}::text[])`,
  );
  return new Set(rows.map(({ sku }) => sku));
}

/** The products that have these SKUs, archived ones too, in no particular order. Index: products_sku. */
export async function resolveSkus(
  db: Queryable,
  skus: readonly string[],
): Promise<Array<{ productId: string; sku: string; name: string }>> {
  const rows = await db.rows<Pick<ProductRow, 'id' | 'sku' | 'name'>>(
    sql('product.resolve-skus')`select id, sku, name from products where sku = any(${skus}::text[])`,
  );
  return rows.map(({ id: productId, sku, name }) => ({ productId, sku, name }));
}

/** Those of `slugs` that a product has. Index: products_slug. */
export async function findSlugs(db: Queryable, slugs: readonly string[]): Promise<Set<string>> {
  const rows = await db.rows<{ slug: string }>(
    sql('product.slugs')`select slug from products where slug = any(${slugs}::text[])`,
  );
  return new Set(rows.map(({ slug }) => slug));
}

/** The number of products in the admin list. */
export function countProducts(db: Queryable, includeArchived: boolean): Promise<ListTotal> {
  return countRows(
    db,
    'product.list',
    sql.part`products where ${includeArchived ? sql.part`true` : sql.part`not archived`}`,
  );
}
