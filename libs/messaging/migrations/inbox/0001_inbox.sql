-- How far this database has applied each partition: moved in the transaction that holds the effects.
create table consumer_offsets (
  group_name text not null,
  topic text not null,
  partition int not null,
  next_offset bigint not null,
  updated_at timestamptz not null default now(),
  primary key (group_name, topic, partition)
) with (fillfactor = 50);

-- A key with an event that cannot be applied: its later events wait behind it. The row is the lock of the key.
create table parked_keys (
  group_name text not null,
  topic text not null,
  key text not null,
  requeued_at timestamptz,
  primary key (group_name, topic, key)
);
create index parked_keys_requeued on parked_keys (group_name, requeued_at) where requeued_at is not null;

create table parked_events (
  id uuid primary key,
  group_name text not null,
  topic text not null,
  key text not null,
  partition int not null,
  record_offset bigint not null,
  appended_at timestamptz not null,
  value text not null,
  headers jsonb not null,
  event_id text,
  event_type text,
  -- null: not tried yet, waits behind an earlier event of its key
  error text,
  attempts int not null default 0,
  failed_at timestamptz,
  -- null: the copy for the dead-letter topic is still to be made
  copied_at timestamptz,
  unique (group_name, topic, partition, record_offset),
  foreign key (group_name, topic, key) references parked_keys
);
create index parked_events_by_key on parked_events (group_name, topic, key, record_offset);
create index parked_events_failed on parked_events (failed_at desc, id desc) where error is not null;
create index parked_events_uncopied on parked_events (group_name) where error is not null and copied_at is null;
