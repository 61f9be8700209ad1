-- Files of products that are being read: one row per job, which says how far. Whoever commits a batch of lines moves it in the
-- same transaction, so that no line is applied twice.
create table imports (
  -- the tracked job
  job_id uuid primary key,
  upload_id uuid not null,
  -- in the blob store
  file text not null,
  format text not null check (format in ('ndjson', 'csv')),
  next_offset bigint not null default 0,
  next_line bigint not null default 1,
  skipping boolean not null default false,
  -- of a CSV file, once its header has been read
  columns text[],
  -- records so far
  processed bigint not null default 0
) with (fillfactor = 50);

-- The SKUs that valid lines of a file had so far: the second line with one is refused. Removed when the file has been read. No
-- foreign key leads to imports: its check would cost as much as the insert.
create table import_skus (
  job_id uuid not null,
  sku text not null,
  primary key (job_id, sku)
);
