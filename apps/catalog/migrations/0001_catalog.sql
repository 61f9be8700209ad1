create table products (
  id uuid primary key,
  slug text not null constraint products_slug unique,
  -- of archived products too: old orders name it
  sku text not null constraint products_sku unique,
  name text not null,
  description text not null,
  category text not null,
  price_minor bigint not null check (price_minor >= 0),
  currency text not null,
  image_url text not null,
  archived boolean not null default false,
  version bigint not null check (version > 0),
  created_at timestamptz not null,
  updated_at timestamptz not null
);

-- The stock of a product as an aggregate of its own: its row is locked by whoever publishes or corrects it, never by a sale.
create table stock (
  product_id uuid primary key references products,
  -- what was published last, and when
  version bigint not null check (version > 0),
  published_at timestamptz not null
) with (fillfactor = 70);

-- The units that can be sold. A product that many buy at once has them in several rows, numbered from 0, which only ever
-- become more. Rows of several products are locked in the order of product and bucket, by everyone.
create table stock_buckets (
  product_id uuid not null references products,
  bucket smallint not null,
  available bigint not null check (available >= 0),
  primary key (product_id, bucket)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- One row per order, kept after the hold has ended: it tells a repeated call from a first one. `lines` are what was asked for
-- at the prices of that moment; empty where a release came before any hold.
create table holds (
  order_id uuid primary key,
  state text not null check (state in ('held', 'expired', 'confirmed', 'released', 'returned')),
  lines jsonb not null,
  expires_at timestamptz not null,
  changed_at timestamptz not null
) with (fillfactor = 70);
create index holds_due on holds (expires_at) where state = 'held';

-- The units that are held right now, and the bucket that they go back to. No foreign key leads to products here or below: its
-- check would lock the one row of a product that everybody buys.
create table held_units (
  order_id uuid not null references holds,
  product_id uuid not null,
  bucket smallint not null,
  quantity bigint not null check (quantity > 0),
  primary key (order_id, product_id, bucket)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
create index held_units_by_product on held_units (product_id) include (quantity);

-- Every change of the units on hand, which are those available and those held: the deltas of a product add up to them.
create table stock_ledger (
  id uuid primary key default uuidv7(),
  product_id uuid not null,
  delta bigint not null check (delta <> 0),
  reason text not null check (reason in ('opening', 'correction', 'sale', 'return')),
  order_id uuid,
  at timestamptz not null
);
create index stock_ledger_by_product on stock_ledger (product_id, id desc);

-- Products whose stock has changed since it was published. Only ever inserted, so that no sale waits for another here; deleted
-- by the publisher before it reads the stock, so that a later change leaves a mark of its own.
create table stock_marks (
  product_id uuid not null
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000);
create index stock_marks_by_product on stock_marks (product_id);
