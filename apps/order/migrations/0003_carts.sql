-- A cart holds products and quantities only: names, prices and stock are the catalog's, asked for when the cart is shown.
create table carts (
  owner_id uuid primary key,
  version bigint not null check (version > 0),
  updated_at timestamptz not null
) with (fillfactor = 70);

create table cart_items (
  owner_id uuid not null references carts on delete cascade,
  product_id uuid not null,
  quantity integer not null check (quantity between 1 and 9999),
  added_at timestamptz not null,
  primary key (owner_id, product_id)
) with (fillfactor = 70);
