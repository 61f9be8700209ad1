import { queryAdminV1, type Position } from '@headroom/contracts';
import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import { LIST_QUERY, PageInfo, walkTo } from '../cursors';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { openFile } from '../files';
import { Sales, salesOfDayJson, salesOfGroupJson } from '../schemas';
import { invalid } from '../validation';
import { pathId } from './accounts';
import { jobReply, queued } from './imports';

const MOST_DAYS = 3_660;
const DAY_MS = 86_400_000;

const Day = (example: string) =>
  Type.String({
    pattern: '^\\d{4}-\\d{2}-\\d{2}$',
    errorText: 'a date such as 2026-11-25',
    examples: [example],
  });

const GROUPINGS = {
  day: queryAdminV1.SalesGrouping.SALES_GROUPING_DAY,
  product: queryAdminV1.SalesGrouping.SALES_GROUPING_PRODUCT,
  category: queryAdminV1.SalesGrouping.SALES_GROUPING_CATEGORY,
};
type Grouping = keyof typeof GROUPINGS;
const By = Type.Enum(Object.keys(GROUPINGS) as Grouping[], { default: 'day', examples: ['day'] });

/** Reports for admins. */
export const reportEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/admin/reports/sales',
    tag: 'Admin: reports',
    summary: 'Confirmed sales by day, product or category',
    description:
      'UTC days of `placedAt`, from the earliest: `from` inclusive, `to` exclusive, at most 3,660 days. Rows ascend. `asOf` is at most 15 s old by day, 3 minutes by product or category; a Consistency-Token counts by day only.',
    access: 'admin',
    cache: 'none',
    consistent: true,
    query: {
      ...LIST_QUERY,
      from: Day('2026-11-01'),
      to: Day('2026-12-01'),
      by: By,
    },
    reply: {
      status: 200,
      schema: Type.Object({
        from: Type.String({ format: 'date', examples: ['2026-11-01'] }),
        to: Type.String({ format: 'date', examples: ['2026-12-01'] }),
        asOf: Type.String({ format: 'date-time', examples: ['2026-11-25T09:30:00.000Z'] }),
        items: Type.Array(Sales),
        page: PageInfo,
      }),
      description: 'One row per day, product or category, and currency',
    },
    async handle({ deps, query, request }) {
      const list = deps.cursors.read(query, ['/v1/admin/reports/sales']);
      const { from, to, by } = query;
      checkRange(from, to);
      const positions = deps.consistency.read(request.headers['consistency-token']?.toString(), ['order']);
      const found = await walkTo(
        list,
        (after) =>
          salesPage(
            deps,
            by,
            { from, to, limit: list.limit, after, includeTotal: list.includeTotal },
            positions,
          ),
        (reply) => reply.next,
      );
      return {
        from,
        to,
        asOf: (found.reply ?? found.first).asOf,
        items: found.reply?.rows ?? [],
        page: list.info(found.reply?.next ?? '', {
          total: found.first.total,
          isEstimate: found.first.totalIsEstimate,
        }),
      };
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/reports/sales/exports',
    tag: 'Admin: reports',
    summary: 'Have a sales report written into a file',
    description: 'For reports that are too long for pages. `resultUrl` of the finished job names the file.',
    access: 'admin',
    cache: 'none',
    body: Type.Object(
      { from: Day('2026-11-01'), to: Day('2026-12-01'), by: By },
      { additionalProperties: false },
    ),
    reply: jobReply,
    async handle({ deps, body, reply }) {
      const { from, to, by } = body;
      checkRange(from, to);
      return queued(deps, reply, await deps.adminQuery.exportSales({ from, to, by: GROUPINGS[by] }));
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/reports/sales/exports/:jobId',
    tag: 'Admin: reports',
    summary: 'The file of a finished export',
    access: 'admin',
    cache: 'none',
    reply: {
      status: 200,
      schema: Type.Unsafe<Readable>({
        type: 'string',
        examples: ['day,currency,orders,units,revenueMinor\n2026-11-24,EUR,12,31,61969\n'],
      }),
      contentType: 'text/csv',
      description: 'CSV with a header line',
      headers: { 'Content-Disposition': 'A name for the file' },
    },
    async handle({ deps, params, reply }) {
      const jobId = pathId(params.jobId);
      const file = await openFile((offset) => deps.adminQuery.getSalesExport({ jobId, offset }));
      reply.headers({
        'content-type': 'text/csv; charset=utf-8',
        'content-length': file.sizeBytes,
        'content-disposition': `attachment; filename="sales-${jobId}.csv"`,
        etag: `"${jobId}"`,
      });
      return file.content;
    },
  }),
];

/** Both ends are days, in this order, and not too far apart. */
function checkRange(from: string, to: string): void {
  const days = (dayMs(to, 'to') - dayMs(from, 'from')) / DAY_MS;
  if (days <= 0) throw invalid('to', 'must be later than from');
  if (days > MOST_DAYS) throw invalid('to', `must be at most ${MOST_DAYS} days later than from`);
}

/** A page of a report in one form, whichever view it comes from. */
async function salesPage(
  { query, adminQuery }: Pick<Deps, 'query' | 'adminQuery'>,
  by: Grouping,
  request: { from: string; to: string; limit: number; after: string; includeTotal: boolean },
  positions: Position[],
) {
  if (by === 'day') {
    const { days, ...rest } = await query.getSalesByDay({ ...request, positions });
    return { rows: days.map(salesOfDayJson), ...rest };
  }
  const { rows, ...rest } = await adminQuery.getSales({ ...request, by: GROUPINGS[by] });
  const name = by === 'product' ? 'productId' : 'category';
  return { rows: rows.map((row) => salesOfGroupJson(row, name)), ...rest };
}

/** Midnight of a day that exists. */
function dayMs(text: string, path: string): number {
  const ms = Date.parse(`${text}T00:00:00.000Z`);
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== text)
    throw invalid(path, 'must be a day of the calendar');
  return ms;
}
