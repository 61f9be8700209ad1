create table log_topics (
  name text primary key,
  -- names the tables of its records
  id int generated always as identity unique,
  partitions int not null check (partitions > 0),
  -- null: kept for ever
  retention_ms bigint,
  -- records may be stored up to here
  covered_until timestamptz not null default '-infinity'
);

create table log_partitions (
  topic text not null references log_topics (name),
  partition int not null,
  next_offset bigint not null default 0,
  -- never goes back, so that offsets and times grow together
  last_appended_at timestamptz not null default '-infinity',
  primary key (topic, partition)
) with (fillfactor = 50);

-- By topic, then by time: a month each, or a day each where a retention drops whole days.
create table log_records (
  topic text not null,
  partition int not null,
  record_offset bigint not null,
  appended_at timestamptz not null,
  key text not null,
  value text not null,
  headers jsonb not null,
  primary key (topic, partition, record_offset, appended_at)
) partition by list (topic);

-- The time ranges of log_records, one table each.
create table log_segments (
  topic text not null references log_topics (name),
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  table_name text not null unique,
  primary key (topic, starts_at)
);

create table log_maintenance (
  only_row bool primary key default true check (only_row),
  next_at timestamptz not null default '-infinity'
);
insert into log_maintenance default values;

-- Which member of a consumer group reads which partition, and the group's offset there (libs/messaging/src/leases.ts).
create table log_groups (
  scope text primary key,
  generation bigint not null
);
create table log_members (
  scope text not null,
  member uuid not null,
  kinds text[] not null,
  joined_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (scope, member)
);
create table log_leases (
  scope text not null,
  kind text not null,
  number int not null,
  owner uuid,
  epoch bigint not null default 0,
  committed bigint not null default 0,
  primary key (scope, kind, number)
) with (fillfactor = 50);

-- Makes segments of a topic up to and beyond `until`. Attaching a finished table does not wait for readers or writers.
create function log_cover(topic_name text, until timestamptz) returns void language plpgsql as $$
declare
  topic log_topics;
  period text;
  starts timestamptz;
  ends timestamptz;
  segment text;
begin
  select * into strict topic from log_topics where name = topic_name for update;
  period := case when topic.retention_ms is null then 'month' else 'day' end;
  starts := case when topic.covered_until = '-infinity' then date_trunc(period, clock_timestamp(), 'UTC') else topic.covered_until end;
  while starts <= until loop
    ends := (starts at time zone 'UTC' + ('1 ' || period)::interval) at time zone 'UTC';
    segment := format('log_records_%s_%s', topic.id, to_char(starts at time zone 'UTC', 'YYYYMMDD'));
    execute format('create table %I (like log_records including defaults including constraints)', segment);
    execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                   'log_records_' || topic.id, segment, starts, ends);
    insert into log_segments (topic, starts_at, ends_at, table_name) values (topic_name, starts, ends, segment);
    starts := ends;
  end loop;
  update log_topics set covered_until = greatest(covered_until, starts) where name = topic_name;
end $$;

-- Makes a topic that does not exist; one that does keeps its partitions and its retention.
create function log_make_topic(topic_name text, partition_count int, retention bigint) returns void language plpgsql as $$
declare
  topic_id int;
begin
  insert into log_topics (name, partitions, retention_ms) values (topic_name, partition_count, retention)
  on conflict (name) do nothing returning id into topic_id;
  if topic_id is null then return; end if;
  insert into log_partitions (topic, partition) select topic_name, generate_series(0, partition_count - 1);
  execute format('create table %I partition of log_records for values in (%L) partition by range (appended_at)',
                 'log_records_' || topic_id, topic_name);
  perform log_cover(topic_name, clock_timestamp() + interval '2 days');
end $$;

-- Appends records in the order given. Offsets are assigned under the partition's row lock, which is held until the commit:
-- whoever sees next_offset sees every record below it. All in one call, so that no client can freeze while it holds the lock.
create function log_append(topics text[], partitions int[], keys text[], vals text[], heads jsonb[],
                           not_before timestamptz default '-infinity') returns void language plpgsql as $$
declare
  target record;
  first_offset bigint;
  stamp timestamptz;
begin
  -- A transaction id before any time is read: a reader that knows every earlier transaction ended has seen every earlier time.
  perform pg_current_xact_id();
  for target in
    select t.topic, t.partition, count(*) as n from unnest(topics, partitions) as t (topic, partition)
    group by 1, 2 order by 1, 2 -- one order for all, so that appends do not deadlock
  loop
    update log_partitions p
    set next_offset = p.next_offset + target.n,
        last_appended_at = greatest(p.last_appended_at, not_before, clock_timestamp())
    where p.topic = target.topic and p.partition = target.partition
    returning p.next_offset - target.n, p.last_appended_at into first_offset, stamp;
    if not found then
      raise exception 'topic % has no partition %', target.topic, target.partition using errcode = 'undefined_object';
    end if;
    if stamp >= (select covered_until from log_topics where name = target.topic) then
      perform log_cover(target.topic, stamp);
    end if;
    insert into log_records (topic, partition, record_offset, appended_at, key, value, headers)
    select target.topic, target.partition, first_offset + row_number() over (order by r.n) - 1, stamp, r.key, r.value, r.headers
    from unnest(topics, partitions, keys, vals, heads) with ordinality as r (topic, partition, key, value, headers, n)
    where r.topic = target.topic and r.partition = target.partition;
  end loop;
end $$;

-- Makes the coming segments, drops those that a topic's retention no longer asks for, and forgets members long gone.
create function log_maintain(at timestamptz) returns void language plpgsql as $$
declare
  topic log_topics;
  old log_segments;
begin
  for topic in select * from log_topics order by name loop
    perform log_cover(topic.name, at + case when topic.retention_ms is null then interval '35 days' else interval '3 days' end);
    for old in
      select * from log_segments s
      where s.topic = topic.name and s.ends_at <= at - topic.retention_ms * interval '1 millisecond' order by s.starts_at
    loop
      execute format('drop table %I', old.table_name);
      delete from log_segments s where s.topic = old.topic and s.starts_at = old.starts_at;
    end loop;
  end loop;
  delete from log_members where expires_at < at - interval '1 hour';
end $$;
