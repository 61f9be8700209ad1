-- Which database holds which logical shard. Only the copy in the first database is read.
create table shard_map (
  logical smallint primary key check (logical between 0 and 63),
  database smallint not null check (database >= 0)
);

create table users (
  id uuid primary key,
  logical smallint not null check (logical between 0 and 63),
  email text not null,
  name text not null,
  role text not null check (role in ('customer', 'admin')),
  tier text not null check (tier in ('free', 'basic', 'premium', 'enterprise')),
  disabled boolean not null,
  password_hash text not null,
  version bigint not null check (version > 0),
  created_at timestamptz not null
);

-- Ids that will never become users: their registration took too long and lost its e-mail to another. Kept for ever, so that
-- it cannot come back, however late.
create table user_tombstones (
  user_id uuid primary key,
  created_at timestamptz not null default now()
);

-- Makes an e-mail unique over all databases: lies in the shard of its own hash, not in its user's.
create table email_reservations (
  email_key text primary key,
  logical smallint not null check (logical between 0 and 63),
  user_id uuid not null,
  reserved_at timestamptz not null,
  confirmed boolean not null default false
);
create index email_reservations_pending on email_reservations (reserved_at) where not confirmed;

-- A session is a family of refresh tokens. Its access tokens carry `sid`, which changes when they have to end and the session
-- goes on.
create table sessions (
  id uuid primary key,
  user_id uuid not null references users (id) on delete cascade,
  sid uuid not null unique,
  created_at timestamptz not null,
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at timestamptz,
  reused_token bytea
);
create index sessions_user on sessions (user_id);
create index sessions_expiry on sessions (expires_at);

create table refresh_tokens (
  hash bytea primary key,
  session_id uuid not null references sessions (id) on delete cascade,
  expires_at timestamptz not null,
  rotated_at timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);
create index refresh_tokens_expiry on refresh_tokens (expires_at);

-- Access tokens that ended before their time. The clock is the database's own: readers follow this table by time.
create table revocations (
  id bigint generated always as identity primary key,
  sid uuid not null,
  revoked_at timestamptz not null default clock_timestamp()
);
create index revocations_time on revocations (revoked_at);

-- Wrong passwords within a window; the key is a hash of what they are counted by.
create table sign_in_failures (
  key bytea primary key,
  count int not null,
  window_ends_at timestamptz not null
);
create index sign_in_failures_end on sign_in_failures (window_ends_at);
