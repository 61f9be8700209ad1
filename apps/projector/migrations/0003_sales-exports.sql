-- The rows of sales reports that are being written into files: copied at once, so that a file shows one moment of the report,
-- and dropped with the end of the export.
create table sales_export_rows (
  export_id uuid not null,
  line bigint not null,
  sales_group text not null,
  currency text not null,
  orders bigint not null,
  units bigint not null,
  revenue_minor bigint not null,
  primary key (export_id, line)
);
