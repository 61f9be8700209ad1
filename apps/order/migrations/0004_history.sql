-- Orders of a shop's history: they may belong to no account, were delivered elsewhere, and keep the id that they had there.
alter table orders
  alter column user_id drop not null,
  alter column shipping_address drop not null,
  add column external_id text,
  add constraint orders_placed_here check (external_id is not null or (user_id is not null and shipping_address is not null));

-- Makes the partition that an order of the month that begins at `month` (UTC) belongs to; false when it stood already.
-- History from before this system is kept by the year, and all of the last century together: a list that looks into every
-- partition then stays cheap, however far back a history goes. Runs with its owner's rights, so that the service itself
-- needs none to create tables. Attaching does not block readers or writers of other partitions.
create or replace function make_order_partition(month date) returns boolean
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  first_day date := case
    when month < date '2000-01-01' then date '1970-01-01'
    when month < date '2026-01-01' then date_trunc('year', month)::date
    else month
  end;
  next_first_day date := case
    when month < date '2000-01-01' then date '2000-01-01'
    when month < date '2026-01-01' then (date_trunc('year', month) + interval '1 year')::date
    else (month + interval '1 month')::date
  end;
  partition_name text := 'orders_' || to_char(first_day, case when month < date '2026-01-01' then 'YYYY' else 'YYYY_MM' end);
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
    public.uuid_floor(first_day::timestamp at time zone 'UTC'),
    public.uuid_floor(next_first_day::timestamp at time zone 'UTC')
  );
  return true;
end $$;
