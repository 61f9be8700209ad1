-- Which orders of a shop's history are here: the unique index over all months that the partitioned table cannot have.
create table imported_orders (
  external_id text primary key,
  -- SHA-256 of the canonical content, so that a repeated line is told from a changed one.
  fingerprint bytea not null,
  order_id uuid not null
);
