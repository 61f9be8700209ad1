import {
  countRows,
  sql,
  type ListTotal,
  type Queryable,
  type SqlPart,
  type Statement,
  type Tx,
} from '@headroom/postgres';
import type { HeldLine, Hold, HoldState, LedgerReason, Stock } from './stock';

/** Units wanted of a product, from one bucket; `bucket` null: from as many as it needs. */
export interface Wanted {
  productId: string;
  bucket: number | null;
  quantity: number;
}

/** The outcome of trying to take units. */
export interface Taking {
  /** False: some product had too few in the rows looked at, and nothing was taken of any. */
  complete: boolean;
  /** How long the statement waited for the row locks of each product, measured by the server. */
  waits: Array<{ productId: string; waitedMs: number }>;
}

/** One change of the units on hand. */
export interface LedgerEntry {
  id: string;
  delta: bigint;
  reason: LedgerReason;
  orderId: string | null;
  at: Date;
}

// One product's stock

/** Gives new products their opening stock, published as version 1: one bucket, and a ledger entry where there is any unit. */
export async function insertStock(
  tx: Tx,
  stock: ReadonlyArray<{ productId: string; onHand: bigint; atMs: number }>,
): Promise<void> {
  await tx.execute(sql('stock.insert')`
    with opening as (
      select * from unnest(${stock.map((each) => each.productId)}::uuid[], ${stock.map((each) => each.onHand)}::bigint[],
        ${stock.map((each) => new Date(each.atMs))}::timestamptz[]) as o (product_id, on_hand, at)
    ), published as (
      insert into stock (product_id, version, published_at) select product_id, 1, at from opening
    ), filled as (
      insert into stock_buckets (product_id, bucket, available) select product_id, 0, on_hand from opening
    )
    insert into stock_ledger (product_id, delta, reason, at)
    select product_id, on_hand, 'opening', at from opening where on_hand > 0`);
}

const sums = sql.part`
  (select coalesce(sum(b.available), 0)::bigint from stock_buckets b where b.product_id = s.product_id) as available,
  (select coalesce(sum(u.quantity), 0)::bigint from held_units u where u.product_id = s.product_id) as held`;

interface StockRow {
  product_id: string;
  available: bigint;
  held: bigint;
  version: bigint;
}
const toStock = ({ product_id: productId, available, held, version }: StockRow): Stock => ({
  productId,
  available,
  held,
  version,
});

/** A product's units, all of one moment. Indexes: primary keys, held_units_by_product. */
export async function findStock(db: Queryable, productId: string): Promise<Stock | undefined> {
  const row = await db.row<StockRow>(
    sql('stock.find')`select s.product_id, s.version, ${sums} from stock s where s.product_id = ${productId}`,
  );
  return row && toStock(row);
}

/** Locks the stock against publication, correction and split, but not against sales; undefined for an unknown product. */
export async function lockStock(tx: Tx, productId: string): Promise<{ version: bigint } | undefined> {
  return tx.row<{ version: bigint }>(
    sql('stock.lock')`select version from stock where product_id = ${productId} for update`,
  );
}

/** Locks the buckets of a product, whose stock the caller has locked, and reads them, from bucket 0. */
export async function lockBuckets(tx: Tx, productId: string): Promise<bigint[]> {
  const rows = await tx.rows<{ available: bigint }>(
    sql('stock.lock-buckets')`
      select available from stock_buckets where product_id = ${productId} order by bucket for update`,
  );
  return rows.map(({ available }) => available);
}

/** The units of a product that are held. Exact as long as the caller has the buckets locked, but for sales: those end holds. */
export async function sumHeld(tx: Tx, productId: string): Promise<bigint> {
  const row = await tx.row<{ held: bigint }>(
    sql(
      'stock.held',
    )`select coalesce(sum(quantity), 0)::bigint as held from held_units where product_id = ${productId}`,
  );
  return row!.held;
}

/** Writes what buckets hold, from bucket 0, and adds those that do not exist yet. The caller has them locked. */
export async function writeBuckets(tx: Tx, productId: string, available: readonly bigint[]): Promise<void> {
  await tx.execute(sql('stock.write-buckets')`
    insert into stock_buckets (product_id, bucket, available)
    select ${productId}::uuid, n - 1, available from unnest(${available}::bigint[]) with ordinality as b (available, n)
    on conflict (product_id, bucket) do update set available = excluded.available`);
}

/** Enters a correction, unless it is none, and marks the stock for publication in either case. */
export async function enterCorrection(tx: Tx, productId: string, delta: bigint, atMs: number): Promise<void> {
  await tx.execute(sql('stock.correct')`
    with entered as (
      insert into stock_ledger (product_id, delta, reason, at)
      select ${productId}::uuid, ${delta}::bigint, 'correction', ${new Date(atMs)}::timestamptz where ${delta}::bigint <> 0
    )
    insert into stock_marks (product_id) values (${productId})`);
}

/** At most `limit` entries behind `afterId`, newest first. Index: stock_ledger_by_product. */
export async function listLedger(
  db: Queryable,
  { productId, afterId, limit }: { productId: string; afterId: string; limit: number },
): Promise<LedgerEntry[]> {
  const behind = afterId === '' ? sql.empty : sql.part`and id < ${afterId}`;
  return db.rows<LedgerEntry>(sql('stock.ledger')`
    select id, delta, reason, order_id as "orderId", at from stock_ledger
    where product_id = ${productId} ${behind} order by id desc limit ${limit}`);
}

/** The number of entries of a product. */
export function countLedger(db: Queryable, productId: string): Promise<ListTotal> {
  return countRows(db, 'stock.ledger', sql.part`stock_ledger where product_id = ${productId}`);
}

// Publication

/**
 * Locks at most `limit` products whose stock was marked and that were not published since `before`; those that someone else
 * has locked are left for later, so that nobody waits here. Indexes: stock_marks_by_product, primary key.
 */
export async function lockMarked(
  tx: Tx,
  { beforeMs, limit }: { beforeMs: number; limit: number },
): Promise<string[]> {
  const rows = await tx.rows<{ product_id: string }>(sql('stock.lock-marked')`
    select s.product_id from (select distinct product_id from stock_marks) m join stock s using (product_id)
    where s.published_at <= ${new Date(beforeMs)} limit ${limit} for update of s skip locked`);
  return rows.map((row) => row.product_id);
}

/** Deletes the marks committed so far. A change that commits later leaves another one. */
export async function deleteMarks(tx: Tx, productIds: readonly string[]): Promise<void> {
  await tx.execute(sql('stock.delete-marks')`
    delete from stock_marks where product_id = any(${productIds}::uuid[])`);
}

/** Raises the version of each product's stock and reads it. After deleteMarks, and as a statement of its own: it sees what marked. */
export async function nextStocks(tx: Tx, productIds: readonly string[], atMs: number): Promise<Stock[]> {
  const rows = await tx.rows<StockRow>(sql('stock.publish')`
    update stock s set version = s.version + 1, published_at = ${new Date(atMs)}
    where s.product_id = any(${productIds}::uuid[])
    returning s.product_id, s.version, ${sums}`);
  return rows.map(toStock);
}

// Holds

/**
 * The heart of every take, as the first parts of a statement. Locks the rows in the order of product and bucket, counts what
 * each can give, and decrements only if every product gets all it needs; then `whole.complete` is true. The decrement is
 * conditional besides, and the table's check stands behind it. A bucket made after the statement began is not seen, so an
 * incomplete take says nothing about the product: only a fresh read of the buckets does.
 */
function taking(orderId: string, wanted: readonly Wanted[]): SqlPart {
  return sql.part`
    wanted as (
      select * from unnest(${wanted.map((each) => each.productId)}::uuid[], ${wanted.map((each) => each.bucket)}::smallint[],
        ${wanted.map((each) => each.quantity)}::bigint[]) as w (product_id, bucket, quantity)
    ), locked as materialized (
      select l.*, clock_timestamp() as locked_at
      from (
        select b.product_id, b.bucket, b.available, w.quantity
        from wanted w join stock_buckets b on b.product_id = w.product_id and b.bucket = coalesce(w.bucket, b.bucket)
        order by b.product_id, b.bucket
        for update of b
      ) as l
    ), shares as (
      select product_id, bucket, quantity,
        least(available, greatest(quantity - coalesce(sum(available) over earlier, 0), 0))::bigint as share,
        locked_at - coalesce(lag(locked_at) over (order by product_id, bucket), statement_timestamp()) as waited
      from locked
      window earlier as (partition by product_id order by bucket rows between unbounded preceding and 1 preceding)
    ), products_taken as (
      select product_id, sum(share) = min(quantity) as complete, sum(waited) as waited from shares group by product_id
    ), whole as (
      select count(*) = ${wanted.length} and bool_and(complete) as complete from products_taken
    ), taken as (
      update stock_buckets b set available = b.available - s.share
      from shares s
      where b.product_id = s.product_id and b.bucket = s.bucket and s.share > 0 and b.available >= s.share
        and (select complete from whole)
      returning b.product_id, b.bucket, s.share
    ), kept as (
      insert into held_units (order_id, product_id, bucket, quantity)
      select ${orderId}::uuid, product_id, bucket, share from taken
    ), marked as (
      insert into stock_marks (product_id) select distinct product_id from taken
    )`;
}

const takingResult = sql.part`
  select product_id as "productId", (select complete from whole) as complete,
    (extract(epoch from waited) * 1000)::float8 as "waitedMs"
  from products_taken`;

const toTaking = (rows: Array<{ productId: string; waitedMs: number; complete: boolean }>): Taking => ({
  complete: rows[0]?.complete === true,
  waits: rows,
});

/**
 * Takes all units wanted and records the hold, or does nothing, in one statement and one round trip: the rows stay locked only
 * while the server writes and commits. A unique violation when the order has a hold on record.
 */
export async function takeHold(
  db: Queryable,
  hold: Hold,
  wanted: readonly Wanted[],
  atMs: number,
): Promise<Taking> {
  const [only, ...others] = wanted;
  const oneRow = only && only.bucket !== null && others.length === 0;
  return toTaking(await db.rows(oneRow ? takeFromRow(hold, only, atMs) : takeFromRows(hold, wanted, atMs)));
}

const recorded = (hold: Hold, atMs: number): SqlPart => sql.part`
  ${hold.orderId}::uuid, 'held', ${linesJson(hold.lines)}::jsonb, ${new Date(hold.expiresAtMs)}::timestamptz,
  ${new Date(atMs)}::timestamptz`;

function takeFromRows(hold: Hold, wanted: readonly Wanted[], atMs: number): Statement {
  return sql('hold.take')`
    with ${taking(hold.orderId, wanted)}, recorded as (
      insert into holds (order_id, state, lines, expires_at, changed_at)
      select ${recorded(hold, atMs)} from whole where complete
    )
    ${takingResult}`;
}

/**
 * The same for one product and one bucket, as a product that many want at once is usually bought: half the work for the server
 * (0.45 ms instead of 0.83, measured in November 2026 with an idle row), and the row is locked for less of it.
 */
function takeFromRow(hold: Hold, { productId, bucket, quantity }: Wanted, atMs: number): Statement {
  return sql('hold.take-one')`
    with taken as (
      update stock_buckets set available = available - ${quantity}
      where product_id = ${productId} and bucket = ${bucket} and available >= ${quantity}
      returning clock_timestamp() - statement_timestamp() as waited
    ), recorded as (
      insert into holds (order_id, state, lines, expires_at, changed_at)
      select ${recorded(hold, atMs)} from taken
    ), kept as (
      insert into held_units (order_id, product_id, bucket, quantity)
      select ${hold.orderId}::uuid, ${productId}::uuid, ${bucket}::smallint, ${quantity}::bigint from taken
    ), marked as (
      insert into stock_marks (product_id) select ${productId}::uuid from taken
    )
    select ${productId}::uuid as "productId", true as complete, (extract(epoch from waited) * 1000)::float8 as "waitedMs"
    from taken`;
}

/** Takes the units of an expired hold, whose row the caller has locked, once more, or does nothing. */
export async function retakeHold(
  tx: Tx,
  orderId: string,
  wanted: readonly Wanted[],
  atMs: number,
): Promise<Taking> {
  return toTaking(
    await tx.rows(sql('hold.retake')`
      with ${taking(orderId, wanted)}, recorded as (
        update holds set state = 'held', changed_at = ${new Date(atMs)}
        where order_id = ${orderId} and state = 'expired' and (select complete from whole)
      )
      ${takingResult}`),
  );
}

/**
 * Puts the units of `source` (product_id, bucket, quantity) back, as parts of a statement, with the rows locked in the order of
 * product and bucket.
 */
const givingBack = (source: SqlPart): SqlPart => sql.part`
    units as (
      select product_id, bucket, sum(quantity)::bigint as quantity from ${source} group by product_id, bucket
    ), locked as materialized (
      select b.product_id, b.bucket, units.quantity
      from units join stock_buckets b on b.product_id = units.product_id and b.bucket = units.bucket
      order by b.product_id, b.bucket
      for update of b
    ), returned as (
      update stock_buckets b set available = b.available + l.quantity
      from locked l where b.product_id = l.product_id and b.bucket = l.bucket
      returning b.product_id
    ), marked as (
      insert into stock_marks (product_id) select distinct product_id from returned
    )`;

const unitsOfEnded = sql.part`
    gone as (
      delete from held_units u using ended where u.order_id = ended.order_id
      returning u.product_id, u.bucket, u.quantity
    )`;

/** Ends the hold of an order, if it is held, as a sale: the units leave what is on hand. True when it did. */
export async function sellHold(db: Queryable, orderId: string, atMs: number): Promise<boolean> {
  const row = await db.row(sql('hold.sell')`
    with ended as (
      update holds set state = 'confirmed', changed_at = ${new Date(atMs)}
      where order_id = ${orderId} and state = 'held' returning order_id
    ), ${unitsOfEnded}, sold as (
      select product_id, sum(quantity)::bigint as quantity from gone group by product_id
    ), entered as (
      insert into stock_ledger (product_id, delta, reason, order_id, at)
      select product_id, -quantity, 'sale', ${orderId}::uuid, ${new Date(atMs)}::timestamptz from sold
    ), marked as (
      insert into stock_marks (product_id) select product_id from sold
    )
    select 1 from ended`);
  return row !== undefined;
}

/** Ends the hold of an order for good and gives its units back, unless it was sold or released before. True when it did. */
export async function releaseHold(db: Queryable, orderId: string, atMs: number): Promise<boolean> {
  const row = await db.row(sql('hold.release')`
    with ended as (
      update holds set state = 'released', changed_at = ${new Date(atMs)}
      where order_id = ${orderId} and state in ('held', 'expired') returning order_id
    ), ${unitsOfEnded}, ${givingBack(sql.part`gone`)}
    select 1 from ended`);
  return row !== undefined;
}

/** Records that an order has released what it never held, so that it never will. False when it has a hold on record. */
export async function insertReleased(db: Queryable, orderId: string, atMs: number): Promise<boolean> {
  const at = new Date(atMs);
  const inserted = await db.execute(sql('hold.insert-released')`
    insert into holds (order_id, state, lines, expires_at, changed_at)
    values (${orderId}, 'released', '[]', ${at}, ${at}) on conflict (order_id) do nothing`);
  return inserted === 1;
}

/**
 * Puts the units of a confirmed sale back on hand, into the first bucket of each product. True when it did, false when the
 * order has no confirmed hold.
 */
export async function returnSold(db: Queryable, orderId: string, atMs: number): Promise<boolean> {
  const row = await db.row(sql('hold.return')`
    with ended as (
      update holds set state = 'returned', changed_at = ${new Date(atMs)}
      where order_id = ${orderId} and state = 'confirmed' returning lines
    ), lines as (
      select (line ->> 'productId')::uuid as product_id, 0::smallint as bucket, (line ->> 'quantity')::bigint as quantity
      from ended, jsonb_array_elements(ended.lines) as line
    ), ${givingBack(sql.part`lines`)}, entered as (
      insert into stock_ledger (product_id, delta, reason, order_id, at)
      select product_id, quantity, 'return', ${orderId}::uuid, ${new Date(atMs)}::timestamptz from units
    )
    select 1 from ended`);
  return row !== undefined;
}

/**
 * Ends at most `limit` holds whose time has run out and gives their units back, longest overdue first; those that another
 * process is at are skipped. Returns how many ended. Index: holds_due.
 */
export async function expireHolds(
  db: Queryable,
  { nowMs, limit }: { nowMs: number; limit: number },
): Promise<number> {
  const row = await db.row<{ count: bigint }>(sql('hold.expire')`
    with due as materialized (
      select order_id from holds where state = 'held' and expires_at <= ${new Date(nowMs)}
      order by expires_at limit ${limit} for update skip locked
    ), ended as (
      update holds h set state = 'expired', changed_at = ${new Date(nowMs)}
      from due where h.order_id = due.order_id returning h.order_id
    ), ${unitsOfEnded}, ${givingBack(sql.part`gone`)}
    select count(*) from ended`);
  return Number(row!.count);
}

interface HoldRow {
  order_id: string;
  state: HoldState;
  lines: Array<Omit<HeldLine, 'unitPriceMinor'> & { unitPriceMinor: number }>;
  expires_at: Date;
}
const toHold = (row: HoldRow): Hold => ({
  orderId: row.order_id,
  state: row.state,
  lines: row.lines.map((line) => ({ ...line, unitPriceMinor: BigInt(line.unitPriceMinor) })),
  expiresAtMs: row.expires_at.getTime(),
});
const linesJson = (lines: readonly HeldLine[]): string =>
  JSON.stringify(lines.map((line) => ({ ...line, unitPriceMinor: Number(line.unitPriceMinor) })));

/** The hold of an order as committed last. Index: primary key. */
export async function findHold(db: Queryable, orderId: string): Promise<Hold | undefined> {
  const row = await db.row<HoldRow>(
    sql('hold.find')`select order_id, state, lines, expires_at from holds where order_id = ${orderId}`,
  );
  return row && toHold(row);
}

/** As findHold, under the row lock that everything which ends a hold takes first. */
export async function lockHold(tx: Tx, orderId: string): Promise<Hold | undefined> {
  const row = await tx.row<HoldRow>(
    sql(
      'hold.lock',
    )`select order_id, state, lines, expires_at from holds where order_id = ${orderId} for update`,
  );
  return row && toHold(row);
}
