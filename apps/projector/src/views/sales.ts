import { TOPICS, type DomainEvent, type OrderData, type ProductData } from '@headroom/contracts';
import { countRows, sql, type ListTotal, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import { idsOf, isUnder, jsonRows, newestOf, ordersOf, unitsOf, type View } from './view';

/**
 * Sales per UTC day of `placedAt` and currency, confirmed orders only. `counted` remembers what each order stands for, so
 * that a repeated event adds nothing and a cancelled order leaves again. `days` is kept up with every event and has a row per
 * partition of the log: today's row would otherwise be where all consumers wait for one another. `by_product` and
 * `by_category` are materialized views, brought up to date now and then (reports.ts); a product's sales count under the
 * category that it has when that is done, since an order does not say in which it was.
 */
export const sales: View = {
  name: 'sales',
  shape: 2,
  topics: [TOPICS.order, TOPICS.catalog],
  subjects: ['order'],
  reports: ['by_product', 'by_category'],

  create: (schema) => sql('sales.create')`
    create table ${schema}.counted (
      order_id uuid primary key,
      version bigint not null,
      confirmed boolean not null,
      day date not null,
      currency text not null,
      units bigint not null,
      revenue_minor bigint not null,
      -- a place for each product of the order, its lines added up
      product_ids uuid[] not null,
      product_units bigint[] not null,
      product_revenue_minor bigint[] not null
    );
    create table ${schema}.days (
      day date not null,
      currency text not null,
      partition integer not null,
      orders bigint not null,
      units bigint not null,
      revenue_minor bigint not null,
      primary key (day, currency, partition)
    );
    create table ${schema}.categories (
      product_id uuid primary key,
      version bigint not null,
      category text not null
    );
    create materialized view ${schema}.by_product as ${productSales(schema)};
    create unique index by_product_key on ${schema}.by_product (product_id, currency, day);
    create index by_product_day on ${schema}.by_product (day);
    create materialized view ${schema}.by_category as ${categorySales(schema)};
    create unique index by_category_key on ${schema}.by_category (category, currency, day)`,

  async apply(tx, schema, { events, partition }) {
    await applyCategories(tx, schema, events);
    await applyOrders(tx, schema, events, partition);
  },

  async appliedVersions(db, schema, subjects) {
    const rows = await db.rows<{ order_id: string; version: bigint }>(sql('sales.applied')`
      select order_id, version from ${schema}.counted where order_id = any(${idsOf('order', subjects)}::uuid[])`);
    return new Map(rows.map((row) => [`order/${row.order_id}`, row.version]));
  },
};

async function applyCategories(tx: Tx, schema: SqlPart, events: readonly DomainEvent[]): Promise<void> {
  const rows = newestOf(events)
    .filter((event) => isUnder(event, 'catalog.product-') || isUnder(event, 'catalog.price-'))
    .map((event) => {
      const product = event.data as ProductData;
      return { product_id: product.id, version: event.aggregateversion, category: product.category };
    });
  if (rows.length === 0) return;
  await tx.execute(sql('sales.apply-categories')`
    insert into ${schema}.categories as known (product_id, version, category)
    select product_id, version, category
    from json_to_recordset(${jsonRows(rows)}::json) as r (product_id uuid, version bigint, category text)
    on conflict (product_id) do update set (version, category) = (excluded.version, excluded.category)
    where known.version < excluded.version`);
}

/** What an order stands for in `days`. */
interface Sale {
  confirmed: boolean;
  day: string;
  currency: string;
  units: bigint;
  revenue_minor: bigint;
}

async function applyOrders(
  tx: Tx,
  schema: SqlPart,
  events: readonly DomainEvent[],
  partition: number,
): Promise<void> {
  const orders = ordersOf(events);
  if (orders.length === 0) return;
  const known = new Map(
    (
      await tx.rows<Sale & { order_id: string; version: bigint }>(sql('sales.counted')`
        select order_id, version, confirmed, day, currency, units, revenue_minor from ${schema}.counted
        where order_id = any(${orders.map(({ order }) => order.id)}::uuid[]) order by order_id for update`)
    ).map((row) => [row.order_id, row]),
  );
  const newer = orders.filter(({ order, version }) => (known.get(order.id)?.version ?? 0n) < BigInt(version));
  if (newer.length === 0) return;
  const changes = new Map<string, SalesDay>();
  const add = ({ day, currency, units, revenue_minor }: Sale, sign: 1n | -1n) => {
    const change = changes.get(`${day}/${currency}`) ?? {
      day,
      currency,
      orders: 0n,
      units: 0n,
      revenue_minor: 0n,
    };
    change.orders += sign;
    change.units += sign * units;
    change.revenue_minor += sign * revenue_minor;
    changes.set(`${day}/${currency}`, change);
  };
  const counted = newer.map(({ order, version }) => {
    const sale: Sale = {
      confirmed: order.status === 'confirmed',
      day: new Date(order.placedAt).toISOString().slice(0, 10),
      currency: order.total.currency,
      units: unitsOf(order),
      revenue_minor: BigInt(order.total.amountMinor),
    };
    const before = known.get(order.id);
    if (before?.confirmed) add(before, -1n);
    if (sale.confirmed) add(sale, 1n);
    return { order_id: order.id, version, ...sale, ...perProduct(order) };
  });
  await tx.execute(sql('sales.count')`
    insert into ${schema}.counted (order_id, version, confirmed, day, currency, units, revenue_minor, product_ids,
      product_units, product_revenue_minor)
    select order_id, version, confirmed, day, currency, units, revenue_minor, product_ids::uuid[], product_units::bigint[],
      product_revenue_minor::bigint[]
    from json_to_recordset(${jsonRows(counted)}::json) as r (order_id uuid, version bigint, confirmed boolean, day date,
      currency text, units bigint, revenue_minor bigint, product_ids text, product_units text, product_revenue_minor text)
    on conflict (order_id) do update set (version, confirmed, day, currency, units, revenue_minor, product_ids,
      product_units, product_revenue_minor) = (excluded.version, excluded.confirmed, excluded.day, excluded.currency,
      excluded.units, excluded.revenue_minor, excluded.product_ids, excluded.product_units, excluded.product_revenue_minor)`);
  const changed = [...changes.values()].filter(
    (each) => each.orders !== 0n || each.units !== 0n || each.revenue_minor !== 0n,
  );
  if (changed.length === 0) return;
  await tx.execute(sql('sales.add')`
    insert into ${schema}.days as known (day, currency, partition, orders, units, revenue_minor)
    select day, currency, ${partition}, orders, units, revenue_minor
    from json_to_recordset(${jsonRows(changed)}::json) as r (day date, currency text, orders bigint, units bigint,
      revenue_minor bigint)
    on conflict (day, currency, partition) do update set orders = known.orders + excluded.orders,
      units = known.units + excluded.units, revenue_minor = known.revenue_minor + excluded.revenue_minor`);
  const lessened = changed.filter((each) => each.orders < 0n).map(({ day, currency }) => ({ day, currency }));
  if (lessened.length > 0)
    await tx.execute(sql('sales.clear')`
      delete from ${schema}.days as known
      using json_to_recordset(${jsonRows(lessened)}::json) as r (day date, currency text)
      where known.day = r.day and known.currency = r.currency and known.partition = ${partition} and known.orders = 0`);
}

/** The lines of an order added up by product, as texts of arrays. */
function perProduct(order: OrderData) {
  const products = new Map<string, { units: bigint; revenue: bigint }>();
  for (const item of order.items) {
    const sum = products.get(item.productId) ?? { units: 0n, revenue: 0n };
    sum.units += BigInt(item.quantity);
    sum.revenue += BigInt(item.lineTotal.amountMinor);
    products.set(item.productId, sum);
  }
  const sums = [...products.values()];
  return {
    product_ids: `{${[...products.keys()].join(',')}}`,
    product_units: `{${sums.map((each) => each.units).join(',')}}`,
    product_revenue_minor: `{${sums.map((each) => each.revenue).join(',')}}`,
  };
}

/** The lines of all confirmed orders, one for each product of an order. */
const soldLines = (schema: SqlPart) => sql.part`${schema}.counted
  cross join unnest(product_ids, product_units, product_revenue_minor) as line (product_id, sold_units, sold_minor)`;

/** What `by_product` keeps: a row per product, currency and day. */
const productSales = (schema: SqlPart) => sql.part`
  select product_id, currency, day, count(*) as orders, sum(sold_units)::bigint as units,
    sum(sold_minor)::bigint as revenue_minor
  from ${soldLines(schema)} where confirmed group by product_id, currency, day`;

/** What `by_category` keeps. An order with several products of a category counts once. */
const categorySales = (schema: SqlPart) => sql.part`
  select coalesce(category, '') collate "C" as category, currency, day, count(distinct order_id) as orders,
    sum(sold_units)::bigint as units, sum(sold_minor)::bigint as revenue_minor
  from ${soldLines(schema)} left join ${schema}.categories using (product_id)
  where confirmed group by 1, currency, day`;

/** The sales of one day in one currency. */
interface SalesDay {
  day: string;
  currency: string;
  orders: bigint;
  units: bigint;
  revenue_minor: bigint;
}

/** One row of a report. */
export interface SalesRow {
  /** A day, a product's id, or the path of a category; empty: products that have none. */
  group: string;
  currency: string;
  orders: bigint;
  units: bigint;
  revenue_minor: bigint;
}

/** UTC days from `from` (inclusive) to `to` (exclusive), as YYYY-MM-DD. */
export interface SalesSpan {
  from: string;
  to: string;
}

export type SalesGrouping = 'day' | 'product' | 'category';

/** What answers each grouping. Each has a unique index that begins with the key and the currency. */
const SOURCES = {
  day: { table: 'days', key: sql.part`day`, type: sql.part`date` },
  product: { table: 'by_product', key: sql.part`product_id`, type: sql.part`uuid` },
  category: { table: 'by_category', key: sql.part`category`, type: sql.part`text` },
} as const;

/** The materialized view that answers this grouping. */
export const reportOf = (by: Exclude<SalesGrouping, 'day'>): string => SOURCES[by].table;

/** The rows of a report. An order is on one day alone, so that what days count may be added up. */
export function selectSales(
  schema: SqlPart,
  by: SalesGrouping,
  { from, to }: SalesSpan,
  after?: { group: string; currency: string },
): SqlPart {
  const { table, key, type } = SOURCES[by];
  const rest = after
    ? sql.part`and (${key}, currency) > (${after.group}::${type}, ${after.currency})`
    : sql.empty;
  return sql.part`select ${key}::text as "group", currency, sum(orders)::bigint as orders, sum(units)::bigint as units,
      sum(revenue_minor)::bigint as revenue_minor
    from ${schema}.${sql.identifier(table)} where day >= ${from}::date and day < ${to}::date ${rest}
    group by ${key}, currency having sum(orders) > 0`;
}

/** Ascending by group and currency; keyset over the unique index, whose order lets a page stop at its last row. */
export function listSales(
  db: Queryable,
  schema: SqlPart,
  by: SalesGrouping,
  query: SalesSpan & { after: { group: string; currency: string } | undefined; limit: number },
): Promise<SalesRow[]> {
  return db.rows(sql(`sales.by-${by}`)`
    ${selectSales(schema, by, query, query.after)} order by ${SOURCES[by].key}, currency limit ${query.limit}`);
}

/** How many rows the report has: exact up to 10,000, then an estimate. */
export function countSales(
  db: Queryable,
  schema: SqlPart,
  by: SalesGrouping,
  span: SalesSpan,
): Promise<ListTotal> {
  return countRows(db, `sales.by-${by}`, sql.part`(${selectSales(schema, by, span)}) as listed`);
}
