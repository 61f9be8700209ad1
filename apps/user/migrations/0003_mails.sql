-- Like the shard map, these are used in the first database only.

-- Mails that were kept for the admin instead of being sent.
create table mails (
  id uuid primary key,
  recipient text not null,
  subject text not null,
  body text not null,
  kind text not null,
  created_at timestamptz not null
);

-- Events that have had their mail. They are remembered for longer than an event is young enough for one, so that a consumer
-- that begins anew mails nobody twice.
create table mailed_events (
  event_id text primary key,
  handled_at timestamptz not null
);
create index mailed_events_age on mailed_events (handled_at);
