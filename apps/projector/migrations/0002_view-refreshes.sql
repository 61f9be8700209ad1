-- When each materialized view of a version was brought up to date. The row is the lock of whoever does it.
create table view_refreshes (
  view text not null,
  version integer not null,
  report text not null,
  -- Everything that stood in the log before this moment (milliseconds since the Unix epoch, the log's clock) is in it.
  as_of_ms bigint not null default 0,
  -- What the version had applied, as readApplied tells it: while that stays, so does the report.
  seen text not null default '',
  refreshed_at timestamptz not null default '-infinity',
  primary key (view, version, report),
  foreign key (view, version) references view_versions on delete cascade
);
