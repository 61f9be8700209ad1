import type { PublishableEvent } from '@headroom/contracts';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { createTestDatabase, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { orderEvent, productEvent, received, stockEvent, userEvent } from '../../test/events';
import { dumpSchema } from '../../test/system';
import { customers, customerTotals } from './customers';
import { listOrdersOfUser, orders } from './orders';
import {
  allowSimilarWords,
  countByCategory,
  countProducts,
  listProducts,
  matchesExactly,
  products,
  type ProductFilter,
  type ProductPlace,
  type ProductSort,
} from './products';
import { listSales, sales } from './sales';
import type { View } from './view';

const NOW = Date.UTC(2026, 5, 15, 12);
const DAY = 24 * 3_600_000;
const daysAgo = (days: number) => new Date(NOW - days * DAY).toISOString();
const everything: ProductFilter = {
  category: undefined,
  minPriceMinor: undefined,
  maxPriceMinor: undefined,
  currency: undefined,
  inStock: undefined,
  search: undefined,
};

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase(join(__dirname, '../../migrations'));
});
afterAll(() => test.drop());

let made = 0;
async function freshView(view: View) {
  const name = `${view.name}_v${(made += 1)}`;
  const schema = sql.identifier(name);
  await test.db.execute(sql('test.schema')`create schema ${schema}`);
  await test.db.execute(view.create(sql.part`${schema}`));
  const apply = async (...events: PublishableEvent[]) => {
    for (const event of events)
      await test.db.transaction((tx) => view.apply(tx, schema, received([event]), NOW));
  };
  const applyAtOnce = (...events: PublishableEvent[]) =>
    test.db.transaction((tx) => view.apply(tx, schema, received(events), NOW));
  const dump = () => dumpSchema(test.db, name);
  return { schema, apply, applyAtOnce, dump, upkeep: (nowMs = NOW) => view.upkeep!(test.db, schema, nowMs) };
}

const idAt = (ms: number) => uuidv7(ms);

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

describe('every view', () => {
  const product = idAt(NOW);
  const user = idAt(NOW);
  const order = {
    id: idAt(NOW),
    userId: user,
    placedAt: daysAgo(1),
    lines: [{ productId: product, quantity: 3, priceMinor: 500 }],
  };
  const history = [
    userEvent(1, user, 'Ada'),
    userEvent(2, user, 'Ada L.'),
    productEvent(1, { id: product }),
    stockEvent(1, product, 5),
    productEvent(2, { id: product, name: 'Beech Serving Board' }),
    stockEvent(2, product, 2),
    orderEvent(1, { ...order, status: 'pending' }),
    orderEvent(2, { ...order, status: 'confirmed' }),
  ];

  it.each([products, orders, sales, customers])(
    'ignores events of $name that it has applied already, in any order',
    async (view) => {
      const { apply, dump, upkeep } = await freshView(view);
      const upkept = async () => {
        if (view.upkeep) await upkeep();
        const { popularity_changes: _, ...tables } = await dump();
        return tables;
      };
      await apply(...history);
      const once = await upkept();
      await apply(...history, ...[...history].reverse());
      expect(await upkept()).toEqual(once);
    },
  );

  it.each([products, orders, sales, customers])(
    'stores the same of $name however the log is cut into batches',
    async (view) => {
      const random = seeded(7);
      const users = [idAt(NOW), idAt(NOW)];
      const productIds = Array.from({ length: 6 }, () => idAt(NOW));
      const streams = [
        ...users.map((id) => [userEvent(1, id, 'Ada'), userEvent(2, id, 'Ada L.')]),
        ...productIds.map((id) =>
          [1, 2, 3].map((version) => productEvent(version, { id, name: `V${version}` })),
        ),
        ...productIds.map((id) => [1, 2, 3].map((version) => stockEvent(version, id, version * 3))),
        ...Array.from({ length: 40 }, (_, index) => {
          const each = {
            id: idAt(NOW),
            userId: index % 9 === 0 ? null : users[index % 2]!,
            placedAt: daysAgo(index),
            currency: index % 8 === 0 ? 'USD' : 'EUR',
            lines: [0, 1, 2].map((line) => ({
              productId: productIds[(index + line * 3) % 6]!,
              quantity: 1 + line,
              priceMinor: 100 + index,
            })),
          };
          const events = [orderEvent(1, { ...each, status: 'pending' })];
          if (index % 3 > 0) events.push(orderEvent(2, { ...each, status: 'confirmed' }));
          if (index % 5 === 0) events.push(orderEvent(events.length + 1, { ...each, status: 'cancelled' }));
          return events;
        }),
      ];
      // Any mixture that keeps the order of each aggregate.
      const events: PublishableEvent[] = [];
      while (streams.some((stream) => stream.length > 0)) {
        const next = streams[Math.floor(random() * streams.length)]!.shift();
        if (next) events.push(next);
      }
      const oneByOne = await freshView(view);
      await oneByOne.apply(...events);
      const batched = await freshView(view);
      for (let from = 0; from < events.length;) {
        const size = 1 + Math.floor(random() * 60);
        await batched.applyAtOnce(...events.slice(from, from + size));
        from += size;
      }
      const upkept = async (each: typeof batched) => {
        if (view.upkeep) await each.upkeep();
        return each.dump();
      };
      expect(await upkept(batched)).toEqual(await upkept(oneByOne));
    },
  );
});

describe('orders', () => {
  it('lists the orders of a user alone, newest first, and goes on behind an id', async () => {
    const { schema, apply } = await freshView(orders);
    const [ada, bob] = [uuidv7(), uuidv7()];
    const ids = [1, 2, 3].map((days) => idAt(NOW - days * DAY));
    const of = (id: string, userId: string) =>
      orderEvent(1, { id, userId, status: 'pending', placedAt: daysAgo(1), lines: [] });
    await apply(...ids.map((id) => of(id, ada)), of(idAt(NOW), bob));
    const list = (afterId?: string, offset = 0) =>
      listOrdersOfUser(test.db, schema, { userId: ada, afterId, offset, limit: 2 });
    expect((await list()).map((row) => row.id)).toEqual([ids[0], ids[1]]);
    expect((await list(ids[1])).map((row) => row.id)).toEqual([ids[2]]);
    expect((await list(undefined, 2)).map((row) => row.id)).toEqual([ids[2]]);
  });
});

describe('sales', () => {
  const days = (
    schema: Awaited<ReturnType<typeof freshView>>['schema'],
    from = '2026-06-01',
    to = '2026-07-01',
  ) => listSales(test.db, schema, 'day', { from, to, after: undefined, limit: 100 });

  it('counts an order once while it is confirmed, on the UTC day it was placed', async () => {
    const { schema, apply } = await freshView(sales);
    const order = {
      id: uuidv7(),
      userId: uuidv7(),
      placedAt: '2026-06-14T23:59:59.999Z',
      lines: [
        { productId: uuidv7(), quantity: 2, priceMinor: 250 },
        { productId: uuidv7(), quantity: 1, priceMinor: 1_000 },
      ],
    };
    await apply(orderEvent(1, { ...order, status: 'pending' }));
    expect(await days(schema)).toEqual([]);
    await apply(
      orderEvent(2, { ...order, status: 'confirmed' }),
      orderEvent(2, { ...order, status: 'confirmed' }),
      orderEvent(3, { ...order, status: 'confirmed' }),
    );
    expect(await days(schema)).toEqual([
      { group: '2026-06-14', currency: 'EUR', orders: 1n, units: 3n, revenue_minor: 1_500n },
    ]);
    await apply(orderEvent(4, { ...order, status: 'cancelled' }));
    expect(await days(schema)).toEqual([]);
  });

  it('adds up what came by different partitions, each currency for itself, from inclusive and to exclusive', async () => {
    const { schema } = await freshView(sales);
    const place = (partition: number, day: string, currency: string) =>
      test.db.transaction((tx) =>
        sales.apply(
          tx,
          schema,
          received(
            [
              orderEvent(1, {
                id: uuidv7(),
                userId: uuidv7(),
                status: 'confirmed',
                placedAt: `${day}T00:00:00.000Z`,
                currency,
                lines: [{ productId: uuidv7(), quantity: 1, priceMinor: 100 }],
              }),
            ],
            partition,
          ),
          NOW,
        ),
      );
    await place(0, '2026-06-01', 'EUR');
    await place(1, '2026-06-01', 'EUR');
    await place(1, '2026-06-01', 'USD');
    await place(0, '2026-06-02', 'EUR');
    await place(0, '2026-06-03', 'EUR');
    const found = await days(schema, '2026-06-01', '2026-06-03');
    expect(found.map((row) => [row.group, row.currency, row.orders])).toEqual([
      ['2026-06-01', 'EUR', 2n],
      ['2026-06-01', 'USD', 1n],
      ['2026-06-02', 'EUR', 1n],
    ]);
    const rest = await listSales(test.db, schema, 'day', {
      from: '2026-06-01',
      to: '2026-07-01',
      after: { group: '2026-06-01', currency: 'EUR' },
      limit: 2,
    });
    expect(rest.map((row) => [row.group, row.currency])).toEqual([
      ['2026-06-01', 'USD'],
      ['2026-06-02', 'EUR'],
    ]);
  });
});

describe('customers', () => {
  it('sums what a customer spent on confirmed orders and counts all orders', async () => {
    const { schema, apply } = await freshView(customers);
    const userId = uuidv7();
    const order = (placedAt: string, priceMinor: number) => ({
      id: uuidv7(),
      userId,
      placedAt,
      lines: [{ productId: uuidv7(), quantity: 1, priceMinor }],
    });
    const [first, second] = [order(daysAgo(3), 100), order(daysAgo(1), 200)];
    await apply(
      orderEvent(1, { ...second, status: 'pending' }),
      orderEvent(2, { ...second, status: 'confirmed' }),
      orderEvent(1, { ...first, status: 'pending' }),
      orderEvent(2, { ...first, status: 'confirmed' }),
      orderEvent(3, { ...first, status: 'cancelled' }),
    );
    expect(await customerTotals(test.db, schema, userId)).toEqual([
      {
        currency: 'EUR',
        orders: 2n,
        confirmed_orders: 1n,
        spent_minor: 200n,
        first_order_at: new Date(daysAgo(3)),
        last_order_at: new Date(daysAgo(1)),
      },
    ]);
  });
});

describe('products', () => {
  const list = async (
    schema: Awaited<ReturnType<typeof freshView>>['schema'],
    options: {
      filter?: Partial<ProductFilter>;
      sort?: ProductSort;
      after?: ProductPlace | undefined;
      offset?: number;
      limit?: number;
    } = {},
  ) =>
    test.db.transaction(async (tx) => {
      await allowSimilarWords(tx);
      return listProducts(tx, schema, {
        filter: { ...everything, ...options.filter },
        sort: options.sort ?? 'newest',
        after: options.after,
        offset: options.offset ?? 0,
        limit: options.limit ?? 100,
      });
    });
  const namesOf = async (...arguments_: Parameters<typeof list>) =>
    (await list(...arguments_)).products.map((row) => row.name);

  /** Names a few products, the first one the newest. */
  async function shop(
    ...items: Array<{
      name: string;
      category?: string;
      price?: number;
      currency?: string;
      stock?: number;
      description?: string;
      sku?: string;
    }>
  ) {
    const view = await freshView(products);
    const ids = items.map((_, index) => idAt(NOW - index * 1_000));
    for (const [index, item] of items.entries())
      await view.apply(
        productEvent(1, {
          id: ids[index]!,
          name: item.name,
          ...(item.category === undefined ? {} : { category: item.category }),
          ...(item.description === undefined ? {} : { description: item.description }),
          ...(item.sku === undefined ? {} : { sku: item.sku }),
          price: { amountMinor: item.price ?? 100, currency: item.currency ?? 'EUR' },
        }),
        stockEvent(1, ids[index]!, item.stock ?? 1),
      );
    return { ...view, ids };
  }

  it('includes children in a category, and only those', async () => {
    const { schema } = await shop(
      { name: 'A', category: 'kitchen/mugs' },
      { name: 'B', category: 'kitchen' },
      { name: 'C', category: 'kitchen-tools' },
      { name: 'D', category: 'kitchen/mugs/large/blue' },
      { name: 'E', category: 'garden' },
    );
    expect(await namesOf(schema, { filter: { category: 'kitchen' } })).toEqual(['A', 'B', 'D']);
    expect(await namesOf(schema, { filter: { category: 'kitchen/mugs' } })).toEqual(['A', 'D']);
    expect(await namesOf(schema, { filter: { category: 'kitchen/mugs/large' } })).toEqual(['D']);
    expect(await namesOf(schema, { filter: { category: 'kitchen/mugs/large/blue' } })).toEqual(['D']);
    expect(await namesOf(schema, { filter: { category: 'kitchen/mugs/large/blue/x' } })).toEqual([]);
    expect(await namesOf(schema, { filter: { category: 'attic' } })).toEqual([]);
    expect(await countByCategory(test.db, schema)).toHaveLength(5);
  });

  it('filters by price within bounds, currency and stock', async () => {
    const { schema } = await shop(
      { name: 'A', price: 100 },
      { name: 'B', price: 200, stock: 0 },
      { name: 'C', price: 300 },
      { name: 'D', price: 200, currency: 'USD' },
    );
    const bounds = { minPriceMinor: 100n, maxPriceMinor: 200n };
    expect(await namesOf(schema, { filter: bounds })).toEqual(['A', 'B', 'D']);
    expect(await namesOf(schema, { filter: { ...bounds, currency: 'EUR' } })).toEqual(['A', 'B']);
    expect(await namesOf(schema, { filter: { inStock: true } })).toEqual(['A', 'C', 'D']);
    expect(await namesOf(schema, { filter: { inStock: false } })).toEqual(['B']);
  });

  it('hides archived products and stock without a product, and shows restored ones', async () => {
    const { schema, apply, ids } = await shop({ name: 'A' }, { name: 'B' });
    await apply(
      productEvent(2, { id: ids[0]!, name: 'A', archived: true }, 'headroom.catalog.product-archived'),
      stockEvent(1, uuidv7(), 7),
    );
    expect(await namesOf(schema)).toEqual(['B']);
    await apply(productEvent(3, { id: ids[0]!, name: 'A' }, 'headroom.catalog.product-restored'));
    expect(await namesOf(schema)).toEqual(['A', 'B']);
  });

  it.each(['newest', 'price', '-price', 'popular'] as const)(
    'walks through all products by %s without skipping or repeating one',
    async (sort) => {
      const view = await freshView(products);
      const ids = Array.from({ length: 25 }, (_, index) => idAt(NOW + index));
      for (const [index, id] of ids.entries())
        await view.apply(
          productEvent(1, { id, price: { amountMinor: (index * 7) % 5, currency: 'EUR' } }),
          stockEvent(1, id, index % 3),
        );
      const seen: string[] = [];
      let after: ProductPlace | undefined;
      do {
        const page = await list(view.schema, { sort, after, limit: 4 });
        seen.push(...page.products.map((row) => row.id));
        after = page.next;
      } while (after);
      expect([...seen].sort()).toEqual(ids);
      if (sort === 'newest' || sort === 'popular') expect(seen).toEqual([...ids].reverse());
      const wholeList = await list(view.schema, { sort });
      expect(wholeList.products.map((row) => row.id)).toEqual(seen);
      const third = await list(view.schema, { sort, offset: 8, limit: 4 });
      expect(third.products.map((row) => row.id)).toEqual(seen.slice(8, 12));
    },
  );

  it('never skips or repeats in newest while products are inserted', async () => {
    const view = await freshView(products);
    const old = Array.from({ length: 20 }, (_, index) => idAt(NOW + index));
    await view.apply(...old.map((id) => productEvent(1, { id })));
    const seen: string[] = [];
    let after: ProductPlace | undefined;
    let inserted = 0;
    do {
      const page = await list(view.schema, { after, limit: 3 });
      seen.push(...page.products.map((row) => row.id));
      after = page.next;
      await view.apply(productEvent(1, { id: idAt(NOW + 1_000 + (inserted += 1)) }));
    } while (after);
    expect(seen).toEqual([...old].reverse());
  });

  it('ends popular after the first 1,000, however it is paged', async () => {
    const view = await freshView(products);
    await test.db.execute(sql('test.seed')`
      insert into ${view.schema}.products (id, version, name, popular)
      select uuidv7(), 1, 'P', n % 50 from generate_series(1, 1100) n`);
    let after: ProductPlace | undefined;
    let count = 0;
    do {
      const page = await list(view.schema, { sort: 'popular', after, limit: 90 });
      count += page.products.length;
      after = page.next;
    } while (after);
    expect(count).toBe(1_000);
    const tenth = await list(view.schema, { sort: 'popular', offset: 900, limit: 100 });
    expect(tenth.products).toHaveLength(100);
    expect(tenth.next).toBeUndefined();
  });

  it('finds words of name, SKU, category and description, those of the name first', async () => {
    const { schema } = await shop(
      { name: 'Blue Plate', description: 'Goes well with a teapot.', sku: 'HR-000001' },
      { name: 'Porcelain Teapots', description: 'White.', sku: 'HR-000002' },
      { name: 'Whisk', description: 'Steel.', category: 'kitchen/hand-tools', sku: 'HR-000003' },
    );
    const search = (text: string) =>
      namesOf(schema, { filter: { search: { text, fuzzy: false } }, sort: 'relevance' });
    expect(await search('teapot')).toEqual(['Porcelain Teapots', 'Blue Plate']);
    expect(await search('teapot -white')).toEqual(['Blue Plate']);
    expect(await search('"goes well"')).toEqual(['Blue Plate']);
    expect(await search('HR-000002')).toEqual(['Porcelain Teapots']);
    expect(await search('hr-000003')).toEqual(['Whisk']);
    expect(await search('tools')).toEqual(['Whisk']);
    expect(await search('the')).toEqual([]);
    expect(await search(`'"):* & |`)).toEqual([]);
  });

  it('finds misspelled words', async () => {
    const { schema } = await shop(
      { name: 'Porcelain Teapot, Small', description: '' },
      { name: 'Walnut Cutting Board, Large', description: '' },
      { name: 'Paring Knife', description: 'With a handle of walnut.' },
      { name: 'Beeswax Candle', description: '' },
    );
    const isThere = (text: string) => test.db.transaction((tx) => matchesExactly(tx, schema, text));
    expect(await isThere('porcelan')).toBe(false);
    expect(await isThere('porcelain')).toBe(true);
    const search = (text: string) =>
      namesOf(schema, { filter: { search: { text, fuzzy: true } }, sort: 'relevance' });
    expect(await search('porcelan')).toEqual(['Porcelain Teapot, Small']);
    expect(await search('small porcelan teapt')).toEqual(['Porcelain Teapot, Small']);
    expect(await search('walnut knfe')).toEqual(['Paring Knife']);
    expect(await search('canlde')).toEqual(['Beeswax Candle']);
    expect(await search('bord')).toEqual(['Walnut Cutting Board, Large']);
    expect(await search('xylophone')).toEqual([]);
    expect(await search('a')).toEqual([]);
  });

  it('counts matches exactly up to 10,000 and estimates above', async () => {
    const view = await freshView(products);
    await test.db.execute(sql('test.seed')`
      insert into ${view.schema}.products (id, version, name, category, available)
      select uuidv7(), 1, 'P', case when n <= 7 then 'small' else 'big' end, 1 from generate_series(1, 12000) n`);
    await test.db.execute(sql('test.analyze')`analyze ${view.schema}.products`);
    expect(await countProducts(test.db, view.schema, { ...everything, category: 'small' })).toEqual({
      total: 7n,
      totalIsEstimate: false,
    });
    const { total, totalIsEstimate } = await countProducts(test.db, view.schema, everything);
    expect(totalIsEstimate).toBe(true);
    expect(Number(total)).toBeGreaterThan(10_000);
    expect(Number(total)).toBeLessThan(14_400);
  });

  describe('popular', () => {
    const sold = (id: string, quantity: number, placedAt: string, productId: string) => ({
      id,
      userId: uuidv7(),
      placedAt,
      lines: [{ productId, quantity, priceMinor: 100 }],
    });
    const popularity = async (schema: Awaited<ReturnType<typeof freshView>>['schema'], id: string) =>
      (
        await test.db.row<{ popular: bigint }>(
          sql('test.popular')`select popular from ${schema}.products where id = ${id}`,
        )
      )?.popular;

    it('counts the units of confirmed orders of 30 days, once each, and forgets cancelled and old ones', async () => {
      const { schema, apply, upkeep, ids } = await shop({ name: 'A' }, { name: 'B' });
      const [a, b] = ids as [string, string];
      const recent = sold(uuidv7(), 3, daysAgo(1), a);
      const ageing = sold(uuidv7(), 5, daysAgo(29), b);
      await apply(
        orderEvent(1, { ...recent, status: 'pending' }),
        orderEvent(2, { ...recent, status: 'confirmed' }),
        orderEvent(2, { ...recent, status: 'confirmed' }),
        orderEvent(1, { ...ageing, status: 'confirmed' }),
        orderEvent(1, { ...sold(uuidv7(), 100, daysAgo(31), a), status: 'confirmed' }),
      );
      const noted = await test.db.row<{ units: bigint }>(
        sql('test.noted')`select sum(units)::bigint as units from ${schema}.popularity_changes`,
      );
      expect(noted!.units).toBe(8n); // history that was imported costs nothing here
      await upkeep();
      expect([await popularity(schema, a), await popularity(schema, b)]).toEqual([3n, 5n]);
      expect(await namesOf(schema, { sort: 'popular' })).toEqual(['B', 'A']);
      await upkeep(NOW + 2 * DAY);
      expect([await popularity(schema, a), await popularity(schema, b)]).toEqual([3n, 0n]);
      await apply(orderEvent(3, { ...recent, status: 'cancelled' }));
      await upkeep();
      expect(await popularity(schema, a)).toBe(0n);
    });

    it('keeps the units of a product that is not known yet', async () => {
      const view = await freshView(products);
      const id = uuidv7();
      await view.apply(orderEvent(1, { ...sold(uuidv7(), 4, daysAgo(1), id), status: 'confirmed' }));
      await view.upkeep();
      await view.apply(productEvent(1, { id }));
      await view.upkeep();
      expect(await popularity(view.schema, id)).toBe(4n);
    });
  });
});
