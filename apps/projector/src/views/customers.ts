import { TOPICS, type DomainEvent } from '@headroom/contracts';
import { sql, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import { idsOf, isUnder, jsonRows, newestOf, ordersOf, type View } from './view';

/**
 * What each customer has ordered, per currency. `counted` remembers each order's part of the totals; `totals` has a row per
 * partition of the log, so that consumers never wait for one another. Imported orders of no account count for nobody.
 */
export const customers: View = {
  name: 'customers',
  shape: 1,
  topics: [TOPICS.user, TOPICS.order],
  subjects: ['user', 'order'],

  create: (schema) => sql('customers.create')`
    create table ${schema}.customers (
      id uuid primary key,
      version bigint not null,
      name text not null,
      tier text not null,
      created_at timestamptz not null
    );
    create table ${schema}.counted (
      order_id uuid primary key,
      version bigint not null,
      user_id uuid not null,
      confirmed boolean not null,
      currency text not null,
      total_minor bigint not null
    );
    create table ${schema}.totals (
      user_id uuid not null,
      currency text not null,
      partition integer not null,
      orders bigint not null,
      confirmed_orders bigint not null,
      spent_minor bigint not null,
      first_order_at timestamptz not null,
      last_order_at timestamptz not null,
      primary key (user_id, currency, partition)
    )`,

  async apply(tx, schema, { events, partition }) {
    await applyUsers(tx, schema, events);
    const orders = ordersOf(events).filter(({ order }) => order.userId);
    if (orders.length === 0) return;
    const known = new Map(
      (
        await tx.rows<{ order_id: string; version: bigint; confirmed: boolean; total_minor: bigint }>(
          sql('customers.counted')`
            select order_id, version, confirmed, total_minor from ${schema}.counted
            where order_id = any(${orders.map(({ order }) => order.id)}::uuid[]) order by order_id for update`,
        )
      ).map((row) => [row.order_id, row]),
    );
    const newer = orders.filter(
      ({ order, version }) => (known.get(order.id)?.version ?? 0n) < BigInt(version),
    );
    const counted = newer.map(({ order, version }) => ({
      order_id: order.id,
      version,
      user_id: order.userId,
      confirmed: order.status === 'confirmed',
      currency: order.total.currency,
      total_minor: order.total.amountMinor,
    }));
    const totals = newer.map(({ order }) => {
      const before = known.get(order.id);
      const confirmed = order.status === 'confirmed';
      return {
        user_id: order.userId,
        currency: order.total.currency,
        orders: before ? 0 : 1,
        confirmed_orders: (confirmed ? 1 : 0) - (before?.confirmed ? 1 : 0),
        spent_minor:
          (confirmed ? BigInt(order.total.amountMinor) : 0n) - (before?.confirmed ? before.total_minor : 0n),
        placed_at: order.placedAt,
      };
    });
    await tx.execute(sql('customers.count')`
      insert into ${schema}.counted (order_id, version, user_id, confirmed, currency, total_minor)
      select order_id, version, user_id, confirmed, currency, total_minor
      from json_to_recordset(${jsonRows(counted)}::json) as r (order_id uuid, version bigint, user_id uuid, confirmed boolean,
        currency text, total_minor bigint)
      on conflict (order_id) do update set (version, confirmed, total_minor) =
        (excluded.version, excluded.confirmed, excluded.total_minor)`);
    await tx.execute(sql('customers.add')`
      insert into ${schema}.totals as known (user_id, currency, partition, orders, confirmed_orders, spent_minor,
        first_order_at, last_order_at)
      select user_id, currency, ${partition}, sum(orders), sum(confirmed_orders), sum(spent_minor), min(placed_at), max(placed_at)
      from json_to_recordset(${jsonRows(totals)}::json) as r (user_id uuid, currency text, orders bigint, confirmed_orders bigint,
        spent_minor bigint, placed_at timestamptz)
      group by user_id, currency
      having sum(orders) > 0 or bool_or(confirmed_orders <> 0 or spent_minor <> 0)
      on conflict (user_id, currency, partition) do update set orders = known.orders + excluded.orders,
        confirmed_orders = known.confirmed_orders + excluded.confirmed_orders,
        spent_minor = known.spent_minor + excluded.spent_minor,
        first_order_at = least(known.first_order_at, excluded.first_order_at),
        last_order_at = greatest(known.last_order_at, excluded.last_order_at)`);
  },

  async appliedVersions(db, schema, subjects) {
    const rows = await db.rows<{ subject: string; version: bigint }>(sql('customers.applied')`
      select 'user/' || id as subject, version from ${schema}.customers where id = any(${idsOf('user', subjects)}::uuid[])
      union all
      select 'order/' || order_id, version from ${schema}.counted
      where order_id = any(${idsOf('order', subjects)}::uuid[])`);
    return new Map(rows.map((row) => [row.subject, row.version]));
  },
};

async function applyUsers(tx: Tx, schema: SqlPart, events: readonly DomainEvent[]): Promise<void> {
  const rows = newestOf(events)
    .filter((event) => isUnder(event, 'user.'))
    .map(({ data: user, aggregateversion: version }) => ({
      id: user.id,
      version,
      name: user.name,
      tier: user.tier,
      created_at: user.createdAt,
    }));
  if (rows.length === 0) return;
  await tx.execute(sql('customers.apply-users')`
    insert into ${schema}.customers as known (id, version, name, tier, created_at)
    select id, version, name, tier, created_at
    from json_to_recordset(${jsonRows(rows)}::json) as r (id uuid, version bigint, name text, tier text, created_at timestamptz)
    on conflict (id) do update set (version, name, tier, created_at) =
      (excluded.version, excluded.name, excluded.tier, excluded.created_at)
    where known.version < excluded.version`);
}

/** A customer's totals in one currency. */
export interface CustomerTotals {
  currency: string;
  orders: bigint;
  confirmed_orders: bigint;
  spent_minor: bigint;
  first_order_at: Date;
  last_order_at: Date;
}

/** The totals of one customer by currency, none for who never ordered; one range of the primary key. */
export function customerTotals(db: Queryable, schema: SqlPart, userId: string): Promise<CustomerTotals[]> {
  return db.rows(sql('customers.totals')`
    select currency, sum(orders)::bigint as orders, sum(confirmed_orders)::bigint as confirmed_orders,
      sum(spent_minor)::bigint as spent_minor, min(first_order_at) as first_order_at, max(last_order_at) as last_order_at
    from ${schema}.totals where user_id = ${userId} group by currency order by currency`);
}
