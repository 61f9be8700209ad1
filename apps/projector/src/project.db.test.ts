import { queryV1, type PublishableEvent } from '@headroom/contracts';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { orderEvent, productEvent, stockEvent, userEvent } from '../test/events';
import { dumpSchema, startProjectorSystem, type ProjectorSystem } from '../test/system';
import { startProjection, type Projection, type ProjectionOptions } from './project';
import { rebuild } from './rebuild';
import { beginVersion, ensureVersion, listVersions, readWatermark } from './repository';
import { VIEWS } from './views';
import { orders } from './views/orders';
import { products } from './views/products';
import { sales } from './views/sales';
import type { View } from './views/view';

jest.setTimeout(30_000);

let system: ProjectorSystem;
beforeEach(async () => {
  system = await startProjectorSystem();
});
afterEach(async () => {
  await Promise.all(projections.splice(0).map((each) => each.close()));
  await system.close();
});

const projections: Projection[] = [];
const project = (options: Partial<ProjectionOptions> = {}) =>
  projections.push(
    startProjection({ db: system.views.db, log: system.log, views: VIEWS, logger: silentLogger, ...options }),
  );

const rebuildNow = (view: View) =>
  rebuild({ db: system.views.db, log: system.log, view, logger: silentLogger, report: () => undefined });

/** A shop with products, customers, and orders in every state. */
function history(count: number): { events: PublishableEvent[]; users: string[]; productIds: string[] } {
  const users = Array.from({ length: 5 }, () => uuidv7());
  const productIds = Array.from({ length: 20 }, () => uuidv7());
  const events = [
    ...users.map((id) => userEvent(1, id, 'Ada')),
    ...productIds.flatMap((id, index) => [
      productEvent(1, { id, category: `c${index % 3}/d` }),
      stockEvent(1, id, index),
    ]),
  ];
  for (let index = 0; index < count; index += 1) events.push(...orderEvents(index, users, productIds));
  return { events, users, productIds };
}

function orderEvents(index: number, users: string[], productIds: string[]): PublishableEvent[] {
  const order = {
    id: uuidv7(),
    userId: users[index % users.length]!,
    placedAt: new Date(Date.now() - (index % 10) * 24 * 3_600_000).toISOString(),
    lines: [
      { productId: productIds[index % productIds.length]!, quantity: 1 + (index % 3), priceMinor: 500 },
      { productId: productIds[(index + 7) % productIds.length]!, quantity: 2, priceMinor: 250 },
    ],
  };
  const placed = orderEvent(1, { ...order, status: 'pending' });
  const confirmed = orderEvent(2, { ...order, status: 'confirmed' });
  const cancelled = orderEvent(3, { ...order, status: 'cancelled' });
  return [placed, ...(index % 5 === 0 ? [] : [confirmed]), ...(index % 7 === 0 ? [cancelled] : [])];
}

const salesOf = async () => {
  const today = new Date();
  const day = (offset: number) => new Date(today.getTime() + offset * 86_400_000).toISOString().slice(0, 10);
  return system.as('admin', () =>
    system.client.getSalesByDay({ from: day(-30), to: day(2), limit: 100, after: '', positions: [] }),
  );
};
const totalOrders = (answer: queryV1.GetSalesByDayResponse) =>
  answer.days.reduce((sum, day) => sum + day.orders, 0n);

const caughtUp = async () => {
  const now = Date.now();
  await eventually(async () => {
    const versions = await listVersions(system.views.db);
    for (const view of VIEWS) {
      const live = versions.find((each) => each.view === view.name && each.state === 'live')!;
      expect(await readWatermark(system.views.db, view, live)).toBeGreaterThan(now);
    }
  }, 20_000);
};

it('shows what was appended, and its watermark follows the clock while nothing arrives', async () => {
  project();
  const { events, users } = history(3);
  await system.append(...events);
  await caughtUp();
  const mine = await system.as(users[1]!, () =>
    system.client.listOrders({ limit: 10, afterId: '', page: 0 }),
  );
  expect(mine.orders).toHaveLength(1);
  const first = mine.watermarkMs;
  await eventually(async () => {
    const later = await system.as(users[1]!, () =>
      system.client.listOrders({ limit: 10, afterId: '', page: 0 }),
    );
    expect(later.watermarkMs).toBeGreaterThan(first);
  });
});

it('holds the watermark back behind an event that cannot be applied', async () => {
  project();
  await system.append(...history(2).events);
  await caughtUp();
  const before = Date.now();
  const poison = orderEvent(1, {
    id: uuidv7(),
    userId: uuidv7(),
    status: 'pending',
    placedAt: new Date().toISOString(),
    lines: [],
  });
  (poison.event.data as { placedAt: string }).placedAt = 'never';
  await system.append(poison);
  await eventually(async () => {
    const parked = await system.views.db.rows(
      sql('test.parked')`select id from parked_events where group_name = 'projector.orders.v1'`,
    );
    expect(parked).toHaveLength(1);
  });
  const after = Date.now();
  await eventually(async () => {
    const marks = await system.views.db.rows<{ caught_up_ms: bigint }>(
      sql('test.marks')`select caught_up_ms from view_watermarks where view = 'orders'`,
    );
    for (const mark of marks) expect(Number(mark.caught_up_ms)).toBeGreaterThan(after);
  });
  const watermark = await readWatermark(system.views.db, orders, { version: 1 });
  expect(watermark).toBeGreaterThanOrEqual(before - 1);
  expect(watermark).toBeLessThanOrEqual(after);
});

it('rebuilds every view under 20 orders a second: every read answers, nothing goes back, the rows are equal', async () => {
  const { events, users, productIds } = history(700);
  await system.append(...events);
  project({ graceMs: 600_000 });
  await caughtUp();
  const stop = new AbortController();
  const whileRunning = async (work: () => Promise<void>) => {
    while (!stop.signal.aborted) await work();
  };
  const startedAt = performance.now();
  let placed = 0;
  const traffic = whileRunning(async () => {
    placed += 1;
    await system.append(...orderEvents(placed, users, productIds));
    const aheadMs = placed * 50 - (performance.now() - startedAt);
    if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs));
  });
  let reads = 0;
  const reader = whileRunning(async () => {
    const [list, mine] = await Promise.all([
      system.client.listProducts(queryV1.ListProductsRequest.create({ limit: 20 })),
      system.as(users[0]!, () => system.client.listOrders({ limit: 20, afterId: '', page: 0 })),
      system.as(users[0]!, () => system.client.getCustomerSummary({})),
      salesOf(),
      system.client.listCategories({ positions: [] }),
    ]);
    expect(list.products).toHaveLength(20);
    expect(mine.orders).toHaveLength(20);
    reads += 5;
  });
  let newest = '';
  const watcher = whileRunning(async () => {
    const { orders: mine } = await system.as(users[1]!, () =>
      system.client.listOrders({ limit: 1, afterId: '', page: 0 }),
    );
    expect([mine[0]!.id, mine[0]!.id >= newest]).toEqual([mine[0]!.id, true]);
    newest = mine[0]!.id;
  });
  const rebuilds = (async () => {
    for (const view of VIEWS) await rebuildNow(view);
    stop.abort();
  })();
  try {
    await Promise.all([rebuilds, traffic, reader, watcher]);
  } finally {
    stop.abort();
    await Promise.allSettled([rebuilds, traffic, reader, watcher]);
  }
  const rate = placed / ((performance.now() - startedAt) / 1_000);
  expect(rate).toBeGreaterThan(15);
  expect(reads).toBeGreaterThan(100);
  await caughtUp();
  await eventually(async () => {
    const left = await system.views.db.rows(sql('test.left')`select from products_v2.popularity_changes`);
    expect(left).toEqual([]);
  });
  // Version 2 was replayed and then followed the traffic; version 3 is the replay of all of it.
  for (const view of VIEWS) {
    await rebuildNow(view);
    await eventually(async () => {
      const live = await dumpSchema(system.views.db, `${view.name}_v2`);
      expect(await dumpSchema(system.views.db, `${view.name}_v3`)).toEqual(live);
      for (const [table, rows] of Object.entries(live))
        expect([table, rows.length > 0]).toEqual([table, table !== 'popularity_changes']);
    });
  }
}, 60_000);

it('drops a replaced version after the grace period, with its offsets and its group', async () => {
  project({ graceMs: 300 });
  await system.append(...history(5).events);
  await caughtUp();
  await rebuildNow(sales);
  await eventually(async () => {
    const versions = (await listVersions(system.views.db)).filter((each) => each.view === 'sales');
    expect(versions).toEqual([{ view: 'sales', version: 2, shape: sales.shape, state: 'live' }]);
    const left = await system.views.db.rows(sql('test.left')`
      select 'offset' as what from consumer_offsets where group_name = 'projector.sales.v1'
      union all select 'mark' from view_watermarks where view = 'sales' and version = 1
      union all select 'schema' from pg_namespace where nspname = 'sales_v1'`);
    expect(left).toEqual([]);
    const group = await system.events.db.rows(
      sql('test.group')`select scope from log_groups where scope = 'projector.sales.v1'`,
    );
    expect(group).toEqual([]);
  }, 20_000);
  expect(totalOrders(await salesOf())).toBe(4n - 0n);
}, 30_000);

it('rebuilds a view that an older program made in another shape, and does not read it meanwhile', async () => {
  await system.append(...history(5).events);
  const newer = { ...products, shape: products.shape + 1 };
  await ensureVersion(system.views.db, newer);
  const states = async () =>
    (await listVersions(system.views.db))
      .filter((each) => each.view === 'products' && each.state !== 'retired')
      .map((each) => [each.version, each.shape, each.state]);
  expect(await states()).toEqual([
    [1, 1, 'live'],
    [2, 2, 'building'],
  ]);
  project({ views: [newer] });
  await eventually(async () => expect(await states()).toEqual([[2, 2, 'live']]));
  await ensureVersion(system.views.db, products); // the older program starts once more
  expect(await states()).toEqual([[2, 2, 'live']]);
  await eventually(() => expect(() => system.liveViews.of(products)).toThrow('being rebuilt'));
  await expect(
    system.client.listProducts(queryV1.ListProductsRequest.create({ limit: 20 })),
  ).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
});

it('builds one version however many processes ask for it', async () => {
  const began = await Promise.all([1, 2, 3, 4].map(() => beginVersion(system.views.db, orders)));
  expect(began.map(({ version }) => version.version)).toEqual([2, 2, 2, 2]);
  expect(began.filter(({ resumed }) => !resumed)).toHaveLength(1);
});

describe('the command', () => {
  const command = (...words: string[]) => {
    const child = spawn(process.execPath, ['--import', 'tsx', join(__dirname, 'main.ts'), ...words], {
      cwd: join(__dirname, '../../..'),
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: system.views.url,
        EVENT_LOG_URL: system.events.url,
        USER_ADDRESS: '127.0.0.1:1',
        ISSUER: 'http://test',
        LOG_LEVEL: 'warn',
      },
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    return {
      child,
      exited: once(child, 'exit').then(([code]) => code as number | null),
      output: () => output,
    };
  };

  it('goes on after kill -9 where it was, without a running projector', async () => {
    await system.append(...history(2_500).events);
    const first = command('rebuild', 'orders');
    const offset = async () =>
      (await system.views.db.row<{ done: bigint }>(sql('test.done')`
          select coalesce(sum(next_offset), 0)::bigint as done from consumer_offsets where group_name = 'projector.orders.v2'`))!
        .done;
    await eventually(async () => expect(await offset()).toBeGreaterThan(0n));
    first.child.kill('SIGKILL');
    await first.exited;
    const done = await offset();
    const versions = async () =>
      (await listVersions(system.views.db)).filter((each) => each.view === 'orders');
    expect((await versions()).map((each) => each.state)).toEqual(['live', 'building']);
    const second = command('rebuild', 'orders');
    expect(await second.exited).toBe(0);
    expect(done).toBeLessThan(await offset());
    expect(second.output()).toContain('orders v2 is being built already: going on');
    expect(second.output()).toContain('orders v2 is live after');
    expect((await versions()).map((each) => each.state)).toEqual(['retired', 'live']);
    const count = await system.views.db.row<{ count: bigint }>(
      sql('test.count')`select count(*) from orders_v2.orders`,
    );
    expect(count!.count).toBe(2_500n);
  }, 60_000);

  it('names the views there are when asked for another', async () => {
    const asked = command('rebuild', 'prodcts');
    expect(await asked.exited).toBe(64);
    expect(asked.output()).toBe('there is no view "prodcts", only products, orders, customers, sales\n');
  }, 20_000);
});
