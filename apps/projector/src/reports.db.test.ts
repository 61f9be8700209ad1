import { queryAdminV1, type PublishableEvent } from '@headroom/contracts';
import { sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { orderEvent, productEvent } from '../test/events';
import { startProjectorSystem, type ProjectorSystem } from '../test/system';
import { startProjection, type Projection } from './project';
import { beginVersion, refreshReport, swapVersions } from './repository';
import { VIEWS } from './views';
import { sales } from './views/sales';

const DAY = 24 * 3_600_000;
const { SALES_GROUPING_PRODUCT: PRODUCT, SALES_GROUPING_CATEGORY: CATEGORY } = queryAdminV1.SalesGrouping;
const CURRENCIES = ['EUR', 'USD'];

jest.setTimeout(30_000);

let system: ProjectorSystem;
const projections: Projection[] = [];
beforeEach(async () => {
  system = await startProjectorSystem();
});
afterEach(async () => {
  await Promise.all(projections.splice(0).map((each) => each.close()));
  await system.close();
});

/** Starts a projection that refreshes often, and tells how often it found something to refresh. */
function project(): { refreshes(): number } {
  let refreshes = 0;
  const reportsDb: Database = {
    ...system.views.db,
    transaction: (work, options) =>
      system.views.db.transaction(
        (tx) =>
          work({
            ...tx,
            execute(statement) {
              if (statement.name === 'refreshes.run') refreshes += 1;
              return tx.execute(statement);
            },
          }),
        options,
      ),
  };
  projections.push(
    startProjection({
      db: system.views.db,
      reportsDb,
      reportIntervalMs: 200,
      log: system.log,
      views: VIEWS,
      logger: silentLogger,
    }),
  );
  return { refreshes: () => refreshes };
}

const asAdmin = <T>(work: () => Promise<T>) => system.as('admin', work);
const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);
const span = { from: dayOf(Date.now() - 30 * DAY), to: dayOf(Date.now() + 2 * DAY) };
const salesBy = (by: queryAdminV1.SalesGrouping, request: Partial<queryAdminV1.GetSalesRequest> = {}) =>
  asAdmin(() => system.admin.getSales({ by, ...span, limit: 100, after: '', ...request }));
const salesByDay = () =>
  asAdmin(() => system.client.getSalesByDay({ ...span, limit: 100, after: '', positions: [] }));
/** Waits until the reports vouch for everything appended before now. */
const refreshed = async () => {
  const since = Date.now();
  for (const by of [PRODUCT, CATEGORY])
    await eventually(async () => expect(Date.parse((await salesBy(by)).asOf)).toBeGreaterThan(since), 20_000);
};

interface Row {
  currency: string;
  units: bigint;
  revenue?: { amountMinor: bigint } | undefined;
}
const sums = (rows: Row[]) =>
  CURRENCIES.map((currency) => {
    const own = rows.filter((row) => row.currency === currency);
    return {
      currency,
      units: own.reduce((sum, row) => sum + row.units, 0n),
      revenue: own.reduce((sum, row) => sum + row.revenue!.amountMinor, 0n),
    };
  });

/** Orders of two lines and more, some of them cancelled after they were confirmed, some never confirmed. */
function someOrders(count: number, productIds: string[]): PublishableEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const order = {
      id: uuidv7(),
      userId: uuidv7(),
      placedAt: new Date(Date.now() - (index % 20) * DAY).toISOString(),
      currency: CURRENCIES[index % 7 === 0 ? 1 : 0]!,
      lines: [0, 1, 5, 0].slice(0, 2 + (index % 3)).map((step) => ({
        productId: productIds[(index + step) % productIds.length]!,
        quantity: 1 + (index % 4),
        priceMinor: 99 + index,
      })),
    };
    const events = [orderEvent(1, { ...order, status: 'pending' })];
    if (index % 6 > 0) events.push(orderEvent(2, { ...order, status: 'confirmed' }));
    if (index % 5 === 0) events.push(orderEvent(events.length + 1, { ...order, status: 'cancelled' }));
    return events;
  }).flat();
}

it('counts by product and by category what it counts by day, each order once in a row', async () => {
  const productIds = Array.from({ length: 9 }, () => uuidv7());
  const categories = ['kitchen/mugs', 'kitchen', 'garden'];
  await system.append(
    // the last two are sold and never seen in the catalogue
    ...productIds.slice(0, 7).map((id, index) => productEvent(1, { id, category: categories[index % 3]! })),
    ...someOrders(120, productIds),
  );
  project();
  await refreshed();
  const [byDay, byProduct, byCategory] = await Promise.all([
    salesByDay(),
    salesBy(PRODUCT),
    salesBy(CATEGORY),
  ]);
  expect(sums(byDay.days)[0]!.units).toBeGreaterThan(100n);
  expect(sums(byProduct.rows)).toEqual(sums(byDay.days));
  expect(sums(byCategory.rows)).toEqual(sums(byDay.days));
  const groups = byCategory.rows.map((row) => row.group);
  expect(groups).toEqual([...groups].sort());
  expect(new Set(groups)).toEqual(new Set(['', ...categories]));

  const one = productIds[0]!;
  const order = {
    id: uuidv7(),
    userId: uuidv7(),
    placedAt: new Date().toISOString(),
    lines: [
      { productId: one, quantity: 2, priceMinor: 100 },
      { productId: one, quantity: 3, priceMinor: 50 },
      { productId: productIds[3]!, quantity: 1, priceMinor: 10 }, // of the same category
    ],
  };
  await system.append(orderEvent(1, { ...order, status: 'confirmed' }));
  await refreshed();
  const rowOf = (answer: queryAdminV1.GetSalesResponse, group: string) =>
    answer.rows.find((row) => row.group === group && row.currency === 'EUR')!;
  const gained = (before: queryAdminV1.SalesRow, after: queryAdminV1.SalesRow) => [
    after.orders - before.orders,
    after.units - before.units,
    after.revenue!.amountMinor - before.revenue!.amountMinor,
  ];
  expect(gained(rowOf(byProduct, one), rowOf(await salesBy(PRODUCT), one))).toEqual([1n, 5n, 350n]);
  expect(gained(rowOf(byCategory, 'kitchen/mugs'), rowOf(await salesBy(CATEGORY), 'kitchen/mugs'))).toEqual([
    1n,
    6n,
    360n,
  ]);

  await system.append(orderEvent(2, { ...order, status: 'cancelled' }));
  await refreshed();
  expect((await salesBy(PRODUCT)).rows).toEqual(byProduct.rows);
  expect((await salesBy(CATEGORY)).rows).toEqual(byCategory.rows);
}, 60_000);

it('counts what was sold under the category that the product has now', async () => {
  const id = uuidv7();
  const sold = orderEvent(1, {
    id: uuidv7(),
    userId: uuidv7(),
    status: 'confirmed',
    placedAt: new Date().toISOString(),
    lines: [{ productId: id, quantity: 1, priceMinor: 100 }],
  });
  await system.append(productEvent(1, { id, category: 'old' }), sold);
  project();
  await refreshed();
  await system.append(productEvent(2, { id, category: 'new' }));
  await refreshed();
  const { rows } = await salesBy(CATEGORY);
  expect(rows.map((row) => [row.group, row.units])).toEqual([['new', 1n]]);
}, 30_000);

it('walks through a report page by page, and counts it', async () => {
  await system.append(
    ...someOrders(
      60,
      Array.from({ length: 9 }, () => uuidv7()),
    ),
  );
  project();
  await refreshed();
  const all = await salesBy(PRODUCT, { includeTotal: true });
  expect([all.next, all.total, all.totalIsEstimate]).toEqual(['', BigInt(all.rows.length), false]);
  const seen: queryAdminV1.SalesRow[] = [];
  let after = '';
  do {
    const page = await salesBy(PRODUCT, { after, limit: 4 });
    seen.push(...page.rows);
    after = page.next;
  } while (after !== '');
  expect(seen).toEqual(all.rows);
}, 30_000);

it('refreshes only when something was applied, and in one process at a time', async () => {
  await system.append(...someOrders(20, [uuidv7()]));
  const processes = [project(), project()];
  await refreshed();
  await refreshed(); // whatever was applied is in it now
  const refreshes = () => processes.reduce((sum, each) => sum + each.refreshes(), 0);
  const quiet = refreshes();
  expect(quiet).toBeGreaterThan(0);
  const before = (await salesBy(PRODUCT)).asOf;
  await refreshed();
  expect(refreshes()).toBe(quiet);
  expect((await salesBy(PRODUCT)).asOf > before).toBe(true);

  await Promise.all(projections.splice(0).map((each) => each.close()));
  await system.views.db.execute(sql('test.due')`update view_refreshes set refreshed_at = '-infinity'`);
  const version = { view: sales.name, version: 1 };
  const done = await Promise.all(
    Array.from({ length: 4 }, () => refreshReport(system.views.db, sales, version, 'by_product', 60_000)),
  );
  expect(done.filter(Boolean)).toHaveLength(1);
}, 60_000);

it('lets no rebuilt view go live before its reports vouch for as much as those that are read', async () => {
  const { version: building } = await beginVersion(system.views.db, sales);
  const vouch = (version: number, asOfMs: number) =>
    system.views.db.execute(sql('test.as-of')`
      update view_refreshes set as_of_ms = ${asOfMs} where version = ${version}`);
  expect(await swapVersions(system.views.db, building)).toBe(false); // never refreshed
  await vouch(1, 100);
  await vouch(building.version, 99);
  expect(await swapVersions(system.views.db, building)).toBe(false);
  await vouch(building.version, 100);
  expect(await swapVersions(system.views.db, building)).toBe(true);
});

it('vouches for nothing behind an order that cannot be applied, and counts it once it was requeued', async () => {
  project();
  await refreshed();
  const order = {
    id: uuidv7(),
    userId: uuidv7(),
    status: 'confirmed' as const,
    placedAt: new Date().toISOString(),
    lines: [{ productId: uuidv7(), quantity: 1, priceMinor: 100 }],
  };
  const poison = orderEvent(1, order);
  (poison.event.data as { total: unknown }).total = null;
  await system.append(poison);
  const letters = async () =>
    (await asAdmin(() => system.operations.listDeadLetters({ limit: 20, afterId: '' }))).deadLetters;
  const letterOfSales = async () =>
    (await letters()).find(({ source, key }) => source === 'projector.sales.v1' && key === order.id);
  await eventually(async () =>
    expect(await letterOfSales()).toMatchObject({
      topic: poison.topic,
      eventId: poison.event.id,
      attempts: 1,
    }),
  );
  const parkedBy = Date.now();
  const others = someOrders(4, [uuidv7()]);
  await system.append(...others);
  await eventually(async () => expect((await salesBy(PRODUCT)).rows).not.toEqual([]), 10_000);
  expect(Date.parse((await salesBy(PRODUCT)).asOf)).toBeLessThanOrEqual(parkedBy);

  await system.views.db.execute(sql('test.mend')`
    update parked_events set value = ${JSON.stringify(orderEvent(1, order).event)}`);
  await asAdmin(async () =>
    system.operations.requeueDeadLetter({ deadLetterId: (await letterOfSales())!.id }),
  );
  await refreshed();
  const { rows } = await salesBy(PRODUCT);
  expect(rows.some((row) => row.group === order.lines[0]!.productId)).toBe(true);
  expect(await letterOfSales()).toBeUndefined();
}, 60_000);
