-- Every valid request by its key: what a key was first used for. A row outlives a first call that was made to fail.
create table requests (
  operation text not null check (operation in ('charge', 'refund')),
  idempotency_key text not null,
  fingerprint bytea not null,
  created_at timestamptz not null,
  primary key (operation, idempotency_key)
);

-- refunded_minor is kept with the charge, so that one conditional update decides whether a refund still fits.
create table charges (
  id uuid primary key,
  order_id text not null,
  idempotency_key text not null unique,
  amount_minor bigint not null check (amount_minor > 0),
  refunded_minor bigint not null default 0 check (refunded_minor between 0 and amount_minor),
  currency text not null,
  status text not null check (status in ('succeeded', 'declined')),
  created_at timestamptz not null
);
create index charges_order on charges (order_id, id desc);

create table refunds (
  id uuid primary key,
  charge_id uuid not null references charges (id),
  order_id text not null,
  idempotency_key text not null unique,
  amount_minor bigint not null check (amount_minor > 0),
  currency text not null,
  status text not null check (status = 'succeeded'),
  created_at timestamptz not null
);
create index refunds_order on refunds (order_id, id desc);
create index refunds_charge on refunds (charge_id);
