-- Events written with the change they tell of; a row is deleted once the event log has confirmed it.
create table outbox (
  id bigint generated always as identity primary key,
  shard smallint not null,
  topic text not null,
  key text not null,
  event jsonb not null,
  created_at timestamptz not null default now()
) with (
  -- a queue: rows live for milliseconds, so dead ones are cleared by their number, not by a share of the table
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000
);

-- Which relay process publishes which shard (libs/messaging/src/leases.ts).
create table outbox_groups (
  scope text primary key,
  generation bigint not null
);
create table outbox_members (
  scope text not null,
  member uuid not null,
  kinds text[] not null,
  joined_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (scope, member)
);
create table outbox_leases (
  scope text not null,
  kind text not null,
  number int not null,
  owner uuid,
  epoch bigint not null default 0,
  primary key (scope, kind, number)
);
