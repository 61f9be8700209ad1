import { queryV1, type PublishableEvent } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { orderEvent, productEvent, stockEvent } from '../test/events';
import { startProjectorSystem, type ProjectorSystem } from '../test/system';
import { startProjection, type Projection } from './project';
import { VIEWS } from './views';

const START = Date.UTC(2026, 0, 1);
const { ListProductsRequest, ProductSort } = queryV1;

jest.setTimeout(30_000);

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

/** Appends and answers the positions that a reader has to wait for. */
async function write(...events: PublishableEvent[]) {
  await system.append(...events);
  return events.map(({ event }) => ({ subject: event.subject, version: BigInt(event.aggregateversion) }));
}
const products = (request: Partial<queryV1.ListProductsRequest>) =>
  system.client.listProducts(ListProductsRequest.create(request));
const failsWith = (code: string, fields: Record<string, unknown> = {}) =>
  expect.objectContaining({ code, ...fields });

describe('positions', () => {
  it('are waited for: the answer includes the write', async () => {
    const id = uuidv7();
    const positions = await write(productEvent(1, { id, category: 'waited' }), stockEvent(1, id, 3));
    const first = await products({ category: 'waited', positions });
    expect(first.products.map((each) => [each.id, each.available])).toEqual([[id, 3n]]);
    const later = [{ subject: `product/${id}`, version: 2n }];
    const waiting = products({ category: 'waited', positions: later });
    await write(productEvent(2, { id, category: 'waited', name: 'Renamed' }));
    expect((await waiting).products[0]!.name).toBe('Renamed');
  });

  it('that are not reached within two seconds fail the read, never answer stale', async () => {
    const id = uuidv7();
    await write(productEvent(1, { id }));
    const startedAt = Date.now();
    await expect(products({ positions: [{ subject: `product/${id}`, version: 2n }] })).rejects.toEqual(
      failsWith('CONSISTENCY_TIMEOUT', { retryAfterSeconds: 1 }),
    );
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_990);
    await expect(
      system.client.listCategories({ positions: [{ subject: `product/${uuidv7()}`, version: 1n }] }),
    ).rejects.toEqual(failsWith('CONSISTENCY_TIMEOUT'));
  });

  it('of other stores are none of the view’s business', async () => {
    const positions = [
      { subject: `order/${uuidv7()}`, version: 9n },
      { subject: `user/${uuidv7()}`, version: 9n },
      { subject: 'product/none', version: 9n },
    ];
    await expect(products({ positions })).resolves.toBeDefined();
  });
});

describe('products', () => {
  const ids = Array.from({ length: 5 }, (_, index) => uuidv7(START + index));
  beforeAll(async () => {
    await products({
      positions: await write(
        ...ids.flatMap((id, index) => [
          productEvent(1, {
            id,
            category: 'walk/here',
            name: index === 0 ? 'Porcelain Teapot' : `Plain Plate ${index}`,
            price: { amountMinor: 100 * index, currency: index === 4 ? 'USD' : 'EUR' },
          }),
          stockEvent(1, id, index),
        ]),
      ),
    });
  });

  it('are walked by what the answer before gave, to the end', async () => {
    const seen: string[] = [];
    let after = '';
    do {
      const page = await products({ category: 'walk', limit: 2, after });
      seen.push(...page.products.map((each) => each.id));
      after = page.next;
    } while (after !== '');
    expect(seen).toEqual([...ids].reverse());
    const second = await products({ category: 'walk', limit: 2, page: 2, includeTotal: true });
    expect(second.products.map((each) => each.id)).toEqual([ids[2], ids[1]]);
    expect([second.total, second.totalIsEstimate]).toEqual([5n, false]);
  });

  it('are of the shop’s currency where prices matter and none is named', async () => {
    const idsOf = async (request: Partial<queryV1.ListProductsRequest>) =>
      (await products({ category: 'walk', ...request })).products.map((each) => ids.indexOf(each.id));
    expect(await idsOf({ sort: ProductSort.PRODUCT_SORT_PRICE })).toEqual([0, 1, 2, 3]);
    expect(await idsOf({ minPriceMinor: 200n })).toEqual([3, 2]);
    expect(await idsOf({ minPriceMinor: 200n, currency: 'USD' })).toEqual([4]);
    expect(await idsOf({ inStock: false })).toEqual([0]);
  });

  it('are found by words, also misspelled ones, page after page in the same way', async () => {
    expect((await products({ q: 'teapot', category: 'walk' })).products.map((each) => each.id)).toEqual([
      ids[0],
    ]);
    expect((await products({ q: 'porcelan', category: 'walk' })).products.map((each) => each.id)).toEqual([
      ids[0],
    ]);
    const first = await products({ q: 'plaet', category: 'walk', limit: 3, includeTotal: true });
    const second = await products({ q: 'plaet', category: 'walk', limit: 3, after: first.next });
    expect(first.total).toBe(4n);
    expect([...first.products, ...second.products].map((each) => each.id).sort()).toEqual(ids.slice(1));
    expect(second.next).toBe('');
  });

  it('refuse a place that was made for another order or by nobody', async () => {
    const { next } = await products({ category: 'walk', limit: 1 });
    const bad = [
      { after: next, sort: ProductSort.PRODUCT_SORT_PRICE },
      { after: 'x' },
      { after: Buffer.from('[]').toString('base64url') },
      { after: Buffer.from('["newest",false,"0","x",1]').toString('base64url') },
      { after: Buffer.from('null').toString('base64url') },
    ];
    for (const request of bad) await expect(products(request)).rejects.toEqual(failsWith('CURSOR_INVALID'));
  });

  it('refuse what makes no sense, by name', async () => {
    const bad: Array<[Partial<queryV1.ListProductsRequest>, string, string?]> = [
      [{ page: 11 }, 'PAGE_TOO_DEEP'],
      [{ page: -1 }, 'VALIDATION_FAILED', 'page'],
      [{ page: 1, after: 'x' }, 'VALIDATION_FAILED', 'page'],
      [{ limit: 101 }, 'VALIDATION_FAILED', 'limit'],
      [{ limit: -1 }, 'VALIDATION_FAILED', 'limit'],
      [{ sort: ProductSort.PRODUCT_SORT_RELEVANCE }, 'VALIDATION_FAILED', 'sort'],
      [{ currency: 'eur' }, 'VALIDATION_FAILED', 'currency'],
      [{ q: 'x'.repeat(257) }, 'VALIDATION_FAILED', 'q'],
    ];
    for (const [request, code, path] of bad)
      await expect(products(request)).rejects.toEqual(
        failsWith(code, path ? { errors: [expect.objectContaining({ path })] } : {}),
      );
  });

  it('answer odd words and categories with nothing', async () => {
    for (const q of ['\0', '!!!', '" "" -', '(((', ':*', '\\', '%', 'ﬁ', '💥', 'a&b|c', "'"])
      expect((await products({ q, category: 'walk' })).products).toEqual(q === '\0' ? expect.anything() : []);
    for (const category of ['\0', 'walk/', '/', 'WALK', 'a/b/c/d/e', "'; --"])
      expect((await products({ category })).products).toEqual([]);
  });
});

describe('orders', () => {
  it('are the caller’s own; nobody else’s and no guest’s', async () => {
    const [ada, bob] = [uuidv7(), uuidv7()];
    const order = (userId: string, placedAt: number) =>
      orderEvent(1, {
        id: uuidv7(placedAt),
        userId,
        status: 'pending',
        placedAt: new Date(placedAt).toISOString(),
        lines: [{ productId: uuidv7(), quantity: 2, priceMinor: 150 }],
      });
    const mine = [order(ada, START), order(ada, START + 1)];
    await write(...mine, order(bob, START + 2));
    const list = (afterId = '') =>
      system.as(ada, () => system.client.listOrders({ limit: 1, afterId, page: 0 }));
    const first = await eventually(async () => {
      const answer = await list();
      expect(answer.more).toBe(true);
      return answer;
    });
    expect(first.orders).toEqual([
      expect.objectContaining({
        id: mine[1]!.key,
        userId: ada,
        cancelReason: '',
        total: { amountMinor: 300n, currency: 'EUR' },
        version: 1n,
      }),
    ]);
    const second = await list(mine[1]!.key);
    expect([second.orders[0]!.id, second.more]).toEqual([mine[0]!.key, false]);
    await expect(list('x')).rejects.toEqual(failsWith('CURSOR_INVALID'));
    await expect(system.client.listOrders({ limit: 1, afterId: '', page: 0 })).rejects.toEqual(
      failsWith('UNAUTHENTICATED'),
    );
    await eventually(async () => {
      const summary = await system.as(ada, () => system.client.getCustomerSummary({}));
      expect(summary).toEqual({
        userId: ada,
        orders: 2n,
        confirmedOrders: 0n,
        spent: [],
        firstOrderAt: new Date(START).toISOString(),
        lastOrderAt: new Date(START + 1).toISOString(),
      });
    });
    const none = await system.as(uuidv7(), () => system.client.getCustomerSummary({}));
    expect([none.orders, none.firstOrderAt]).toEqual([0n, '']);
  });
});

describe('sales', () => {
  const report = (request: Partial<queryV1.GetSalesByDayRequest>, caller = 'admin') =>
    system.as(caller, () =>
      system.client.getSalesByDay({
        from: '2025-01-01',
        to: '2025-02-01',
        limit: 2,
        after: '',
        positions: [],
        ...request,
      }),
    );

  it('are told to admins, day by day, with the write that was waited for', async () => {
    const sold = ['2025-01-03', '2025-01-01', '2025-01-02'].map((day) =>
      orderEvent(1, {
        id: uuidv7(),
        userId: uuidv7(),
        status: 'confirmed',
        placedAt: `${day}T12:00:00.000Z`,
        lines: [{ productId: uuidv7(), quantity: 2, priceMinor: 150 }],
      }),
    );
    const positions = await write(...sold);
    const first = await report({ positions });
    expect(first.days.map((each) => [each.day, each.orders, each.units, each.revenue])).toEqual([
      ['2025-01-01', 1n, 2n, { amountMinor: 300n, currency: 'EUR' }],
      ['2025-01-02', 1n, 2n, { amountMinor: 300n, currency: 'EUR' }],
    ]);
    const second = await report({ after: first.next });
    expect([second.days.map((each) => each.day), second.next]).toEqual([['2025-01-03'], '']);
    await eventually(async () => {
      const asOf = Date.parse((await report({})).asOf);
      expect(Date.now() - asOf).toBeLessThan(15_000);
    });
  });

  it('are refused to others and for periods that make no sense', async () => {
    await expect(report({}, 'someone')).rejects.toEqual(failsWith('FORBIDDEN'));
    const bad: Array<[Partial<queryV1.GetSalesByDayRequest>, string]> = [
      [{ from: '2025-02-30' }, 'from'],
      [{ from: '2025-1-1' }, 'from'],
      [{ to: '2025-01-01' }, 'to'],
      [{ to: '2035-01-10' }, 'to'],
    ];
    for (const [request, path] of bad)
      await expect(report(request)).rejects.toEqual(
        failsWith('VALIDATION_FAILED', { errors: [expect.objectContaining({ path })] }),
      );
    await expect(report({ after: '2025-01-01' })).rejects.toEqual(failsWith('CURSOR_INVALID'));
  });
});
