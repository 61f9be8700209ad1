-- The token of the newest reset mail of each user, as a hash. It stays after its use until it has expired, so that a mail that is
-- sent a second time cannot bring it back.
create table password_resets (
  user_id uuid primary key references users (id) on delete cascade,
  token_hash bytea not null unique,
  requested_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
create index password_resets_expiry on password_resets (expires_at);

-- Whom the failures of one account from many addresses belong to, so that a new password can forget them; a hash as well. Rows
-- live for minutes: the index is built over a few.
alter table sign_in_failures add column account bytea;
create index sign_in_failures_account on sign_in_failures (account) where account is not null;
