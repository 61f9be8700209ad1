import { sql, type Queryable, type SqlPart, type Tx } from '@headroom/postgres';
import { selectSales, type SalesGrouping, type SalesRow, type SalesSpan } from './views/sales';

/** Copies the rows of a report for an export in one statement, so that the file shows one moment of it; how many there are. */
export function copySales(
  tx: Tx,
  schema: SqlPart,
  exportId: string,
  by: SalesGrouping,
  span: SalesSpan,
): Promise<number> {
  return tx.execute(sql('exports.copy')`
    insert into sales_export_rows (export_id, line, sales_group, currency, orders, units, revenue_minor)
    select ${exportId}, row_number() over (order by "group" collate "C", currency), "group", currency, orders, units, revenue_minor
    from (${selectSales(schema, by, span)}) as report`);
}

/** The rows of an export after a line, in order; by primary key. */
export function readCopied(
  db: Queryable,
  exportId: string,
  afterLine: number,
  limit: number,
): Promise<SalesRow[]> {
  return db.rows(sql('exports.rows')`
    select sales_group as "group", currency, orders, units, revenue_minor from sales_export_rows
    where export_id = ${exportId} and line > ${afterLine} order by line limit ${limit}`);
}

/** Drops at most `limit` rows of the exports with ids from `from` to `to`; how many. By primary key. */
export function dropCopied(
  db: Queryable,
  { from, to, limit }: { from: string; to: string; limit: number },
): Promise<number> {
  return db.execute(sql('exports.drop-rows')`
    delete from sales_export_rows where (export_id, line) in (
      select export_id, line from sales_export_rows where export_id >= ${from} and export_id <= ${to}
      order by export_id, line limit ${limit})`);
}
