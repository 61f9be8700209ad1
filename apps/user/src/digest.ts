import { queryAdminV1, type queryV1 } from '@headroom/contracts';
import { withCallContext, type RpcClient } from '@headroom/rpc';
import { randomUUID } from 'node:crypto';
import type { AccessTokens } from './access-tokens';
import type { SalesSummary } from './mail-texts';
import { listAdmins } from './repository';
import type { Shards } from './shards';
import type { User } from './user';

const DAY_MS = 24 * 3_600_000;
const TOP = 5;
const PAGE = 100;
/** Rows of a day's report that are looked at; a day with more products tells no best ones. */
const MAX_PAGES = 100;
const MAX_ADMINS = 1_000;
const CALL_MS = 20_000;

export interface SalesReports {
  sales: Pick<RpcClient<typeof queryV1.QueryServiceService>, 'getSalesByDay'>;
  products: Pick<RpcClient<typeof queryAdminV1.AdminQueryServiceService>, 'getSales'>;
}

/** The day before `nowMs`, UTC, as `YYYY-MM-DD`. */
export const dayBefore = (nowMs: number): string => dateOf(nowMs - DAY_MS);

/** Admins who may sign in, over all databases; rejects when one is away. */
export async function currentAdmins(shards: Shards): Promise<User[]> {
  const lists = await Promise.all(shards.all.map(({ db }) => listAdmins(db, MAX_ADMINS)));
  return lists.flat();
}

/**
 * The confirmed sales of a day from the query service: by currency, and the products with the most units. The service asks in
 * the name of an admin, by an access token of its own that nobody else gets. Rejects when the query service is away, or is so
 * far behind that the day is not complete there.
 */
export async function readSales(
  day: string,
  deps: { reports: SalesReports; accessTokens: Pick<AccessTokens, 'issue'>; admin: User },
): Promise<SalesSummary> {
  const { reports } = deps;
  const range = { from: day, to: dateOf(Date.parse(day) + DAY_MS) };
  const accessToken = await deps.accessTokens.issue({
    userId: deps.admin.id,
    sid: randomUUID(),
    role: 'admin',
    tier: deps.admin.tier,
  });
  return withCallContext(
    { deadlineAt: Date.now() + CALL_MS, requestId: randomUUID(), accessToken },
    async () => {
      const byDay = await reports.sales.getSalesByDay({ ...range, limit: PAGE, after: '', positions: [] });
      assertComplete(byDay.asOf, range.to);
      return {
        day,
        currencies: byDay.days.map(({ orders, units, revenue }) => ({
          orders: Number(orders),
          units: Number(units),
          revenue: moneyOf(revenue),
        })),
        topProducts: await topProducts(reports, range),
      };
    },
  );
}

async function topProducts(
  reports: SalesReports,
  range: { from: string; to: string },
): Promise<SalesSummary['topProducts']> {
  let top: queryAdminV1.SalesRow[] = [];
  let after = '';
  for (let page = 1; page <= MAX_PAGES; page += 1) {
    const { rows, next, asOf } = await reports.products.getSales({
      ...range,
      by: queryAdminV1.SalesGrouping.SALES_GROUPING_PRODUCT,
      limit: PAGE,
      after,
    });
    assertComplete(asOf, range.to);
    top = [...top, ...rows].sort((one, other) => Number(other.units - one.units)).slice(0, TOP);
    if (next === '')
      return top.map(({ group, units, revenue }) => ({
        productId: group,
        units: Number(units),
        revenue: moneyOf(revenue),
      }));
    after = next;
  }
  return [];
}

/** A report knows how far it has come; before the end of the day its sums are no day's. */
function assertComplete(asOf: string, end: string): void {
  if (Date.parse(asOf) < Date.parse(end)) throw new Error(`the reports are as of ${asOf}, not yet of ${end}`);
}

const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

const moneyOf = (money: queryAdminV1.SalesRow['revenue']) => ({
  amountMinor: Number(money?.amountMinor ?? 0n),
  currency: money?.currency ?? '',
});
