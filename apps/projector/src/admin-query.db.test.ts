import { queryAdminV1, type PublishableEvent } from '@headroom/contracts';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { orderEvent } from '../test/events';
import { startProjectorSystem, type ProjectorSystem } from '../test/system';
import { startProjection, type Projection } from './project';
import { VIEWS } from './views';

jest.setTimeout(30_000);

const { GetSalesRequest, ListAllOrdersRequest, SalesGrouping } = queryAdminV1;

let system: ProjectorSystem;
let projection: Projection;
beforeAll(async () => {
  system = await startProjectorSystem();
  projection = startProjection({ db: system.views.db, log: system.log, views: VIEWS, logger: silentLogger });
});
afterAll(async () => {
  await projection.close();
  await system.close();
});

async function write(...events: PublishableEvent[]) {
  await system.append(...events);
  return events.map(({ event }) => ({ subject: event.subject, version: BigInt(event.aggregateversion) }));
}
const asAdmin = <T>(work: () => Promise<T>) => system.as('admin', work);
const list = (request: Partial<queryAdminV1.ListAllOrdersRequest>) =>
  asAdmin(() => system.admin.listAllOrders(ListAllOrdersRequest.create(request)));
const orderOf = (id: string, userId: string | null) =>
  orderEvent(1, {
    id,
    userId,
    status: 'confirmed',
    placedAt: new Date().toISOString(),
    lines: [{ productId: uuidv7(), quantity: 2, priceMinor: 150 }],
  });

describe('everybody’s orders', () => {
  it('are listed newest first with the write that was waited for, imported ones of no account among them', async () => {
    const ids = Array.from({ length: 5 }, (_, index) => uuidv7(Date.now() - index * 1_000));
    const [ada, bob] = [uuidv7(), uuidv7()];
    const owners = [ada, null, bob, ada, bob];
    const positions = await write(...ids.map((id, index) => orderOf(id, owners[index]!)));
    const first = await list({ limit: 2, positions, includeTotal: true });
    expect(first.orders.map(({ id, userId }) => [id, userId])).toEqual([
      [ids[0], ada],
      [ids[1], ''],
    ]);
    expect([first.more, first.total, first.totalIsEstimate]).toEqual([true, 5n, false]);
    expect(first.orders[0]).toMatchObject({
      status: 'confirmed',
      total: { amountMinor: 300n, currency: 'EUR' },
    });
    const rest = await list({ limit: 10, afterId: ids[1]! });
    expect([rest.orders.map(({ id }) => id), rest.more, rest.total]).toEqual([
      ids.slice(2),
      false,
      undefined,
    ]);
    await eventually(async () => {
      const summary = await system.as(ada, () => system.client.getCustomerSummary({}));
      expect(summary.confirmedOrders).toBe(2n);
    });
  });

  it('are never answered without a write that was asked for', async () => {
    await expect(list({ positions: [{ subject: `order/${uuidv7()}`, version: 1n }] })).rejects.toMatchObject({
      code: 'CONSISTENCY_TIMEOUT',
    });
  });

  it('are refused to customers, and behind a place that was never given', async () => {
    await expect(
      system.as(uuidv7(), () => system.admin.listAllOrders(ListAllOrdersRequest.create())),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(list({ afterId: 'x' })).rejects.toMatchObject({ code: 'CURSOR_INVALID' });
    await expect(list({ limit: 101 })).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  });

  it('are counted exactly up to 10,000, then estimated', async () => {
    await system.views.db.execute(sql('test.orders')`
      insert into orders_v1.orders select uuidv7(interval '-1 day' - interval '1 ms' * n), null, 1, 'confirmed', 'paid', null, '[]', 100, 'EUR',
        now(), now() from generate_series(1, 12000) n`);
    await system.views.db.execute(sql('test.analyze')`analyze orders_v1.orders`);
    const { total, totalIsEstimate } = await list({ limit: 1, includeTotal: true });
    expect(totalIsEstimate).toBe(true);
    expect(Number(total)).toBeGreaterThan(11_000);
    expect(Number(total)).toBeLessThan(13_000);
  });
});

describe('sales by product or category', () => {
  const span = { from: '2026-01-01', to: '2026-02-01' };
  const read = (request: Partial<queryAdminV1.GetSalesRequest>) =>
    asAdmin(() =>
      system.admin.getSales(
        GetSalesRequest.create({ by: SalesGrouping.SALES_GROUPING_PRODUCT, ...span, ...request }),
      ),
    );

  it.each([
    ['from', { from: '2026-02-30' }],
    ['to', { to: '2026-1-1' }],
    ['to', { to: '2026-01-01' }],
    ['to', { from: '2010-01-01' }],
    ['limit', { limit: 101 }],
    ['by', { by: SalesGrouping.SALES_GROUPING_DAY }],
    ['by', { by: 77 as queryAdminV1.SalesGrouping }],
  ])('refuse a wrong %s by name: %j', async (path, request) => {
    await expect(read(request)).rejects.toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path }] });
  });

  it.each(['x', 'x/EUR', `${uuidv7()}/eur`])('refuse the place %j', async (after) => {
    await expect(read({ after })).rejects.toMatchObject({ code: 'CURSOR_INVALID' });
  });

  it('are refused to customers', async () => {
    await expect(
      system.as(uuidv7(), () => system.admin.getSales(GetSalesRequest.create(span))),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  it('are unavailable rather than empty before the report was made', async () => {
    await system.views.db.execute(sql('test.never')`
      update view_refreshes set as_of_ms = 0, refreshed_at = now()`);
    await expect(read({})).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  });
});
