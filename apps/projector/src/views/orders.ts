import { TOPICS } from '@headroom/contracts';
import { sql, type Queryable, type SqlPart } from '@headroom/postgres';
import { idsOf, orderOf, type View } from './view';

/** The order history of each user: one row per order with its newest state. */
export const orders: View = {
  name: 'orders',
  shape: 1,
  topics: [TOPICS.order],
  subjects: ['order'],

  create: (schema) => sql('orders.create')`
    create table ${schema}.orders (
      id uuid primary key,
      user_id uuid,
      version bigint not null,
      status text not null,
      payment_status text not null,
      cancel_reason text,
      items jsonb not null,
      total_minor bigint not null,
      currency text not null,
      placed_at timestamptz not null,
      updated_at timestamptz not null
    );
    create index orders_by_user on ${schema}.orders (user_id, id)`,

  async apply(tx, schema, { event }) {
    const order = orderOf(event);
    if (!order) return;
    await tx.execute(sql('orders.apply')`
      insert into ${schema}.orders as known (id, user_id, version, status, payment_status, cancel_reason, items,
        total_minor, currency, placed_at, updated_at)
      values (${order.id}, ${order.userId || null}, ${event.aggregateversion}, ${order.status}, ${order.paymentStatus},
        ${order.cancelReason}, ${JSON.stringify(order.items)}, ${order.total.amountMinor}, ${order.total.currency},
        ${order.placedAt}, ${order.updatedAt})
      on conflict (id) do update set (user_id, version, status, payment_status, cancel_reason, items, total_minor,
        currency, placed_at, updated_at) = (excluded.user_id, excluded.version, excluded.status,
        excluded.payment_status, excluded.cancel_reason, excluded.items, excluded.total_minor, excluded.currency,
        excluded.placed_at, excluded.updated_at)
      where known.version < excluded.version`);
  },

  async appliedVersions(db, schema, subjects) {
    const rows = await db.rows<{ id: string; version: bigint }>(sql('orders.applied')`
      select id, version from ${schema}.orders where id = any(${idsOf('order', subjects)}::uuid[])`);
    return new Map(rows.map((row) => [`order/${row.id}`, row.version]));
  },
};

/** One order as the view has it. */
export interface OrderRow {
  id: string;
  user_id: string;
  version: bigint;
  status: string;
  payment_status: string;
  cancel_reason: string | null;
  items: Array<{
    productId: string;
    name: string;
    quantity: number;
    unitPrice: { amountMinor: number; currency: string };
    lineTotal: { amountMinor: number; currency: string };
  }>;
  total_minor: bigint;
  currency: string;
  placed_at: Date;
  updated_at: Date;
}

/** A user's orders, newest first; keyset by id over the index (user_id, id), or an offset for the first pages. */
export function listOrdersOfUser(
  db: Queryable,
  schema: SqlPart,
  query: { userId: string; afterId: string | undefined; offset: number; limit: number },
): Promise<OrderRow[]> {
  const after = query.afterId === undefined ? sql.empty : sql.part`and id < ${query.afterId}::uuid`;
  return db.rows(sql('orders.list')`
    select id, user_id, version, status, payment_status, cancel_reason, items, total_minor, currency, placed_at, updated_at
    from ${schema}.orders where user_id = ${query.userId} ${after}
    order by id desc limit ${query.limit} offset ${query.offset}`);
}
