import { TOPICS } from '@headroom/contracts';
import { countRows, sql, type ListTotal, type Queryable, type SqlPart } from '@headroom/postgres';
import { idsOf, jsonRows, ordersOf, type View } from './view';

/** The order history of each user, and of the shop: one row per order with its newest state. */
export const orders: View = {
  name: 'orders',
  shape: 2,
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
      updated_at timestamptz not null,
      external_id text
    );
    create index orders_by_user on ${schema}.orders (user_id, id)`,

  async apply(tx, schema, { events }) {
    const rows = ordersOf(events).map(({ order, version }) => ({
      id: order.id,
      user_id: order.userId || null,
      external_id: order.externalId,
      version,
      status: order.status,
      payment_status: order.paymentStatus,
      cancel_reason: order.cancelReason,
      items: order.items,
      total_minor: order.total.amountMinor,
      currency: order.total.currency,
      placed_at: order.placedAt,
      updated_at: order.updatedAt,
    }));
    if (rows.length === 0) return;
    await tx.execute(sql('orders.apply')`
      insert into ${schema}.orders as known (id, user_id, external_id, version, status, payment_status, cancel_reason,
        items, total_minor, currency, placed_at, updated_at)
      select id, user_id, external_id, version, status, payment_status, cancel_reason, items, total_minor, currency,
        placed_at, updated_at
      from json_to_recordset(${jsonRows(rows)}::json) as r (id uuid, user_id uuid, external_id text, version bigint,
        status text, payment_status text, cancel_reason text, items jsonb, total_minor bigint, currency text,
        placed_at timestamptz, updated_at timestamptz)
      on conflict (id) do update set (user_id, external_id, version, status, payment_status, cancel_reason, items,
        total_minor, currency, placed_at, updated_at) = (excluded.user_id, excluded.external_id, excluded.version,
        excluded.status, excluded.payment_status, excluded.cancel_reason, excluded.items, excluded.total_minor,
        excluded.currency, excluded.placed_at, excluded.updated_at)
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
  /** Null: imported history that belongs to no account. */
  user_id: string | null;
  /** Null: no history. */
  external_id: string | null;
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

const COLUMNS = sql.part`id, user_id, external_id, version, status, payment_status, cancel_reason, items, total_minor, currency,
  placed_at, updated_at`;

/** Everybody's orders, newest first; keyset by id over the primary key: an order's id is a UUIDv7 of when it was placed. */
export function listAllOrders(
  db: Queryable,
  schema: SqlPart,
  query: { afterId: string | undefined; limit: number },
): Promise<OrderRow[]> {
  const after = query.afterId === undefined ? sql.empty : sql.part`where id < ${query.afterId}::uuid`;
  return db.rows(sql('orders.list-all')`
    select ${COLUMNS} from ${schema}.orders ${after} order by id desc limit ${query.limit}`);
}

/** How many orders there are: exact up to 10,000, then an estimate. */
export const countAllOrders = (db: Queryable, schema: SqlPart): Promise<ListTotal> =>
  countRows(db, 'orders.list-all', sql.part`${schema}.orders`);

/** A user's orders, newest first; keyset by id over the index (user_id, id), or an offset for the first pages. */
export function listOrdersOfUser(
  db: Queryable,
  schema: SqlPart,
  query: { userId: string; afterId: string | undefined; offset: number; limit: number },
): Promise<OrderRow[]> {
  const after = query.afterId === undefined ? sql.empty : sql.part`and id < ${query.afterId}::uuid`;
  return db.rows(sql('orders.list')`
    select ${COLUMNS} from ${schema}.orders where user_id = ${query.userId} ${after}
    order by id desc limit ${query.limit} offset ${query.offset}`);
}
