-- What was learnt from the log, by version. A version has its own schema model_v<version> and its own consumer group, so that
-- a new one is learnt beside the one that readers see.
create table models (
  version integer primary key check (version > 0),
  -- The form of the tables that the program had when it made them.
  shape integer not null,
  state text not null check (state in ('building', 'live', 'retired')),
  created_at timestamptz not null default now(),
  live_at timestamptz,
  retired_at timestamptz
);
create unique index models_one_live on models (state) where state = 'live';
create unique index models_one_building on models (state) where state = 'building';
