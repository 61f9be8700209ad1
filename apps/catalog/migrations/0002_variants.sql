-- Products of one group are variants of each other; options set them apart.
alter table products add column variant_group text;
alter table products add column options jsonb;
create index products_variants on products (variant_group, id) where variant_group is not null;
