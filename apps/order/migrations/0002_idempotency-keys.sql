-- One row per idempotency key: first a claim with a lease, then the response as it was sent. Partitioned so that the
-- deletes of expired keys, which never stop, spread over small heaps.
create table idempotency_keys (
  user_id uuid not null,
  scope text not null,
  key text not null,
  fingerprint bytea not null,
  order_id uuid not null,
  -- The cart that the claim was made from; null when the request named its items.
  cart_version bigint,
  attempt integer not null,
  lease_until timestamptz not null,
  expires_at timestamptz not null,
  status smallint,
  content_type text,
  location text,
  body bytea,
  order_version bigint,
  primary key (user_id, scope, key),
  check ((status is null) = (body is null))
) partition by hash (user_id);

create table idempotency_keys_0 partition of idempotency_keys for values with (modulus 8, remainder 0);
create table idempotency_keys_1 partition of idempotency_keys for values with (modulus 8, remainder 1);
create table idempotency_keys_2 partition of idempotency_keys for values with (modulus 8, remainder 2);
create table idempotency_keys_3 partition of idempotency_keys for values with (modulus 8, remainder 3);
create table idempotency_keys_4 partition of idempotency_keys for values with (modulus 8, remainder 4);
create table idempotency_keys_5 partition of idempotency_keys for values with (modulus 8, remainder 5);
create table idempotency_keys_6 partition of idempotency_keys for values with (modulus 8, remainder 6);
create table idempotency_keys_7 partition of idempotency_keys for values with (modulus 8, remainder 7);

create index idempotency_keys_expiry on idempotency_keys (expires_at);
