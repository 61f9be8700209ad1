-- Orders are partitioned by the month in which they were placed. The time of placing is the time that the order's own id
-- (UUID version 7) carries, so a look-up by id alone touches one partition, and no second column can disagree with it.
create table orders (
  id uuid primary key,
  user_id uuid not null,
  status text not null check (status in ('pending', 'confirmed', 'cancelled')),
  payment_status text not null
    check (payment_status in ('pending', 'paid', 'declined', 'failed', 'refund_pending', 'refunded')),
  cancel_reason text
    check (cancel_reason in ('payment_declined', 'payment_failed', 'expired', 'customer', 'admin')),
  -- Who asked for a cancellation while the payment was under way; not shown, so it has no version of its own.
  cancel_requested text check (cancel_requested in ('customer', 'admin')),
  items jsonb not null,
  currency text not null,
  total_minor bigint not null check (total_minor >= 0),
  shipping_address jsonb not null,
  charge_id text,
  version bigint not null check (version > 0),
  updated_at timestamptz not null,
  check ((status = 'cancelled') = (cancel_reason is not null))
) partition by range (id);

-- The owner's list, newest first.
create index orders_by_user on orders (user_id, id desc);
-- What a view of the owner's orders may still lack.
create index orders_by_user_change on orders (user_id, updated_at);

-- The smallest UUID of a moment: every version 7 id made at or after it sorts behind it.
create function uuid_floor(moment timestamptz) returns uuid
language sql stable
return (lpad(to_hex(floor(extract(epoch from moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- Makes the partition of the month that begins at `month` (UTC); false when it stood already. Runs with its owner's rights,
-- so that the service itself needs none to create tables. Attaching does not block readers or writers of other months.
create function make_order_partition(month date) returns boolean
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  partition_name text := 'orders_' || to_char(month, 'YYYY_MM');
begin
  if extract(day from month) <> 1 then
    raise exception 'a month begins on its first day, not on %', month;
  end if;
  if to_regclass('public.' || partition_name) is not null then
    return false;
  end if;
  -- One maker at a time; the lock that attaching takes anyway.
  lock table public.orders in share update exclusive mode;
  if to_regclass('public.' || partition_name) is not null then
    return false;
  end if;
  execute format('create table public.%I (like public.orders including defaults including constraints)', partition_name);
  execute format(
    'alter table public.orders attach partition public.%I for values from (%L) to (%L)',
    partition_name,
    public.uuid_floor(month::timestamp at time zone 'UTC'),
    public.uuid_floor((month + interval '1 month') at time zone 'UTC')
  );
  return true;
end $$;

-- What is still to be done for an order. A row is a timer: due at `due_at`, taken by a worker until `lease_until`; each take
-- raises `epoch`, which fences the worker that had it before. Gone when nothing is left to do.
create table order_sagas (
  order_id uuid primary key,
  step text not null check (step in ('charge', 'check', 'confirm', 'release', 'return', 'refund', 'settle')),
  reason text,
  -- A charge may have been sent whose outcome is not known.
  uncertain boolean not null default false,
  payment_token text,
  attempt integer not null default 0,
  epoch bigint not null default 0,
  due_at timestamptz not null,
  lease_until timestamptz not null default '-infinity',
  deadline_at timestamptz not null,
  traceparent text
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create index order_sagas_due on order_sagas (due_at);
