import { sql, type Database, type Queryable, type Tx } from '@headroom/postgres';
import { Fault } from '@headroom/resilience';
import { fingerprint, type Card, type ChargeRequest, type Payment, type RefundRequest } from './payments';

/** What becomes new on record, if anything does. */
interface New {
  id: string;
  key: string;
  at: Date;
}

/** A record, and whether this call made it; undefined where the card's first call has to fail. */
interface Recorded {
  payment: Payment;
  isNew: boolean;
}

/**
 * Puts a charge on record, once for each key: calls that race one key wait for one another and get the same record. Nothing
 * comes back on the first call of a card that fails first, though the key is then taken for this request. Faults:
 * IDEMPOTENCY_KEY_REUSED when the key belongs to another request.
 */
export function recordCharge(
  db: Database,
  request: ChargeRequest,
  card: Card,
  { id, key, at }: New,
): Promise<Recorded | undefined> {
  return db.transaction(async (tx) => {
    const isFirst = await claimKey(tx, 'charge', key, fingerprint(request), at);
    if (isFirst && card.failsFirst) return undefined;
    const inserted = await tx.execute(sql('payment.insert-charge')`
      insert into charges (id, order_id, idempotency_key, amount_minor, currency, status, created_at)
      values (${id}, ${request.orderId}, ${key}, ${request.amountMinor}, ${request.currency},
        ${card.declined ? 'declined' : 'succeeded'}, ${at})
      on conflict (idempotency_key) do nothing`);
    return { payment: await findByKey(tx, 'charges', key), isNew: inserted === 1 };
  });
}

/**
 * Puts a refund on record, once for each key, and never more of them than the charge: the charge's row decides, in the same
 * transaction. A refund that is refused leaves its key free. Faults: CHARGE_UNKNOWN, CHARGE_NOT_REFUNDABLE (declined),
 * REFUND_TOO_LARGE, IDEMPOTENCY_KEY_REUSED.
 */
export function recordRefund(db: Database, request: RefundRequest, { id, key, at }: New): Promise<Recorded> {
  return db.transaction(async (tx) => {
    if (!(await claimKey(tx, 'refund', key, fingerprint(request), at)))
      return { payment: await findByKey(tx, 'refunds', key), isNew: false };
    const charge = await tx.row<{ order_id: string; currency: string }>(sql('payment.take-from-charge')`
      update charges set refunded_minor = refunded_minor + ${request.amountMinor}
      where id = ${request.chargeId} and status = 'succeeded' and amount_minor - refunded_minor >= ${request.amountMinor}
      returning order_id, currency`);
    if (!charge) throw await whyNotRefundable(tx, request);
    await tx.execute(sql('payment.insert-refund')`
      insert into refunds (id, charge_id, order_id, idempotency_key, amount_minor, currency, status, created_at)
      values (${id}, ${request.chargeId}, ${charge.order_id}, ${key}, ${request.amountMinor}, ${charge.currency},
        'succeeded', ${at})`);
    return { payment: await findByKey(tx, 'refunds', key), isNew: true };
  });
}

/**
 * Up to `limit` records, newest first (by id, which carries the time), after the record `afterId`; of one order, if named.
 * Indexes: the primary key, or charges_order and refunds_order.
 */
export async function listPayments(
  db: Queryable,
  table: Table,
  filter: { orderId?: string | undefined; afterId?: string | undefined; limit: number },
): Promise<Payment[]> {
  const conditions = [
    ...(filter.orderId === undefined ? [] : [sql.part`order_id = ${filter.orderId}`]),
    ...(filter.afterId === undefined ? [] : [sql.part`id < ${filter.afterId}`]),
  ];
  const rows = await db.rows<PaymentRow>(sql(`payment.list-${table}`)`
    select ${columns(table)} from ${sql.identifier(table)}
    where ${sql.and(conditions)} order by id desc limit ${filter.limit}`);
  return rows.map(paymentOf);
}

type Table = 'charges' | 'refunds';

interface PaymentRow {
  id: string;
  order_id: string;
  charge_id: string | null;
  idempotency_key: string;
  amount_minor: bigint;
  currency: string;
  status: Payment['status'];
  created_at: Date;
}

/** True when the key is new. A call with the same key that is under way is waited for: its outcome decides. */
async function claimKey(
  tx: Tx,
  operation: 'charge' | 'refund',
  key: string,
  print: Buffer,
  at: Date,
): Promise<boolean> {
  const claimed = await tx.execute(sql('payment.claim-key')`
    insert into requests (operation, idempotency_key, fingerprint, created_at)
    values (${operation}, ${key}, ${print}, ${at})
    on conflict (operation, idempotency_key) do nothing`);
  if (claimed === 1) return true;
  const known = await tx.row<{ fingerprint: Buffer }>(sql('payment.find-key')`
    select fingerprint from requests where operation = ${operation} and idempotency_key = ${key}`);
  if (!known?.fingerprint.equals(print))
    throw new Fault('unprocessable', 'IDEMPOTENCY_KEY_REUSED', {
      detail: `this Idempotency-Key was used for another ${operation}: send the same body again, or a new key`,
    });
  return false;
}

async function findByKey(tx: Tx, table: Table, key: string): Promise<Payment> {
  const row = await tx.row<PaymentRow>(sql(`payment.find-in-${table}`)`
    select ${columns(table)} from ${sql.identifier(table)} where idempotency_key = ${key}`);
  return paymentOf(row!);
}

async function whyNotRefundable(tx: Tx, request: RefundRequest): Promise<Fault> {
  const charge = await tx.row<{ left_minor: bigint; status: string; currency: string }>(sql(
    'payment.left-of-charge',
  )`
    select amount_minor - refunded_minor as left_minor, status, currency from charges where id = ${request.chargeId}`);
  if (!charge)
    return new Fault('unprocessable', 'CHARGE_UNKNOWN', { detail: `there is no charge ${request.chargeId}` });
  if (charge.status === 'declined')
    return new Fault('unprocessable', 'CHARGE_NOT_REFUNDABLE', {
      detail: `charge ${request.chargeId} was declined: nothing was taken that could be given back`,
    });
  return new Fault('unprocessable', 'REFUND_TOO_LARGE', {
    detail: `amountMinor is ${request.amountMinor}, but only ${charge.left_minor} (${charge.currency}, minor units) is left of charge ${request.chargeId}`,
  });
}

const columns = (table: Table) =>
  sql.part`id, order_id, ${table === 'refunds' ? sql.part`charge_id` : sql.part`null as charge_id`}, idempotency_key,
    amount_minor, currency, status, created_at`;

function paymentOf(row: PaymentRow): Payment {
  return {
    id: row.id,
    orderId: row.order_id,
    ...(row.charge_id === null ? {} : { chargeId: row.charge_id }),
    idempotencyKey: row.idempotency_key,
    amountMinor: row.amount_minor,
    currency: row.currency,
    status: row.status,
    createdAt: row.created_at,
  };
}
