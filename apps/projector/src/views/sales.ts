import { TOPICS } from '@headroom/contracts';
import { countRows, sql, type ListTotal, type Queryable, type SqlPart } from '@headroom/postgres';
import { idsOf, orderOf, unitsOf, type View } from './view';

/**
 * Sales per UTC day of `placedAt` and currency, confirmed orders only. `counted` remembers what each order stands for in
 * `days`, so that a repeated event adds nothing and a cancelled order leaves again. `days` has a row per partition of the
 * log: today's row would otherwise be where all consumers wait for one another.
 */
export const sales: View = {
  name: 'sales',
  shape: 1,
  topics: [TOPICS.order],
  subjects: ['order'],

  create: (schema) => sql('sales.create')`
    create table ${schema}.counted (
      order_id uuid primary key,
      version bigint not null,
      confirmed boolean not null,
      day date not null,
      currency text not null,
      units bigint not null,
      revenue_minor bigint not null
    );
    create table ${schema}.days (
      day date not null,
      currency text not null,
      partition integer not null,
      orders bigint not null,
      units bigint not null,
      revenue_minor bigint not null,
      primary key (day, currency, partition)
    )`,

  async apply(tx, schema, { event, partition }) {
    const order = orderOf(event);
    if (!order) return;
    const before = await tx.row<Counted & { version: bigint }>(sql('sales.counted')`
      select version, confirmed, day, currency, units, revenue_minor from ${schema}.counted
      where order_id = ${order.id} for update`);
    if (before && before.version >= BigInt(event.aggregateversion)) return;
    const now: Counted = {
      confirmed: order.status === 'confirmed',
      day: new Date(order.placedAt).toISOString().slice(0, 10),
      currency: order.total.currency,
      units: unitsOf(order),
      revenue_minor: BigInt(order.total.amountMinor),
    };
    await tx.execute(sql('sales.count')`
      insert into ${schema}.counted (order_id, version, confirmed, day, currency, units, revenue_minor)
      values (${order.id}, ${event.aggregateversion}, ${now.confirmed}, ${now.day}, ${now.currency}, ${now.units},
        ${now.revenue_minor})
      on conflict (order_id) do update set (version, confirmed, day, currency, units, revenue_minor) =
        (excluded.version, excluded.confirmed, excluded.day, excluded.currency, excluded.units, excluded.revenue_minor)`);
    if (before && isDeepEqual(before, now)) return;
    if (before?.confirmed) await add(before, -1n);
    if (now.confirmed) await add(now, 1n);

    async function add(sale: Counted, sign: 1n | -1n) {
      await tx.execute(sql('sales.add')`
        insert into ${schema}.days as known (day, currency, partition, orders, units, revenue_minor)
        values (${sale.day}, ${sale.currency}, ${partition}, ${sign}, ${sign * sale.units}, ${sign * sale.revenue_minor})
        on conflict (day, currency, partition) do update set orders = known.orders + excluded.orders,
          units = known.units + excluded.units, revenue_minor = known.revenue_minor + excluded.revenue_minor`);
    }
  },

  async appliedVersions(db, schema, subjects) {
    const rows = await db.rows<{ order_id: string; version: bigint }>(sql('sales.applied')`
      select order_id, version from ${schema}.counted where order_id = any(${idsOf('order', subjects)}::uuid[])`);
    return new Map(rows.map((row) => [`order/${row.order_id}`, row.version]));
  },
};

interface Counted {
  confirmed: boolean;
  day: string;
  currency: string;
  units: bigint;
  revenue_minor: bigint;
}

const isDeepEqual = (a: Counted, b: Counted): boolean =>
  a.confirmed === b.confirmed &&
  a.day === b.day &&
  a.currency === b.currency &&
  a.units === b.units &&
  a.revenue_minor === b.revenue_minor;

/** The sales of one day in one currency. */
export interface SalesDayRow {
  day: string;
  currency: string;
  orders: bigint;
  units: bigint;
  revenue_minor: bigint;
}

/** Days from `from` (inclusive) to `to` (exclusive), ascending by day and currency; keyset over the primary key. */
export function listSalesDays(
  db: Queryable,
  schema: SqlPart,
  query: {
    from: string;
    to: string;
    after: { day: string; currency: string } | undefined;
    limit: number;
  },
): Promise<SalesDayRow[]> {
  const after = query.after
    ? sql.part`and (day, currency) > (${query.after.day}::date, ${query.after.currency})`
    : sql.empty;
  return db.rows(sql('sales.days')`
    select day, currency, sum(orders)::bigint as orders, sum(units)::bigint as units,
      sum(revenue_minor)::bigint as revenue_minor
    from ${schema}.days where day >= ${query.from}::date and day < ${query.to}::date ${after}
    group by day, currency having sum(orders) > 0
    order by day, currency limit ${query.limit}`);
}

/** How many rows the report of these days has. */
export function countSalesDays(
  db: Queryable,
  schema: SqlPart,
  { from, to }: { from: string; to: string },
): Promise<ListTotal> {
  const rows = sql.part`select from ${schema}.days where day >= ${from}::date and day < ${to}::date
    group by day, currency having sum(orders) > 0`;
  return countRows(db, 'sales.list', sql.part`(${rows}) as listed`);
}
