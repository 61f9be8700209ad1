import { countRows, type ListTotal, sql, sqlState, type Queryable } from '@headroom/postgres';
import type { Order, OrderItem, ShippingAddress } from './order';
import type { Saga, Step } from './saga';

/** A cart's lines as they are kept; `version` 0 is a cart that was never written. */
export interface StoredCart {
  version: bigint;
  lines: CartLine[];
}

/** A product and how many of it. */
export interface CartLine {
  productId: string;
  quantity: number;
}

/** Whose request a key belongs to, and for what. */
export interface KeyOwner {
  userId: string;
  /** Method and path. */
  scope: string;
  key: string;
}

/** The response that a key stands for. */
export interface KeptResponse {
  status: number;
  contentType: string;
  /** Empty: none. */
  location: string;
  body: Buffer;
  /** The order's version that the response shows; null when it shows none. */
  orderVersion: bigint | null;
}

/** A key as it is on record: claimed by a running request, or answered. */
export interface KeyRecord {
  fingerprint: Buffer;
  orderId: string;
  cartVersion: bigint | null;
  attempt: number;
  leaseUntilMs: number;
  expiresAtMs: number;
  /** Undefined while no response is kept. */
  response: KeptResponse | undefined;
}

/** The right to answer under a key: good as long as no later attempt has taken it. */
export interface Claim extends KeyOwner {
  orderId: string;
  attempt: number;
}

// Keys

/**
 * Claims a key that nobody has, as attempt 1. False when it is on record; waits for a transaction that is writing it.
 * Index: primary key.
 */
export async function insertClaim(
  db: Queryable,
  claim: Claim & {
    fingerprint: Buffer;
    cartVersion: bigint | null;
    leaseUntilMs: number;
    expiresAtMs: number;
  },
): Promise<boolean> {
  const inserted = await db.execute(sql('key.claim')`
    insert into idempotency_keys (user_id, scope, key, fingerprint, order_id, cart_version, attempt, lease_until, expires_at)
    values (${claim.userId}, ${claim.scope}, ${claim.key}, ${claim.fingerprint}, ${claim.orderId}, ${claim.cartVersion},
            ${claim.attempt}, ${new Date(claim.leaseUntilMs)}, ${new Date(claim.expiresAtMs)})
    on conflict (user_id, scope, key) do nothing`);
  return inserted === 1;
}

/** The key's record under a row lock, so that one of several repeated requests goes on. Index: primary key. */
export async function lockKey(db: Queryable, owner: KeyOwner): Promise<KeyRecord | undefined> {
  return keyRecord(
    await db.row<KeyRow>(sql('key.lock')`
      select * from idempotency_keys
      where user_id = ${owner.userId} and scope = ${owner.scope} and key = ${owner.key} for update`),
  );
}

/** The key's record as committed last. Index: primary key. */
export async function findKey(db: Queryable, owner: KeyOwner): Promise<KeyRecord | undefined> {
  return keyRecord(
    await db.row<KeyRow>(sql('key.find')`
      select * from idempotency_keys
      where user_id = ${owner.userId} and scope = ${owner.scope} and key = ${owner.key}`),
  );
}

/** Starts another attempt under a key whose row the caller has locked; a response of an expired key is forgotten. */
export async function renewClaim(
  db: Queryable,
  claim: Claim & {
    fingerprint: Buffer;
    cartVersion: bigint | null;
    leaseUntilMs: number;
    expiresAtMs: number;
  },
): Promise<void> {
  await db.execute(sql('key.renew')`
    update idempotency_keys
    set fingerprint = ${claim.fingerprint}, order_id = ${claim.orderId}, cart_version = ${claim.cartVersion},
        attempt = ${claim.attempt}, lease_until = ${new Date(claim.leaseUntilMs)},
        expires_at = ${new Date(claim.expiresAtMs)},
        status = null, content_type = null, location = null, body = null, order_version = null
    where user_id = ${claim.userId} and scope = ${claim.scope} and key = ${claim.key}`);
}

/** Gives a claim another order id; false when a later attempt has taken the key. */
export async function moveClaim(db: Queryable, claim: Claim, orderId: string): Promise<boolean> {
  const moved = await db.execute(sql('key.move')`
    update idempotency_keys set order_id = ${orderId}
    where user_id = ${claim.userId} and scope = ${claim.scope} and key = ${claim.key}
      and attempt = ${claim.attempt} and status is null`);
  return moved === 1;
}

/** Keeps the response of a claim; false when a later attempt has taken the key, whose answer then counts. */
export async function keepResponse(
  db: Queryable,
  claim: Claim,
  response: KeptResponse,
  expiresAtMs: number,
): Promise<boolean> {
  const kept = await db.execute(sql('key.keep')`
    update idempotency_keys
    set status = ${response.status}, content_type = ${response.contentType}, location = ${response.location},
        body = ${response.body}, order_version = ${response.orderVersion}, expires_at = ${new Date(expiresAtMs)}
    where user_id = ${claim.userId} and scope = ${claim.scope} and key = ${claim.key}
      and attempt = ${claim.attempt} and status is null`);
  return kept === 1;
}

/** Ends the lease of a claim that has no response to keep, so that the next try with the key goes on at once. */
export async function giveUpClaim(db: Queryable, claim: Claim): Promise<void> {
  await db.execute(sql('key.give-up')`
    update idempotency_keys set lease_until = '-infinity'
    where user_id = ${claim.userId} and scope = ${claim.scope} and key = ${claim.key}
      and attempt = ${claim.attempt} and status is null`);
}

/** Deletes up to `limit` keys whose time is over, the oldest first, and says how many. Index: idempotency_keys_expiry. */
export async function deleteExpiredKeys(db: Queryable, nowMs: number, limit: number): Promise<number> {
  return db.execute(sql('key.delete-expired')`
    with old as materialized ( -- a plain subquery may run once per row of the other side, and lock more than the limit
      select user_id, scope, key from idempotency_keys where expires_at <= ${new Date(nowMs)}
      order by expires_at limit ${limit} for update skip locked
    )
    delete from idempotency_keys k using old
    where k.user_id = old.user_id and k.scope = old.scope and k.key = old.key`);
}

// Orders

/**
 * Writes a new order. Fails with a check violation when the month has no partition (see `isMissingPartition`).
 */
export async function insertOrder(db: Queryable, order: Order): Promise<void> {
  await db.execute(sql('order.insert')`${orderInsert(order)}`);
}

/** As `insertOrder` and `insertSaga`, in one round trip. */
export async function insertOrderWithSaga(db: Queryable, order: Order, saga: Saga): Promise<void> {
  await db.execute(sql('order.insert-with-saga')`
    with placed as (${orderInsert(order)})
    ${sagaInsert(saga)}`);
}

const orderInsert = (order: Order) => sql.part`
    insert into orders (id, user_id, external_id, status, payment_status, cancel_reason, cancel_requested, items, currency,
                        total_minor, shipping_address, charge_id, version, updated_at)
    values (${order.id}, ${order.userId}, ${order.externalId}, ${order.status}, ${order.paymentStatus},
            ${order.cancelReason}, ${order.cancelRequested}, ${itemsJson(order.items)}, ${order.currency}, ${order.totalMinor},
            ${order.shippingAddress && JSON.stringify(order.shippingAddress)}, ${order.chargeId}, ${order.version}, ${new Date(order.updatedAtMs)})`;

/** True for the error of an order whose month has no partition yet. */
export function isMissingPartition(error: unknown): boolean {
  return (
    sqlState(error) === '23514' &&
    error instanceof Error &&
    error.message.startsWith('no partition of relation')
  );
}

/** Writes what may change of an order over the version it was decided from; false when that is not the version on record. */
export async function updateOrder(db: Queryable, fromVersion: bigint, order: Order): Promise<boolean> {
  return (await db.execute(sql('order.update')`${orderUpdate(fromVersion, order)}`)) === 1;
}

const orderUpdate = (fromVersion: bigint, order: Order) => sql.part`
    update orders
    set status = ${order.status}, payment_status = ${order.paymentStatus}, cancel_reason = ${order.cancelReason},
        cancel_requested = ${order.cancelRequested}, charge_id = ${order.chargeId}, version = ${order.version},
        updated_at = ${new Date(order.updatedAtMs)}
    where id = ${order.id} and version = ${fromVersion}`;

/** The order under a row lock. One partition, its primary key. */
export async function lockOrder(db: Queryable, id: string): Promise<Order | undefined> {
  return orderOf(await db.row<OrderRow>(sql('order.lock')`select * from orders where id = ${id} for update`));
}

/** The order as committed last. One partition, its primary key. */
export async function findOrder(db: Queryable, id: string): Promise<Order | undefined> {
  return orderOf(await db.row<OrderRow>(findOrderStatement(id)));
}

/** The look-up by id, apart from its execution, so that its plan can be looked at. */
export const findOrderStatement = (id: string) => sql('order.find')`select * from orders where id = ${id}`;

/** Those of the orders that exist, in no order. The partitions of the ids only, their primary keys. */
export async function findOrders(db: Queryable, ids: readonly string[]): Promise<Order[]> {
  const rows = await db.rows<OrderRow>(
    sql('order.find-many')`select * from orders where id = any(${ids}::uuid[])`,
  );
  return rows.map((row) => orderOf(row)!);
}

/**
 * A user's orders that changed at `sinceMs` or later, newest first, behind `afterId`. Indexes: orders_by_user_change for a
 * recent `sinceMs`, orders_by_user for a far one.
 */
export async function listChangedOrders(
  db: Queryable,
  filter: { userId: string; sinceMs: number; afterId: string | undefined; limit: number },
): Promise<Order[]> {
  const rows = await db.rows<OrderRow>(sql('order.list-changed')`
    select * from orders
    where ${sql.and([
      sql.part`user_id = ${filter.userId}`,
      ...(filter.sinceMs > 0 ? [sql.part`updated_at >= ${new Date(filter.sinceMs)}`] : []),
      ...(filter.afterId === undefined ? [] : [sql.part`id < ${filter.afterId}`]),
    ])}
    order by id desc limit ${filter.limit}`);
  return rows.map((row) => orderOf(row)!);
}

/** How many orders a user has. Index: orders_by_user. */
export function countOrders(db: Queryable, userId: string): Promise<ListTotal> {
  return countRows(db, 'order.list', sql.part`orders where user_id = ${userId}`);
}

/** When the oldest event that still waits to be published was written; undefined when none waits. Index: the outbox's key. */
export async function oldestUnpublishedMs(db: Queryable): Promise<number | undefined> {
  const row = await db.row<{ created_at: Date }>(
    sql('outbox.oldest')`select created_at from outbox order by id limit 1`,
  );
  return row?.created_at.getTime();
}

/** Makes the partition of the month (`YYYY-MM-01`, UTC) if it is missing; true when it was. */
export async function makePartition(db: Queryable, month: string): Promise<boolean> {
  const row = await db.row<{ made: boolean }>(
    sql('order.make-partition')`select make_order_partition(${month}::date) as made`,
  );
  return row?.made ?? false;
}

// Sagas

/** Puts an order's unfinished business on record. */
export async function insertSaga(db: Queryable, saga: Saga): Promise<void> {
  await db.execute(sql('saga.insert')`${sagaInsert(saga)}`);
}

const sagaInsert = (saga: Saga) => sql.part`
    insert into order_sagas (order_id, step, reason, uncertain, payment_token, attempt, epoch, due_at, deadline_at, traceparent)
    values (${saga.orderId}, ${saga.step}, ${saga.reason}, ${saga.uncertain}, ${saga.paymentToken}, ${saga.attempt},
            ${saga.epoch}, ${new Date(saga.dueAtMs)}, ${new Date(saga.deadlineAtMs)}, ${saga.traceparent})`;

/**
 * Takes up to `limit` due rows that no living worker has, the longest due first, each with a new epoch and one attempt more.
 * Workers skip each other's rows. Index: order_sagas_due.
 */
export async function takeDueSagas(
  db: Queryable,
  options: { nowMs: number; leaseMs: number; limit: number },
): Promise<Saga[]> {
  const rows = await db.rows<SagaRow>(sql('saga.take-due')`
    with due as materialized ( -- a plain subquery may run once per row of the other side, and take more than the limit
      select order_id from order_sagas
      where due_at <= ${new Date(options.nowMs)} and lease_until <= ${new Date(options.nowMs)}
      order by due_at limit ${options.limit} for update skip locked
    )
    update order_sagas s
    set lease_until = ${new Date(options.nowMs + options.leaseMs)}, epoch = s.epoch + 1, attempt = s.attempt + 1
    from due where s.order_id = due.order_id
    returning s.*`);
  return rows.map(sagaOf);
}

/** Takes one order's row if it is due and no living worker has it. Index: primary key. */
export async function takeSaga(
  db: Queryable,
  orderId: string,
  options: { nowMs: number; leaseMs: number },
): Promise<Saga | undefined> {
  const row = await db.row<SagaRow>(sql('saga.take')`
    update order_sagas
    set lease_until = ${new Date(options.nowMs + options.leaseMs)}, epoch = epoch + 1, attempt = attempt + 1
    where order_id = ${orderId} and due_at <= ${new Date(options.nowMs)} and lease_until <= ${new Date(options.nowMs)}
    returning *`);
  return row && sagaOf(row);
}

/**
 * Locks the order of a worker that still has its row, then the row; undefined for one that was fenced. Indexes: primary keys.
 */
export async function lockSagaOrder(
  db: Queryable,
  saga: Pick<Saga, 'orderId' | 'epoch'>,
): Promise<Order | undefined> {
  // The rows are locked in the order in which they are named, as a cancellation locks them.
  return orderOf(
    await db.row<OrderRow>(sql('saga.lock-order')`
      select o.* from orders o join order_sagas s on s.order_id = o.id
      where o.id = ${saga.orderId} and s.order_id = ${saga.orderId} and s.epoch = ${saga.epoch}
      for update of o, s`),
  );
}

/**
 * Writes what a step has led to, for the holder of both locks: the order, if it is not `before` any more, and what is next, with
 * a lease or (`leaseUntilMs` undefined) given back, or nothing (`next` undefined). False when `before` is not on record.
 */
export async function writeStep(
  db: Queryable,
  step: { before: Order; after: Order; next: Saga | undefined; leaseUntilMs: number | undefined },
): Promise<boolean> {
  const { before, after, next, leaseUntilMs } = step;
  const rest = next
    ? sql.part`
      update order_sagas
      set step = ${next.step}, reason = ${next.reason}, uncertain = ${next.uncertain},
          payment_token = ${next.paymentToken}, attempt = ${next.attempt}, due_at = ${new Date(next.dueAtMs)},
          lease_until = coalesce(${leaseUntilMs === undefined ? null : new Date(leaseUntilMs)}::timestamptz, '-infinity')
      where order_id = ${before.id}`
    : sql.part`delete from order_sagas where order_id = ${before.id}`;
  if (after === before) {
    await db.execute(sql('saga.write')`${rest}`);
    return true;
  }
  const row = await db.row<{ changed: number }>(sql('saga.write-step')`
    with changed as (${orderUpdate(before.version, after)} returning 1), rest as (${rest})
    select count(*)::int as changed from changed`);
  return row?.changed === 1;
}

/** Gives a row back before its lease ends, to be taken again at `dueAtMs`; nothing for a worker that was fenced. */
export async function returnSaga(db: Queryable, saga: Saga, dueAtMs: number): Promise<void> {
  await db.execute(sql('saga.return')`
    update order_sagas set lease_until = '-infinity', due_at = ${new Date(dueAtMs)}
    where order_id = ${saga.orderId} and epoch = ${saga.epoch}`);
}

/** Makes an order's business due now, unless a worker has it already. Index: primary key. */
export async function hastenSaga(db: Queryable, orderId: string, nowMs: number): Promise<void> {
  await db.execute(sql('saga.hasten')`
    update order_sagas set due_at = least(due_at, ${new Date(nowMs)}) where order_id = ${orderId}`);
}

/** How many rows are overdue by more than a minute and since when the oldest is. Index: order_sagas_due. */
export async function overdueSagas(
  db: Queryable,
  nowMs: number,
): Promise<{ count: number; oldestDueAtMs: number | undefined }> {
  const row = await db.row<{ count: number; oldest: Date | null }>(sql('saga.overdue')`
    select count(*)::int as count, min(due_at) as oldest from order_sagas where due_at <= ${new Date(nowMs - 60_000)}`);
  return { count: row?.count ?? 0, oldestDueAtMs: row?.oldest?.getTime() };
}

// Carts

/** The cart in one snapshot, lines in the order in which they were added. Indexes: primary keys. */
export async function readCart(db: Queryable, ownerId: string): Promise<StoredCart> {
  const rows = await db.rows<{ version: bigint; product_id: string | null; quantity: number | null }>(
    sql('cart.read')`
      select c.version, i.product_id, i.quantity
      from carts c left join cart_items i on i.owner_id = c.owner_id
      where c.owner_id = ${ownerId} order by i.added_at, i.product_id`,
  );
  return {
    version: rows[0]?.version ?? 0n,
    lines: rows.flatMap((row) =>
      row.product_id === null ? [] : [{ productId: row.product_id, quantity: row.quantity ?? 0 }],
    ),
  };
}

/**
 * Raises the cart's version by one and locks it, if it still is `fromVersion`; false when the cart has changed meanwhile.
 * A change of lines follows in the same transaction.
 */
export async function raiseCartVersion(
  db: Queryable,
  ownerId: string,
  fromVersion: bigint,
  nowMs: number,
): Promise<boolean> {
  const raised = await db.execute(
    fromVersion === 0n
      ? sql('cart.create')`
          insert into carts (owner_id, version, updated_at) values (${ownerId}, 1, ${new Date(nowMs)})
          on conflict do nothing`
      : sql('cart.raise-version')`
          update carts set version = version + 1, updated_at = ${new Date(nowMs)}
          where owner_id = ${ownerId} and version = ${fromVersion}`,
  );
  return raised === 1;
}

/** Sets the quantity of one line, which keeps its place if it is there. For the holder of the cart's lock. */
export async function putCartLine(
  db: Queryable,
  ownerId: string,
  line: CartLine,
  nowMs: number,
): Promise<void> {
  await db.execute(sql('cart.put-line')`
    insert into cart_items (owner_id, product_id, quantity, added_at)
    values (${ownerId}, ${line.productId}, ${line.quantity}, ${new Date(nowMs)})
    on conflict (owner_id, product_id) do update set quantity = excluded.quantity`);
}

/** Removes one line. For the holder of the cart's lock. */
export async function deleteCartLine(db: Queryable, ownerId: string, productId: string): Promise<void> {
  await db.execute(sql('cart.delete-line')`
    delete from cart_items where owner_id = ${ownerId} and product_id = ${productId}`);
}

/**
 * Takes what was ordered out of the cart: what was put in since the order was taken stays.
 */
export async function takeOutOfCart(
  db: Queryable,
  ownerId: string,
  lines: readonly CartLine[],
  nowMs: number,
): Promise<void> {
  await db.execute(sql('cart.lock-and-raise')`
    update carts set version = version + 1, updated_at = ${new Date(nowMs)} where owner_id = ${ownerId}`);
  const ordered = sql.part`unnest(${lines.map((line) => line.productId)}::uuid[], ${lines.map((line) => line.quantity)}::int[])
      as ordered (product_id, quantity)`;
  await db.execute(sql('cart.take-out-whole')`
    delete from cart_items i using ${ordered}
    where i.owner_id = ${ownerId} and i.product_id = ordered.product_id and i.quantity <= ordered.quantity`);
  await db.execute(sql('cart.take-out-part')`
    update cart_items i set quantity = i.quantity - ordered.quantity from ${ordered}
    where i.owner_id = ${ownerId} and i.product_id = ordered.product_id and i.quantity > ordered.quantity`);
}

// Guests' carts

/** A guest's cart that has not expired. */
export interface GuestCart {
  cartId: string;
  expiresAtMs: number;
}

/** The cart that a token stands for; undefined when there is none or its time is over. Index: primary key. */
export async function findGuestCart(
  db: Queryable,
  tokenHash: Buffer,
  nowMs: number,
): Promise<GuestCart | undefined> {
  const row = await db.row<{ cart_id: string; expires_at: Date }>(sql('guest-cart.find')`
    select cart_id, expires_at from guest_carts where token_hash = ${tokenHash} and expires_at > ${new Date(nowMs)}`);
  return row && { cartId: row.cart_id, expiresAtMs: row.expires_at.getTime() };
}

/** Ties a new token to a cart that this transaction has made. */
export async function insertGuestCart(
  db: Queryable,
  guest: GuestCart & { tokenHash: Buffer },
): Promise<void> {
  await db.execute(sql('guest-cart.insert')`
    insert into guest_carts (token_hash, cart_id, expires_at)
    values (${guest.tokenHash}, ${guest.cartId}, ${new Date(guest.expiresAtMs)})`);
}

/** Lets a guest's cart live until `expiresAtMs`; false when there is none or its time is over. Index: primary key. */
export async function prolongGuestCart(
  db: Queryable,
  tokenHash: Buffer,
  times: { nowMs: number; expiresAtMs: number },
): Promise<boolean> {
  const prolonged = await db.execute(sql('guest-cart.prolong')`
    update guest_carts set expires_at = ${new Date(times.expiresAtMs)}
    where token_hash = ${tokenHash} and expires_at > ${new Date(times.nowMs)}`);
  return prolonged === 1;
}

/**
 * Deletes up to `limit` guests' carts whose time is over, with their lines, and says how many. Waits for nobody: a cart that
 * is being used right now is left, and one that was prolonged meanwhile no longer matches. Index: guest_carts_expiry.
 */
export async function deleteExpiredGuestCarts(db: Queryable, nowMs: number, limit: number): Promise<number> {
  return db.execute(sql('guest-cart.delete-expired')`
    with old as materialized ( -- a plain subquery may run once per row of the other side, and lock more than the limit
      select g.cart_id from guest_carts g join carts c on c.owner_id = g.cart_id
      where g.expires_at <= ${new Date(nowMs)}
      order by g.expires_at limit ${limit} for update of g, c skip locked
    )
    delete from carts c using old where c.owner_id = old.cart_id`);
}

/**
 * Moves lines from one cart into another; where a product stands in both, the quantities add up to at most `mostQuantity`.
 * A line keeps the time at which it was added. For the holder of both carts' locks. Indexes: primary key.
 */
export async function moveCartLines(
  db: Queryable,
  move: { fromId: string; toId: string; productIds: readonly string[]; mostQuantity: number },
): Promise<void> {
  await db.execute(sql('cart.move-lines')`
    with moved as (
      delete from cart_items where owner_id = ${move.fromId} and product_id = any(${move.productIds}::uuid[])
      returning product_id, quantity, added_at
    )
    insert into cart_items as line (owner_id, product_id, quantity, added_at)
    select ${move.toId}, product_id, quantity, added_at from moved
    on conflict (owner_id, product_id)
      do update set quantity = least(${move.mostQuantity}, line.quantity + excluded.quantity)`);
}

// Rows

interface KeyRow {
  fingerprint: Buffer;
  order_id: string;
  cart_version: bigint | null;
  attempt: number;
  lease_until: Date | number;
  expires_at: Date;
  status: number | null;
  content_type: string | null;
  location: string | null;
  body: Buffer | null;
  order_version: bigint | null;
}

function keyRecord(row: KeyRow | undefined): KeyRecord | undefined {
  if (!row) return undefined;
  return {
    fingerprint: row.fingerprint,
    orderId: row.order_id,
    cartVersion: row.cart_version,
    attempt: row.attempt,
    leaseUntilMs: Number(row.lease_until),
    expiresAtMs: row.expires_at.getTime(),
    response:
      row.status === null || row.body === null
        ? undefined
        : {
            status: row.status,
            contentType: row.content_type ?? '',
            location: row.location ?? '',
            body: row.body,
            orderVersion: row.order_version,
          },
  };
}

interface OrderRow {
  id: string;
  user_id: string | null;
  external_id: string | null;
  status: Order['status'];
  payment_status: Order['paymentStatus'];
  cancel_reason: Order['cancelReason'];
  cancel_requested: Order['cancelRequested'];
  items: ItemJson[];
  currency: string;
  total_minor: bigint;
  shipping_address: ShippingAddress | null;
  charge_id: string | null;
  version: bigint;
  updated_at: Date;
}

/** Prices stand in the JSON as decimal text, so that no reader rounds them. */
type ItemJson = Omit<OrderItem, 'unitPriceMinor'> & { unitPriceMinor: string };

export const itemsJson = (items: readonly OrderItem[]): string =>
  JSON.stringify(
    items.map((item): ItemJson => ({ ...item, unitPriceMinor: item.unitPriceMinor.toString() })),
  );

function orderOf(row: OrderRow | undefined): Order | undefined {
  return (
    row && {
      id: row.id,
      userId: row.user_id,
      externalId: row.external_id,
      status: row.status,
      paymentStatus: row.payment_status,
      cancelReason: row.cancel_reason,
      cancelRequested: row.cancel_requested,
      items: row.items.map((item) => ({ ...item, unitPriceMinor: BigInt(item.unitPriceMinor) })),
      currency: row.currency,
      totalMinor: row.total_minor,
      shippingAddress: row.shipping_address,
      chargeId: row.charge_id,
      version: row.version,
      updatedAtMs: row.updated_at.getTime(),
    }
  );
}

interface SagaRow {
  order_id: string;
  step: Step;
  reason: Saga['reason'];
  uncertain: boolean;
  payment_token: string | null;
  attempt: number;
  epoch: bigint;
  due_at: Date;
  deadline_at: Date;
  traceparent: string | null;
}

function sagaOf(row: SagaRow): Saga {
  return {
    orderId: row.order_id,
    step: row.step,
    reason: row.reason,
    uncertain: row.uncertain,
    paymentToken: row.payment_token,
    attempt: row.attempt,
    epoch: row.epoch,
    dueAtMs: row.due_at.getTime(),
    deadlineAtMs: row.deadline_at.getTime(),
    traceparent: row.traceparent,
  };
}
