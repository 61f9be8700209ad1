import { UnexpectedAnswer, type Account, type Answer } from '@headroom/shop-api';
import { emptyDaySales, type DaySales } from './history-plan';

interface ReportRow {
  day: string;
  currency: string;
  orders: number;
  units: number;
  revenue: { amountMinor: number; currency: string };
}
interface Report {
  items: ReportRow[];
  page: { nextCursor: string | null };
}

/** The longest range that one report covers. */
const MOST_DAYS = 3_660;
const DAY_MS = 24 * 3_600_000;

/** Sales by day of one currency as the shop reports them, from the first to the last of the given days. */
export async function readSalesReport(
  admin: Account,
  days: Iterable<string>,
  currency: string,
): Promise<Map<string, Pick<DaySales, 'orders' | 'units' | 'revenueMinor'>>> {
  const sorted = [...days].sort();
  const found = new Map<string, DaySales>();
  const end = Date.parse(sorted.at(-1)!) + DAY_MS;
  for (let from = Date.parse(sorted[0]!); from < end; from += MOST_DAYS * DAY_MS) {
    const to = Math.min(end, from + MOST_DAYS * DAY_MS);
    const path = `/v1/admin/reports/sales?by=day&from=${dayOf(from)}&to=${dayOf(to)}&limit=100`;
    for (let cursor: string | null = ''; cursor !== null;) {
      const answer: Answer<Report> = await admin.call<Report>(
        'GET',
        cursor === '' ? path : `${path}&cursor=${encodeURIComponent(cursor)}`,
      );
      if (answer.status !== 200) throw new UnexpectedAnswer('the sales report', answer);
      for (const row of answer.body.items)
        if (row.currency === currency)
          found.set(row.day, {
            ...emptyDaySales(),
            orders: row.orders,
            units: row.units,
            revenueMinor: BigInt(row.revenue.amountMinor),
          });
      cursor = answer.body.page.nextCursor;
    }
  }
  return found;
}

const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);
