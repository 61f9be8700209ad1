-- Uploads of pictures are numbered as they are accepted: of two for one product, the later one stays.
create sequence image_order;

-- The number of the picture that a product got last.
create table published_images (
  product_id uuid primary key references products,
  image_order bigint not null
);

-- Sets of thumbnails in the blob store, by the hash of their content. A row comes before the files and goes after them.
create table image_sets (
  hash text primary key,
  -- as a product names it
  url text not null,
  -- since when no product is known to name it; null: one did at the last look
  unused_since timestamptz,
  removing boolean not null default false,
  created_at timestamptz not null
);
create index image_sets_unused on image_sets (unused_since) where unused_since is not null;

-- Whether a set is in use is asked by its URL, however the product came by that.
create index products_own_image on products (image_url) where image_url like '/images/%';
