import type { Queryable } from './database';
import { sql, type SqlPart } from './sql';

/** How many rows a list has in all, as list replies carry it. */
export interface ListTotal {
  total: bigint;
  totalIsEstimate: boolean;
}

const EXACT_TOTAL = 10_000;

/**
 * Counts the rows of `from` (what follows the word in a select), exactly up to 10,000 and by the planner's estimate above,
 * at the cost of reading 10,001 rows at most. `name` becomes the statements' names.
 */
export async function countRows(db: Queryable, name: string, from: SqlPart): Promise<ListTotal> {
  const counted = await db.row<{ total: bigint }>(
    sql(
      `${name}.count`,
    )`select count(*) as total from (select 1 from ${from} limit ${EXACT_TOTAL + 1}) as counted`,
  );
  const total = counted?.total ?? 0n;
  if (total <= BigInt(EXACT_TOTAL)) return { total, totalIsEstimate: false };
  const plan = await db.row<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }>(
    sql(`${name}.estimate`)`explain (format json) select 1 from ${from}`,
  );
  const estimate = BigInt(Math.round(plan!['QUERY PLAN'][0].Plan['Plan Rows']));
  return { total: estimate > total ? estimate : total, totalIsEstimate: true };
}
