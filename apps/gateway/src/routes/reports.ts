import { Type } from 'typebox';
import { LIST_QUERY, PageInfo, walkTo } from '../cursors';
import { endpoint } from '../endpoint';
import { SalesDay, salesDayJson } from '../schemas';
import { invalid } from '../validation';

const MOST_DAYS = 3_660;
const DAY_MS = 86_400_000;

const Day = (example: string) =>
  Type.String({
    pattern: '^\\d{4}-\\d{2}-\\d{2}$',
    errorText: 'a date such as 2026-11-25',
    examples: [example],
  });

/** Reports for admins. */
export const reportEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/admin/reports/sales',
    tag: 'Admin: reports',
    summary: 'Confirmed sales by day',
    description:
      'UTC days of `placedAt`, from the earliest: `from` inclusive, `to` exclusive, at most 3,660 days. `asOf` is at most 15 s old.',
    access: 'admin',
    cache: 'none',
    consistent: true,
    query: {
      ...LIST_QUERY,
      from: Day('2026-11-01'),
      to: Day('2026-12-01'),
      by: Type.Enum(['day'], { default: 'day', examples: ['day'] }),
    },
    reply: {
      status: 200,
      schema: Type.Object({
        from: Type.String({ format: 'date', examples: ['2026-11-01'] }),
        to: Type.String({ format: 'date', examples: ['2026-12-01'] }),
        asOf: Type.String({ format: 'date-time', examples: ['2026-11-25T09:30:00.000Z'] }),
        items: Type.Array(SalesDay),
        page: PageInfo,
      }),
      description: 'One row per day and currency',
    },
    async handle({ deps, query, request }) {
      const list = deps.cursors.read(query, ['/v1/admin/reports/sales']);
      const { from, to } = query;
      const days = (dayMs(to, 'to') - dayMs(from, 'from')) / DAY_MS;
      if (days <= 0) throw invalid('to', 'must be later than from');
      if (days > MOST_DAYS) throw invalid('to', `must be at most ${MOST_DAYS} days later than from`);
      const positions = deps.consistency.read(request.headers['consistency-token']?.toString(), ['order']);
      const found = await walkTo(
        list,
        (after) =>
          deps.query.getSalesByDay({
            from,
            to,
            limit: list.limit,
            after,
            positions,
            includeTotal: list.includeTotal,
          }),
        (reply) => reply.next,
      );
      return {
        from,
        to,
        asOf: (found.reply ?? found.first).asOf,
        items: found.reply?.days.map(salesDayJson) ?? [],
        page: list.info(found.reply?.next ?? '', {
          total: found.first.total,
          isEstimate: found.first.totalIsEstimate,
        }),
      };
    },
  }),
];

/** Midnight of a day that exists. */
function dayMs(text: string, path: string): number {
  const ms = Date.parse(`${text}T00:00:00.000Z`);
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== text)
    throw invalid(path, 'must be a day of the calendar');
  return ms;
}
