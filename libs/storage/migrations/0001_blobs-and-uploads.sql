-- Files in the service's own database, for installations without an object store. A file is seen under its name only once it
-- is whole; its chunks are removed in batches after it has lost the name.
create table blobs (
  id uuid primary key,
  name text collate "C" not null,
  content_type text not null,
  state text not null check (state in ('uploading', 'visible', 'removing')),
  size_bytes bigint not null default 0,
  created_at timestamptz not null default now()
);
create unique index blobs_name on blobs (name) where state = 'visible';
create index blobs_unfinished on blobs (created_at) where state <> 'visible';

-- Parts of an upload as their sender named them: the tag is what the sender must repeat to finish it.
create table blob_parts (
  blob_id uuid not null references blobs,
  index int not null check (index >= 0),
  tag text not null,
  size_bytes int not null,
  primary key (blob_id, index)
);

-- Chunk n holds the bytes from n * 512 KiB on. Not compressed: pictures do not shrink, and the time is better spent elsewhere.
create table blob_chunks (
  blob_id uuid not null references blobs,
  number int not null check (number >= 0),
  content bytea not null,
  primary key (blob_id, number)
);
alter table blob_chunks alter column content set storage external;

-- Files that come in by parts, for work that is queued when they are whole. A row outlives its file for a day, so that a
-- repeated completion gets the answer of the first.
create table uploads (
  id uuid primary key,
  kind text not null,
  content_type text not null,
  subject_id text not null,
  -- of the file, and of its upload in the store
  name text not null,
  handle text not null,
  -- released: the work no longer needs the file; removed: the file is gone
  state text not null check (state in ('open', 'completed', 'released', 'abandoned', 'removed')),
  job_id text,
  created_at timestamptz not null,
  check (state <> 'completed' or job_id is not null)
);
create index uploads_open on uploads (created_at) where state = 'open';
create index uploads_to_remove on uploads (id) where state in ('released', 'abandoned');
create index uploads_by_age on uploads (created_at) where state in ('completed', 'removed');

create table upload_parts (
  upload_id uuid not null references uploads on delete cascade,
  index int not null check (index >= 0),
  tag text not null,
  size_bytes int not null,
  primary key (upload_id, index)
);
