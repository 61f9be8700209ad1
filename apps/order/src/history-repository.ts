import { sql, type Queryable, type Tx } from '@headroom/postgres';
import type { Order } from './order';
import { itemsJson } from './repository';

/** An order of history that is here, or is about to be. */
export interface ImportedOrder {
  externalId: string;
  fingerprint: Buffer;
  orderId: string;
}

/** The fingerprints of those that are here, by external id. Index: primary key. */
export async function findImported(
  db: Queryable,
  externalIds: readonly string[],
): Promise<Map<string, Buffer>> {
  const rows = await db.rows<{ external_id: string; fingerprint: Buffer }>(sql('imported.find')`
    select external_id, fingerprint from imported_orders where external_id = any(${externalIds}::text[])`);
  return new Map(rows.map((row) => [row.external_id, row.fingerprint]));
}

/**
 * Enters those that are not here yet and returns their external ids; waits for a transaction that is entering one of them, and
 * always in the order of the ids, so that two imports of the same orders cannot lock each other up. Index: primary key.
 */
export async function insertImported(tx: Tx, orders: readonly ImportedOrder[]): Promise<Set<string>> {
  const rows = await tx.rows<{ external_id: string }>(sql('imported.insert')`
    insert into imported_orders (external_id, fingerprint, order_id)
    select external_id, fingerprint, order_id
    from unnest(${orders.map((each) => each.externalId)}::text[], ${orders.map((each) => each.fingerprint)}::bytea[],
                ${orders.map((each) => each.orderId)}::uuid[]) as o (external_id, fingerprint, order_id)
    order by external_id collate "C"
    on conflict (external_id) do nothing
    returning external_id`);
  return new Set(rows.map((row) => row.external_id));
}

/** Writes many new orders of history; their partitions must stand. */
export async function insertHistory(tx: Tx, orders: readonly Order[]): Promise<void> {
  await tx.execute(sql('order.insert-history')`
    insert into orders (id, user_id, external_id, status, payment_status, items, currency, total_minor, version, updated_at)
    select id, user_id, external_id, status, payment_status, items, currency, total_minor, version, updated_at
    from unnest(
      ${orders.map((each) => each.id)}::uuid[], ${orders.map((each) => each.userId)}::uuid[],
      ${orders.map((each) => each.externalId)}::text[], ${orders.map((each) => each.status)}::text[],
      ${orders.map((each) => each.paymentStatus)}::text[], ${orders.map((each) => itemsJson(each.items))}::jsonb[],
      ${orders.map((each) => each.currency)}::text[], ${orders.map((each) => each.totalMinor)}::bigint[],
      ${orders.map((each) => each.version)}::bigint[], ${orders.map((each) => new Date(each.updatedAtMs))}::timestamptz[]
    ) as o (id, user_id, external_id, status, payment_status, items, currency, total_minor, version, updated_at)`);
}
