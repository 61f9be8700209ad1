-- Carts of visitors without an account: carts like all others, found by the hash of a token that only the visitor has.
create table guest_carts (
  token_hash bytea primary key,
  cart_id uuid not null unique references carts on delete cascade,
  expires_at timestamptz not null
) with (fillfactor = 70);

create index guest_carts_expiry on guest_carts (expires_at);
