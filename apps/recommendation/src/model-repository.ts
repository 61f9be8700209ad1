import type { ActivityEvent, OrderData, ProductData, StockData } from '@headroom/contracts';
import { sql, SqlPart, type Database, type Queryable, type Tx } from '@headroom/postgres';
import {
  basketOf,
  changed,
  HALF_LIFE_DAYS,
  INTEREST_WEIGHT,
  rankNeighbours,
  type FadedSum,
  type Interest,
  type Scored,
} from '@headroom/recommend';

/** Raised with every change of the tables: a live version of another shape is learnt anew from the log. */
export const SHAPE = 1;

const DAY_MS = 24 * 3_600_000;
/** What people looked at is kept as long as the log keeps it. */
const ACTIVITY_DAYS = 30;
/** Activity lies in partitions of this many days; a whole one is dropped when all of it is too old. */
const PARTITION_DAYS = 5;
/** Partitions stand ready for this many days to come. */
const AHEAD_DAYS = 15;
/** A round takes at most so many changes, and ends early at so many pairs. */
const FOLD_CHANGES = 500;
const FOLD_PAIRS = 25_000;
/** Products whose neighbours one round works out, and partners of a product that are looked at: those met most often. */
const REFRESH_PRODUCTS = 20;
const MAX_PARTNERS = 1_000;
/** All neighbours are worked out anew when the number of orders has grown by this much since the last time. */
const SWEEP_GROWTH = 1.1;

/**
 * The tables of one version. Consumers only insert: cards, what each order stands for, what people looked at, and `changes`. One
 * process at a time adds the changes up (`fold`) and works out the neighbours of the products they touched (`refreshNeighbours`), so
 * that a product that many buy at once is rewritten once a second and nobody waits for anybody.
 *
 * What bounds them: `products` the catalogue; `counted` the orders; `pairs` 4,950 for each order and half the catalogue squared;
 * `neighbours` a row per product; `activity` 30 days, by partitions that are dropped; `changes` and `stale` what the last
 * second brought.
 */
export async function createTables(tx: Tx, schema: SqlPart): Promise<void> {
  await tx.execute(sql('model.create')`
    create table ${schema}.products (
      id uuid primary key,
      version bigint not null default 0,
      card jsonb,
      category text not null default '',
      archived boolean not null default false,
      stock_version bigint not null default 0,
      available bigint not null default 0,
      orders bigint not null default 0,
      views bigint not null default 0,
      -- logarithms of sums that fade: libs/recommend/src/forward-decay.ts
      recent double precision not null default '-infinity',
      past double precision not null default '-infinity',
      listed boolean not null generated always as (version > 0 and not archived) stored,
      in_stock boolean not null generated always as (available > 0) stored
    ) with (fillfactor = 85);
    create index products_recent on ${schema}.products (recent, id) where listed;
    create index products_past on ${schema}.products (in_stock, past, id) where listed;
    create index products_category on ${schema}.products (category, in_stock, past, id) where listed;

    create table ${schema}.counted (
      order_id uuid primary key,
      version bigint not null,
      user_id uuid,
      placed_at timestamptz not null,
      product_ids uuid[] not null
    );
    create index counted_by_user on ${schema}.counted (user_id, placed_at) where user_id is not null;

    create table ${schema}.changes (
      id bigint generated always as identity primary key,
      -- of an order its basket, of an activity one product
      product_ids uuid[] not null,
      orders smallint not null,
      views smallint not null,
      weight double precision not null,
      at timestamptz not null
    );
    create table ${schema}.pairs (
      a uuid not null,
      b uuid not null check (a < b),
      together bigint not null,
      primary key (a, b)
    );
    create index pairs_b on ${schema}.pairs (b);
    create table ${schema}.neighbours (
      product_id uuid primary key,
      ids uuid[] not null,
      scores double precision[] not null
    );
    create table ${schema}.stale (
      product_id uuid primary key,
      since timestamptz not null default clock_timestamp()
    );
    create index stale_since on ${schema}.stale (since);
    -- One row; its lock is the right to fold and to refresh.
    create table ${schema}.totals (
      orders bigint not null,
      swept_at_orders bigint not null
    );
    insert into ${schema}.totals values (0, 0);

    create table ${schema}.activity (
      at timestamptz not null,
      id uuid not null,
      actor text not null,
      product_id uuid not null,
      primary key (id, at)
    ) partition by range (at);
    create index activity_by_actor on ${schema}.activity (actor, at)`);
}

/** The state of an aggregate after its version. */
export interface Versioned<T> {
  data: T;
  version: number;
}

/** The last version of each, in the order of their ids, so that two transactions lock rows in the same order. */
function lastOfEach<T>(states: ReadonlyArray<Versioned<T>>, idOf: (data: T) => string): Array<Versioned<T>> {
  const last = new Map<string, Versioned<T>>();
  for (const state of states) {
    const known = last.get(idOf(state.data));
    if (!known || known.version < state.version) last.set(idOf(state.data), state);
  }
  return [...last].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, state]) => state);
}

/** Keeps the cards of products, unless later ones are kept. */
export async function applyProducts(
  tx: Tx,
  schema: SqlPart,
  states: ReadonlyArray<Versioned<ProductData>>,
): Promise<void> {
  const rows = lastOfEach(states, ({ id }) => id).map(({ data, version }) => ({ version, card: data }));
  await tx.execute(sql('model.products')`
    insert into ${schema}.products as known (id, version, card, category, archived)
    select (card->>'id')::uuid, version, card, card->>'category', (card->>'archived')::boolean
    from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as state (version bigint, card jsonb)
    on conflict (id) do update set version = excluded.version, card = excluded.card, category = excluded.category,
      archived = excluded.archived
    where known.version < excluded.version`);
}

/** Keeps the stock of products, unless later states are kept. */
export async function applyStocks(
  tx: Tx,
  schema: SqlPart,
  states: ReadonlyArray<Versioned<StockData>>,
): Promise<void> {
  const rows = lastOfEach(states, ({ productId }) => productId);
  await tx.execute(sql('model.stocks')`
    insert into ${schema}.products as known (id, stock_version, available)
    select * from unnest(${rows.map(({ data }) => data.productId)}::uuid[], ${rows.map(({ version }) => version)}::bigint[],
      ${rows.map(({ data }) => data.available)}::bigint[])
    on conflict (id) do update set stock_version = excluded.stock_version, available = excluded.available
    where known.stock_version < excluded.stock_version`);
}

/**
 * Counts confirmed orders, each once, and takes back those that were cancelled later. Nothing happens for a version that is not
 * newer than the one applied. Index: primary key.
 */
export async function applyOrders(
  tx: Tx,
  schema: SqlPart,
  states: ReadonlyArray<Versioned<OrderData>>,
): Promise<void> {
  const orders = lastOfEach(states, ({ id }) => id);
  const known = await tx.rows<{ order_id: string; version: bigint; product_ids: string[] }>(sql(
    'model.counted',
  )`
    select order_id, version, product_ids from ${schema}.counted
    where order_id = any(${orders.map(({ data }) => data.id)}::uuid[]) order by order_id for update`);
  const before = new Map(known.map((row) => [row.order_id, row]));
  const counted: object[] = [];
  const changes: object[] = [];
  for (const { data: order, version } of orders) {
    const last = before.get(order.id);
    const confirmed = order.status === 'confirmed';
    if (last ? last.version >= BigInt(version) : !confirmed) continue;
    const product_ids = confirmed ? [...new Set(order.items.map((item) => item.productId))].sort() : [];
    counted.push({
      order_id: order.id,
      version,
      user_id: order.userId,
      placed_at: order.placedAt,
      product_ids,
    });
    const wasConfirmed = last !== undefined && last.product_ids.length > 0;
    if (wasConfirmed === confirmed) continue;
    const orders = confirmed ? 1 : -1;
    changes.push({
      product_ids: basketOf(order.id, confirmed ? product_ids : last!.product_ids),
      orders,
      weight: orders * INTEREST_WEIGHT.purchase,
      at: order.placedAt,
    });
  }
  if (counted.length === 0) return;
  await tx.execute(sql('model.count')`
    insert into ${schema}.counted (order_id, version, user_id, placed_at, product_ids)
    select * from jsonb_to_recordset(${JSON.stringify(counted)}::jsonb)
      as state (order_id uuid, version bigint, user_id uuid, placed_at timestamptz, product_ids uuid[])
    on conflict (order_id) do update set version = excluded.version, product_ids = excluded.product_ids`);
  await tx.execute(sql('model.note-orders')`
    insert into ${schema}.changes (product_ids, orders, views, weight, at)
    select product_ids, orders, 0, weight, at from jsonb_to_recordset(${JSON.stringify(changes)}::jsonb)
      as change (product_ids uuid[], orders int, weight float8, at timestamptz)`);
}

/** Keeps what people looked at, once by the event's id. What is older than the retention is left out. */
export async function applyActivities(
  tx: Tx,
  schema: SqlPart,
  events: readonly ActivityEvent[],
  nowMs: number,
): Promise<void> {
  const rows = events
    .map(({ id, time, data }) => ({
      id,
      at: new Date(Math.min(Date.parse(time), nowMs)),
      actor: actorOf(data),
      product_id: data.productId,
      views: data.type === 'view' ? 1 : 0,
    }))
    .filter(({ at }) => at.getTime() >= oldestKeptMs(nowMs));
  if (rows.length === 0) return;
  await tx.execute(sql('model.activities')`
    with seen as (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
        as event (id uuid, at timestamptz, actor text, product_id uuid, views int)),
    added as (
      insert into ${schema}.activity (at, id, actor, product_id) select at, id, actor, product_id from seen
      on conflict do nothing returning id)
    insert into ${schema}.changes (product_ids, orders, views, weight, at)
    select distinct on (id) array[product_id], 0, views, ${INTEREST_WEIGHT.activity}::float8, at
    from added join seen using (id)`);
}

/** Users and guests have ids of different kinds: neither can pass for the other. */
export const actorOf = ({ userId, guestId }: { userId: string | null; guestId: string | null }): string =>
  userId === null ? `guest/${guestId}` : `user/${userId}`;

const oldestKeptMs = (nowMs: number) => nowMs - ACTIVITY_DAYS * DAY_MS;

/** The partitions of activity that should be there: from the oldest kept to some days ahead. */
function partitionsAt(nowMs: number): Array<{ name: string; from: Date; to: Date }> {
  const first = Math.floor(oldestKeptMs(nowMs) / DAY_MS / PARTITION_DAYS);
  const last = Math.floor((nowMs / DAY_MS + AHEAD_DAYS) / PARTITION_DAYS);
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const from = new Date((first + index) * PARTITION_DAYS * DAY_MS);
    const name = `activity_${from.toISOString().slice(0, 10).replaceAll('-', '')}`;
    return { name, from, to: new Date(from.getTime() + PARTITION_DAYS * DAY_MS) };
  });
}

/** Makes the partitions of activity that are missing and drops those whose time is over; one process at a time. */
export async function keepPartitions(
  db: Database,
  { schema, name: schemaName }: { schema: SqlPart; name: string },
  nowMs: number,
): Promise<void> {
  const wanted = partitionsAt(nowMs);
  const found = () =>
    db.rows<{ name: string }>(sql('model.partitions')`
      select child.relname as name from pg_inherits
      join pg_class child on child.oid = inhrelid join pg_class parent on parent.oid = inhparent
      join pg_namespace n on n.oid = parent.relnamespace
      where n.nspname = ${schemaName} and parent.relname = 'activity'`);
  const names = new Set((await found()).map(({ name }) => name));
  const missing = wanted.filter(({ name }) => !names.has(name));
  const over = [...names].filter((name) => name < wanted[0]!.name);
  if (missing.length + over.length === 0) return;
  await db.transaction(async (tx) => {
    await lockTotals(tx, schema);
    for (const { name, from, to } of missing)
      await tx.execute(sql('model.add-partition')`
        create table if not exists ${schema}.${sql.identifier(name)} partition of ${schema}.activity
        for values from (${literal(from)}) to (${literal(to)})`);
    for (const name of over)
      await tx.execute(sql('model.drop-partition')`drop table if exists ${schema}.${sql.identifier(name)}`);
  });
}

/** A bound of a partition cannot be a parameter. */
const literal = (date: Date): SqlPart => new SqlPart([`'${date.toISOString()}'`], []);

/** Waits for whoever folds or refreshes. */
const lockTotals = (tx: Tx, schema: SqlPart) =>
  tx.row<{ orders: bigint; swept_at_orders: bigint }>(sql('model.lock-totals')`
    select orders, swept_at_orders from ${schema}.totals for update`);

/** As `lockTotals`, or undefined when another process is at work. */
const tryTotals = (tx: Tx, schema: SqlPart) =>
  tx.row<{ orders: bigint; swept_at_orders: bigint }>(sql('model.try-totals')`
    select orders, swept_at_orders from ${schema}.totals for update skip locked`);

interface ChangeRow {
  id: bigint;
  product_ids: string[];
  orders: number;
  views: number;
  weight: number;
  at: Date;
}

/**
 * Adds the oldest changes to the counters of products and pairs, and marks the products whose neighbours may be others now.
 * Returns how many changes were added; 0 also while another process does so. A consumer that writes the cards of the same
 * products may stand in a deadlock with this: whoever loses runs again.
 */
export async function fold(db: Database, schema: SqlPart): Promise<number> {
  const work = async (tx: Tx) => {
    if (!(await tryTotals(tx, schema))) return 0;
    const changes = await tx.rows<ChangeRow>(sql('model.take-changes')`
      delete from ${schema}.changes where id in (
        select id from (
          select id, sum(cardinality(product_ids) * (cardinality(product_ids) - 1) / 2)
            over (order by id) - cardinality(product_ids) * (cardinality(product_ids) - 1) / 2 as pairs_before
          from (select id, product_ids from ${schema}.changes order by id limit ${FOLD_CHANGES}) as oldest) as sized
        where pairs_before < ${FOLD_PAIRS})
      returning id, product_ids, orders, views, weight, at`);
    if (changes.length === 0) return 0;
    changes.sort((a, b) => (a.id < b.id ? -1 : 1));
    await addToProducts(tx, schema, changes);
    const orders = changes.filter((change) => change.orders !== 0);
    if (orders.length > 0) await addToPairs(tx, schema, orders);
    return changes.length;
  };
  return db.transaction(work, { retry: true });
}

async function addToProducts(tx: Tx, schema: SqlPart, changes: readonly ChangeRow[]): Promise<void> {
  const byProduct = new Map<string, ChangeRow[]>();
  for (const change of changes)
    for (const id of change.product_ids) {
      const known = byProduct.get(id);
      if (known) known.push(change);
      else byProduct.set(id, [change]);
    }
  const ids = [...byProduct.keys()].sort();
  await tx.execute(sql('model.add-stubs')`
    insert into ${schema}.products (id) select unnest(${ids}::uuid[]) order by 1 on conflict do nothing`);
  const sums = await tx.rows<{ id: string; recent: FadedSum; past: FadedSum }>(sql('model.lock-products')`
    select id, recent, past from ${schema}.products where id = any(${ids}::uuid[]) order by id for update`);
  const rows = sums.map(({ id, recent, past }) => {
    const own = byProduct.get(id)!;
    const weights = own.map((change) => ({ weight: change.weight, atMs: change.at.getTime() }));
    return {
      id,
      orders: own.reduce((sum, change) => sum + change.orders, 0),
      views: own.reduce((sum, change) => sum + change.views, 0),
      recent: changed(recent, weights, HALF_LIFE_DAYS.recent),
      past: changed(past, weights, HALF_LIFE_DAYS.past),
    };
  });
  await tx.execute(sql('model.add-to-products')`
    update ${schema}.products as known set orders = known.orders + change.orders, views = known.views + change.views,
      recent = change.recent, past = change.past
    from unnest(${rows.map((row) => row.id)}::uuid[], ${rows.map((row) => row.orders)}::bigint[],
      ${rows.map((row) => row.views)}::bigint[], ${rows.map((row) => row.recent)}::float8[],
      ${rows.map((row) => row.past)}::float8[]) as change (id, orders, views, recent, past)
    where known.id = change.id`);
}

async function addToPairs(tx: Tx, schema: SqlPart, changes: readonly ChangeRow[]): Promise<void> {
  const baskets = JSON.stringify(changes.map(({ product_ids, orders }) => ({ product_ids, orders })));
  const taken = sql.part`jsonb_to_recordset(${baskets}::jsonb) as basket (product_ids uuid[], orders int)`;
  await tx.execute(sql('model.add-to-pairs')`
    insert into ${schema}.pairs as known (a, b, together)
    select a, b, sum(orders) from ${taken}, unnest(product_ids) as a, unnest(product_ids) as b
    where a < b group by a, b having sum(orders) <> 0
    on conflict (a, b) do update set together = known.together + excluded.together`);
  if (changes.some(({ orders }) => orders < 0))
    await tx.execute(sql('model.forget-pairs')`
      delete from ${schema}.pairs as known using (
        select distinct a, b from ${taken}, unnest(product_ids) as a, unnest(product_ids) as b where a < b and orders < 0) as gone
      where known.a = gone.a and known.b = gone.b and known.together = 0`);
  await tx.execute(sql('model.mark-stale')`
    insert into ${schema}.stale (product_id) select distinct unnest(product_ids) from ${taken} order by 1
    on conflict do nothing`);
  await tx.execute(sql('model.add-orders')`
    update ${schema}.totals set orders = orders + ${changes.reduce((sum, { orders }) => sum + orders, 0)}::int`);
}

/**
 * Works out the neighbours of the products that have waited longest since an order touched them; a read is then one look-up.
 * Returns how many were worked out; 0 also while another process does so. Indexes: stale_since; pairs by primary key and
 * pairs_b, one range for each product.
 */
export function refreshNeighbours(db: Database, schema: SqlPart): Promise<number> {
  return db.transaction(async (tx) => {
    const totals = await tryTotals(tx, schema);
    if (!totals) return 0;
    const taken = await tx.rows<{ product_id: string }>(sql('model.take-stale')`
      delete from ${schema}.stale where product_id in (
        select product_id from ${schema}.stale order by since, product_id limit ${REFRESH_PRODUCTS})
      returning product_id`);
    if (taken.length === 0) return 0;
    const ids = taken.map((row) => row.product_id).sort();
    const partners = await tx.rows<{
      product_id: string;
      one: bigint;
      id: string;
      together: bigint;
      orders: bigint;
    }>(sql('model.partners')`
      select own.id as product_id, own.orders as one, met.id, met.together, partner.orders
      from ${schema}.products own
      cross join lateral (
        select id, together from (
          select b as id, together from ${schema}.pairs where a = own.id
          union all select a, together from ${schema}.pairs where b = own.id) as either
        order by together desc, id limit ${MAX_PARTNERS}) as met
      join ${schema}.products partner on partner.id = met.id
      where own.id = any(${ids}::uuid[])`);
    const byProduct = new Map(ids.map((id) => [id, [] as typeof partners]));
    for (const row of partners) byProduct.get(row.product_id)!.push(row);
    const rows = ids.map((id) => {
      const met = byProduct.get(id)!;
      const ranked = rankNeighbours(
        Number(met[0]?.one ?? 0n),
        met.map((each) => ({
          id: each.id,
          together: Number(each.together),
          orders: Number(each.orders),
        })),
        Number(totals.orders),
      );
      return { product_id: id, ids: ranked.map((each) => each.id), scores: ranked.map((each) => each.score) };
    });
    await tx.execute(sql('model.keep-neighbours')`
      insert into ${schema}.neighbours (product_id, ids, scores)
      select product_id, ids, scores
      from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as found (product_id uuid, ids uuid[], scores float8[])
      on conflict (product_id) do update set ids = excluded.ids, scores = excluded.scores`);
    return rows.length;
  });
}

/**
 * Has all neighbours worked out anew once there are a tenth more orders than at the last time: what a meeting means depends on
 * the orders that a product was not in, too. Returns how many products were marked.
 */
export function sweepWhenGrown(db: Database, schema: SqlPart): Promise<number> {
  return db.transaction(async (tx) => {
    const totals = await tryTotals(tx, schema);
    if (!totals || Number(totals.orders) <= Number(totals.swept_at_orders) * SWEEP_GROWTH) return 0;
    return markAllStale(tx, schema);
  });
}

/** Has the neighbours of every product that was ever bought worked out anew. */
export async function markAllStale(db: Queryable, schema: SqlPart): Promise<number> {
  await db.execute(sql('model.swept')`update ${schema}.totals set swept_at_orders = orders`);
  return db.execute(sql('model.mark-all-stale')`
    insert into ${schema}.stale (product_id) select id from ${schema}.products where orders > 0 order by id
    on conflict do nothing`);
}

/** True when no change waits to be added and no product for its neighbours. */
export async function isSettled(db: Queryable, schema: SqlPart): Promise<boolean> {
  const row = await db.row<{ settled: boolean }>(sql('model.settled')`
    select not exists (select from ${schema}.changes) and not exists (select from ${schema}.stale) as settled`);
  return row!.settled;
}

/** A product as the lists show it. */
export interface CardRow {
  id: string;
  card: ProductData;
  version: bigint;
  available: bigint;
}

const CARD = sql.part`id, card, version, available`;

/** A listed product, or undefined. Index: primary key. */
export function findListed(db: Queryable, schema: SqlPart, id: string): Promise<CardRow | undefined> {
  return db.row(sql('model.find-listed')`
    select ${CARD} from ${schema}.products where id = ${id} and listed`);
}

/** The listed ones of these products, in the order given. Index: primary key. */
export async function listCards(db: Queryable, schema: SqlPart, ids: readonly string[]): Promise<CardRow[]> {
  const rows = await db.rows<CardRow>(sql('model.list-cards')`
    select ${CARD} from ${schema}.products where id = any(${ids}::uuid[]) and listed`);
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** The neighbours of a product, best first, listed ones alone. Index: primary keys. */
export function listNeighbours(
  db: Queryable,
  schema: SqlPart,
  id: string,
  limit: number,
): Promise<CardRow[]> {
  return db.rows(sql('model.list-neighbours')`
    select p.id, p.card, p.version, p.available
    from ${schema}.neighbours n cross join lateral unnest(n.ids) with ordinality as near (id, place)
    join ${schema}.products p on p.id = near.id
    where n.product_id = ${id} and p.listed
    order by p.in_stock desc, near.place limit ${limit}`);
}

/** The neighbours of several products with their scores. Index: primary key. */
export async function neighboursOf(
  db: Queryable,
  schema: SqlPart,
  ids: readonly string[],
): Promise<Map<string, Scored[]>> {
  const rows = await db.rows<{ product_id: string; ids: string[]; scores: number[] }>(sql(
    'model.neighbours-of',
  )`
    select product_id, ids, scores from ${schema}.neighbours where product_id = any(${ids}::uuid[])`);
  return new Map(
    rows.map((row) => [row.product_id, row.ids.map((id, index) => ({ id, score: row.scores[index]! }))]),
  );
}

/**
 * What draws most interest of late (half-life 30 days), in stock first, in one category or everywhere. Index: products_past,
 * products_category.
 */
export function listPopular(
  db: Queryable,
  schema: SqlPart,
  { category, limit }: { category?: string; limit: number },
): Promise<CardRow[]> {
  const within = category === undefined ? sql.empty : sql.part`and category = ${category}`;
  return db.rows(sql('model.list-popular')`
    select ${CARD} from ${schema}.products where listed ${within}
    order by in_stock desc, past desc, id desc limit ${limit}`);
}

/** The products that draw most interest now (half-life 3 days), with both sums. Index: products_recent. */
export function listMostRecent(
  db: Queryable,
  schema: SqlPart,
  limit: number,
): Promise<Array<CardRow & { recent: FadedSum; past: FadedSum }>> {
  return db.rows(sql('model.list-recent')`
    select ${CARD}, recent, past from ${schema}.products where listed and recent > '-infinity'
    order by recent desc, id desc limit ${limit}`);
}

/**
 * What a user bought and looked at lately, newest first: the last orders and the last activities. Indexes: counted_by_user,
 * activity_by_actor in the partitions of the retention.
 */
export async function historyOf(
  db: Queryable,
  schema: SqlPart,
  userId: string,
  { orders, activities, nowMs }: { orders: number; activities: number; nowMs: number },
): Promise<Interest[]> {
  const bought = await db.rows<{ product_ids: string[]; placed_at: Date }>(sql('model.bought')`
    select product_ids, placed_at from ${schema}.counted
    where user_id = ${userId} order by placed_at desc limit ${orders}`);
  const seen = await db.rows<{ product_id: string; at: Date }>(sql('model.seen')`
    select product_id, at from ${schema}.activity
    where actor = ${actorOf({ userId, guestId: null })} and at between ${new Date(oldestKeptMs(nowMs))} and ${new Date(nowMs + DAY_MS)}
    order by at desc limit ${activities}`);
  return [
    ...bought.flatMap((order) =>
      order.product_ids.map((productId) => ({
        productId,
        kind: 'purchase' as const,
        atMs: order.placed_at.getTime(),
      })),
    ),
    ...seen.map((row) => ({ productId: row.product_id, kind: 'view' as const, atMs: row.at.getTime() })),
  ];
}

/** Which of these products exist, archived ones too. Index: primary key. */
export async function knownProducts(
  db: Queryable,
  schema: SqlPart,
  ids: readonly string[],
): Promise<Set<string>> {
  const rows = await db.rows<{ id: string }>(sql('model.known')`
    select id from ${schema}.products where id = any(${ids}::uuid[]) and version > 0`);
  return new Set(rows.map((row) => row.id));
}
