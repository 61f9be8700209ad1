-- Typo tolerance of the product search: trigrams find candidates, the edit distance decides.
create extension if not exists pg_trgm;
create extension if not exists fuzzystrmatch;

-- Which versions of each view exist. A version has its own schema <view>_v<version> and its own consumer group, so that a
-- new one is built beside the one that readers see.
create table view_versions (
  view text not null,
  version integer not null check (version > 0),
  -- The form of the view's tables that the program had when it made them.
  shape integer not null,
  state text not null check (state in ('building', 'live', 'retired')),
  created_at timestamptz not null default now(),
  live_at timestamptz,
  retired_at timestamptz,
  primary key (view, version)
);
create unique index view_versions_one_live on view_versions (view) where state = 'live';
create unique index view_versions_one_building on view_versions (view) where state = 'building';

-- Everything that stood in the partition before this moment (milliseconds since the Unix epoch, the log's clock) has been
-- applied to this version.
create table view_watermarks (
  view text not null,
  version integer not null,
  topic text not null,
  partition integer not null,
  caught_up_ms bigint not null,
  primary key (view, version, topic, partition),
  foreign key (view, version) references view_versions on delete cascade
);
