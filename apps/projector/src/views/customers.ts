import { TOPICS } from '@headroom/contracts';
import { sql, type Queryable, type SqlPart } from '@headroom/postgres';
import { idsOf, isUnder, orderOf, type View } from './view';

/**
 * What each customer has ordered, per currency. `counted` remembers each order's part of the totals; `totals` has a row per
 * partition of the log, so that consumers never wait for one another.
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

  async apply(tx, schema, { event, partition }) {
    if (isUnder(event, 'user.')) {
      const user = event.data;
      await tx.execute(sql('customers.apply-user')`
        insert into ${schema}.customers as known (id, version, name, tier, created_at)
        values (${user.id}, ${event.aggregateversion}, ${user.name}, ${user.tier}, ${user.createdAt})
        on conflict (id) do update set (version, name, tier, created_at) =
          (excluded.version, excluded.name, excluded.tier, excluded.created_at)
        where known.version < excluded.version`);
      return;
    }
    const order = orderOf(event);
    if (!order?.userId) return;
    const before = await tx.row<{ version: bigint; confirmed: boolean; total_minor: bigint }>(
      sql('customers.counted')`
        select version, confirmed, total_minor from ${schema}.counted where order_id = ${order.id} for update`,
    );
    if (before && before.version >= BigInt(event.aggregateversion)) return;
    const confirmed = order.status === 'confirmed';
    const totalMinor = BigInt(order.total.amountMinor);
    await tx.execute(sql('customers.count')`
      insert into ${schema}.counted (order_id, version, user_id, confirmed, currency, total_minor)
      values (${order.id}, ${event.aggregateversion}, ${order.userId}, ${confirmed}, ${order.total.currency}, ${totalMinor})
      on conflict (order_id) do update set (version, confirmed, total_minor) =
        (excluded.version, excluded.confirmed, excluded.total_minor)`);
    const newOrders = before ? 0n : 1n;
    const newConfirmed = (confirmed ? 1n : 0n) - (before?.confirmed ? 1n : 0n);
    const newSpent = (confirmed ? totalMinor : 0n) - (before?.confirmed ? before.total_minor : 0n);
    if (newOrders === 0n && newConfirmed === 0n && newSpent === 0n) return;
    await tx.execute(sql('customers.add')`
      insert into ${schema}.totals as known (user_id, currency, partition, orders, confirmed_orders, spent_minor,
        first_order_at, last_order_at)
      values (${order.userId}, ${order.total.currency}, ${partition}, ${newOrders}, ${newConfirmed}, ${newSpent},
        ${order.placedAt}, ${order.placedAt})
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
