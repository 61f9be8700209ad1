import { fault, queryAdminV1 } from '@headroom/contracts';
import type { Database } from '@headroom/postgres';
import { isUuidv7, type Clock } from '@headroom/resilience';
import { implement, type GrpcService } from '@headroom/rpc';
import type { Exports } from './exports';
import type { LiveViews } from './live-views';
import { orderMessage } from './order-message';
import { createReadSince } from './read-since';
import { readAsOf } from './repository';
import { afterIdOf, checkDays, invalid, limitOf } from './requests';
import { countAllOrders, listAllOrders, orders } from './views/orders';
import { countSales, listSales, reportOf, sales } from './views/sales';

const { SalesGrouping: Grouping } = queryAdminV1;

/** The groupings that materialized views answer. */
type ReportGrouping = 'product' | 'category';

/** What admins read from the views. */
export function adminQueryService(options: {
  db: Database;
  liveViews: LiveViews;
  exports: Exports;
  clock?: Clock;
}): GrpcService {
  const { db, liveViews, exports } = options;
  const liveSince = createReadSince(options);

  return implement('headroom.query.v1.AdminQueryService', queryAdminV1.AdminQueryServiceService, {
    async listAllOrders(request, call) {
      await call.admin();
      const limit = limitOf(request.limit);
      const afterId = afterIdOf(request.afterId);
      const { schema } = await liveSince(orders, request.positions, call);
      const rows = await listAllOrders(db, schema, { afterId, limit: limit + 1 });
      return {
        orders: rows.slice(0, limit).map(orderMessage),
        more: rows.length > limit,
        ...(request.includeTotal ? await countAllOrders(db, schema) : {}),
      };
    },

    async getSales(request, call) {
      await call.admin();
      const by = groupingOf(request.by);
      const limit = limitOf(request.limit);
      checkDays(request);
      const after = request.after === '' ? undefined : placeOf(request.after, by);
      const live = liveViews.of(sales);
      const asOfMs = await readAsOf(db, { view: sales.name, version: live.version }, reportOf(by));
      if (asOfMs === 0)
        throw fault('DEPENDENCY_UNAVAILABLE', {
          detail: 'the report is being made for the first time',
          retryAfterSeconds: 5,
        });
      const rows = await listSales(db, live.schema, by, { ...request, after, limit: limit + 1 });
      const page = rows.slice(0, limit);
      const last = page.at(-1);
      return {
        rows: page.map((row) => ({
          group: row.group,
          currency: row.currency,
          orders: row.orders,
          units: row.units,
          revenue: { amountMinor: row.revenue_minor, currency: row.currency },
        })),
        next: rows.length > limit && last ? `${last.group}/${last.currency}` : '',
        asOf: new Date(asOfMs).toISOString(),
        ...(request.includeTotal ? await countSales(db, live.schema, by, request) : {}),
      };
    },

    async exportSales({ by, from, to }, call) {
      await call.admin();
      checkDays({ from, to });
      const grouping = by === Grouping.SALES_GROUPING_DAY ? 'day' : groupingOf(by);
      return { job: await exports.begin({ by: grouping, from, to }), positions: [] };
    },

    async getSalesExport({ jobId, offset }, call) {
      await call.admin();
      if (offset < 0n) throw invalid('offset', 'must not be negative');
      const chunk = isUuidv7(jobId) ? await exports.read(jobId, Number(offset)) : undefined;
      if (!chunk) throw fault('NOT_FOUND');
      return chunk;
    },
  });
}

function groupingOf(by: queryAdminV1.SalesGrouping): ReportGrouping {
  switch (by) {
    case Grouping.SALES_GROUPING_PRODUCT:
      return 'product';
    case Grouping.SALES_GROUPING_CATEGORY:
      return 'category';
    default:
      throw invalid('by', 'is not known here');
  }
}

/** The row that a page goes on after: its group, which may be empty or have slashes itself, and its currency. */
function placeOf(after: string, by: ReportGrouping): { group: string; currency: string } {
  const [, group, currency] = /^(.*)\/([A-Z]{3})$/.exec(after) ?? [];
  if (group === undefined || currency === undefined || (by === 'product' && !isUuid(group)))
    throw fault('CURSOR_INVALID');
  return { group, currency };
}

const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);
