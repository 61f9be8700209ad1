import {
  openDatabase,
  sql,
  type Database,
  type Queryable,
  SqlPart,
  type Statement,
  type Tx,
} from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { listAllOrders, listOrdersOfUser, orders } from './orders';
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

const PRODUCTS = 50_000;
const schemas = { products: sql.identifier('p'), orders: sql.identifier('o'), sales: sql.identifier('s') };
const everything: ProductFilter = {
  category: undefined,
  minPriceMinor: undefined,
  maxPriceMinor: undefined,
  currency: undefined,
  inStock: undefined,
  search: undefined,
};

jest.setTimeout(20_000);

let test: TestDatabase;
let db: Database;
beforeAll(async () => {
  test = await createTestDatabase(join(__dirname, '../../migrations'));
  db = openDatabase({ url: test.url, name: 'plans', logger: silentLogger, statementTimeoutMs: 120_000 });
  await db.transaction(async (tx) => {
    for (const schema of Object.values(schemas))
      await tx.execute(sql('test.schema')`create schema ${schema}`);
    await tx.execute(products.create(schemas.products));
    await tx.execute(orders.create(schemas.orders));
    await tx.execute(sales.create(schemas.sales));
    // The vacuum below can mark pages as visible to all only once the commit has reached the disk.
    await tx.execute(sql('test.commit')`set local synchronous_commit = on`);
    await tx.execute(sql('test.products')`
      insert into p.products (id, version, sku, name, description, category, price_minor, currency, created_at, updated_at,
        available, popular)
      select uuidv7(interval '1 ms' * (n - ${PRODUCTS})), 1, 'SKU-' || n,
        (array['Oak', 'Walnut', 'Steel', 'Porcelain', 'Linen'])[1 + n % 5] || ' ' ||
        (array['Board', 'Knife', 'Teapot', 'Towel', 'Lamp', 'Chair', 'Basket'])[1 + n % 7] || ' ' || md5(n::text),
        'Made to last for ' || n || ' years.',
        case when n % 200 = 0 then 'some/where' else 'c' || n % 8 || '/d' || n % 40 end, 100 + (n * 7919) % 10000,
        case when n % 21 = 0 then 'USD' else 'EUR' end, now(), now(), (n / 200) % 3, (n * 31) % 1000
      from generate_series(1, ${PRODUCTS}) n`);
    await tx.execute(sql('test.orders')`
      insert into o.orders select uuidv7(interval '1 ms' * (n - 50000)), md5('u' || n % 100)::uuid, 1, 'confirmed', 'paid', null,
        '[]', 100, 'EUR', now(), now() from generate_series(1, 50000) n`);
    await tx.execute(sql('test.sales')`
      insert into s.days select date '2000-01-01' + n, c, p, 1, 1, 1
      from generate_series(1, 5000) n, unnest(array['EUR', 'USD']) c, generate_series(0, 5) p`);
    await tx.execute(sql('test.counted')`
      insert into s.counted
      select uuidv7(), 1, n % 20 > 0, date '2025-01-01' + n % 365, 'EUR', 6, 600,
        array[md5('p' || n * 31 % 2000)::uuid, md5('p' || n * 17 % 2000 + 2000)::uuid, md5('p' || n % 10 + 4000)::uuid],
        array[1, 2, 3], array[100, 200, 300]
      from generate_series(1, 50000) n`);
    await tx.execute(sql('test.categories')`
      insert into s.categories select md5('p' || n)::uuid, 1, 'c' || n % 8 || '/d' || n % 40 from generate_series(0, 4009) n`);
    for (const report of sales.reports!)
      await tx.execute(sql('test.refresh')`refresh materialized view s.${sql.identifier(report)}`);
  });
  for (const table of ['p.products', 'o.orders', 's.days', 's.counted', 's.by_product', 's.by_category']) {
    const [schema, name] = table.split('.') as [string, string];
    await db.execute(sql('test.vacuum')`vacuum analyze ${sql.identifier(schema)}.${sql.identifier(name)}`);
  }
}, 120_000);
afterAll(async () => {
  await db.close();
  await test.drop();
});

interface Plan {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Sort Space Type'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Shared Hit Blocks': number;
  'Shared Read Blocks': number;
  Plans?: Plan[];
}

/** Runs what a read function runs with EXPLAIN, and answers the plans of its statements. */
async function plansOf(read: (recorder: Tx) => Promise<unknown>, fuzzy = false): Promise<Plan[]> {
  return db.transaction(async (tx) => {
    if (fuzzy) await allowSimilarWords(tx);
    const statements: Statement[] = [];
    const recorded =
      <T>(run: (statement: Statement) => Promise<T>) =>
      (statement: Statement) => {
        statements.push(statement);
        return run(statement);
      };
    await read({
      rows: recorded(tx.rows) as Tx['rows'],
      row: recorded(tx.row) as Tx['row'],
      execute: recorded(tx.execute),
      afterCommit: tx.afterCommit,
    });
    const plans: Plan[] = [];
    for (const { name, text, values } of statements.filter(({ text }) => !/^(explain|set) /.test(text))) {
      const row = await tx.row<{ 'QUERY PLAN': [{ Plan: Plan }] }>({
        name,
        text: `explain (analyze, buffers, format json) ${text}`,
        values,
      });
      plans.push(row!['QUERY PLAN'][0].Plan);
    }
    return plans;
  });
}

const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
const blocksOf = (plan: Plan): number => plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];

function expectIndexed(plans: Plan[]) {
  const nodes = plans.flatMap(nodesOf);
  expect(
    nodes.filter((node) => node['Node Type'] === 'Seq Scan').map((node) => node['Relation Name']),
  ).toEqual([]);
  expect(nodes.filter((node) => node['Sort Space Type'] === 'Disk')).toEqual([]);
}

const list =
  (filter: Partial<ProductFilter>, sort: ProductSort, after?: ProductPlace) => (source: Queryable) =>
    listProducts(source, schemas.products, {
      filter: { ...everything, ...filter },
      sort,
      after,
      offset: 0,
      limit: 20,
    });

const FILTERS: Array<[string, Partial<ProductFilter>]> = [
  ['everything', {}],
  ['a category', { category: 'c3' }],
  ['a category within one', { category: 'c3/d11' }],
  ['what is in stock', { inStock: true }],
  ['what is not in stock in a category', { category: 'c3', inStock: false }],
  ['a price range', { minPriceMinor: 500n, maxPriceMinor: 700n, currency: 'EUR' }],
  [
    'a price range in a category in stock',
    { category: 'c3', inStock: true, minPriceMinor: 500n, currency: 'EUR' },
  ],
  ['rare words', { search: { text: 'porcelain teapot 4777', fuzzy: false } }],
  ['common words', { search: { text: 'oak', fuzzy: false } }],
];
const SORTS: ProductSort[] = ['newest', 'price', '-price', 'popular'];

describe.each(SORTS)('by %s', (sort) => {
  it.each(FILTERS)('lists %s by an index', async (_, filter) => {
    const currency = sort.endsWith('price') ? { currency: 'EUR' } : {};
    expectIndexed(await plansOf(list({ ...currency, ...filter }, sort)));
  });
});

it.each([
  ['newest', {}],
  ['price', { currency: 'EUR' }],
  ['-price', { currency: 'EUR' }],
  ['popular', {}],
] as Array<[ProductSort, Partial<ProductFilter>]>)(
  'reads what a page holds and little more by %s, in a category that has one product in 200',
  async (sort, filter) => {
    for (const inStock of [undefined, true, false]) {
      const [plan] = await plansOf(list({ ...filter, category: 'some', inStock }, sort));
      expect(nodesOf(plan!).map((node) => node['Index Name'])).toContain(
        `products_c1_${sort.replace('-', '')}`,
      );
      expect(blocksOf(plan!)).toBeGreaterThan(20);
      expect(blocksOf(plan!)).toBeLessThan(150);
    }
  },
);

it.each([
  ['rare words', { text: 'porcelain teapot 4777', fuzzy: false }],
  ['common words', { text: 'oak', fuzzy: false }],
  ['misspelled words', { text: 'porcelan teapt', fuzzy: true }],
])('ranks %s by an index', async (_, search) => {
  expectIndexed(await plansOf(list({ search }, 'relevance'), search.fuzzy));
});

it('decides by an index whether words are misspelled', async () => {
  expectIndexed(await plansOf((source) => matchesExactly(source, schemas.products, 'porcelan')));
});

it.each([
  ['newest', {}],
  ['newest', { category: 'c3' }],
  ['newest', { category: 'c3/d11', inStock: true }],
  ['price', { currency: 'EUR' }],
  ['-price', { currency: 'EUR', category: 'c3' }],
  ['popular', { inStock: false }],
] as Array<[ProductSort, Partial<ProductFilter>]>)(
  'reads no more for a page at the end of the list by %s of %j than for the first one',
  async (sort, filter) => {
    const direction = sort === 'price' ? sql.part`asc` : sql.part`desc`;
    const key =
      { newest: sql.part`0::bigint`, popular: sql.part`popular` }[sort as string] ?? sql.part`price_minor`;
    const where = [
      sql.part`listed`,
      ...(filter.category ? [sql.part`(category || '/') like ${`${filter.category}/%`}`] : []),
      ...(filter.currency ? [sql.part`currency = ${filter.currency}`] : []),
      ...(filter.inStock === undefined ? [] : [sql.part`in_stock = ${filter.inStock}`]),
    ];
    const count = (await db.row<{ count: bigint }>(
      sql('test.count')`select count(*) from p.products where ${sql.and(where)}`,
    ))!.count;
    const place = (await db.row<{ key: bigint; id: string }>(sql('test.place')`
      select ${key} as key, id from p.products where ${sql.and(where)}
      order by 1 ${direction}, id ${direction} offset ${count - 100n} limit 1`))!;
    const blocks = async (after?: ProductPlace) => {
      const [plan] = await plansOf(list(filter, sort, after));
      return blocksOf(plan!);
    };
    const [first, deep] = [await blocks(), await blocks({ ...place, count: 100 })];
    expect(first).toBeGreaterThan(0);
    expect(deep).toBeLessThanOrEqual(first * 1.3);
  },
);

it('counts matches and categories by an index alone', async () => {
  expectIndexed(
    await plansOf((source) => countProducts(source, schemas.products, { ...everything, category: 'c3' })),
  );
  expectIndexed(await plansOf((source) => countByCategory(source, schemas.products)));
});

it('lists a user’s orders and the days of a report by an index', async () => {
  const user = (await db.row<{ user_id: string }>(sql('test.user')`select user_id from o.orders limit 1`))!
    .user_id;
  expectIndexed(
    await plansOf((source) =>
      listOrdersOfUser(source, schemas.orders, { userId: user, afterId: undefined, offset: 0, limit: 21 }),
    ),
  );
  expectIndexed(
    await plansOf((source) =>
      listSales(source, schemas.sales, 'day', {
        from: '2001-01-01',
        to: '2011-01-01',
        after: undefined,
        limit: 21,
      }),
    ),
  );
});

it('reads no more for a page at the end of everybody’s orders than for the first one', async () => {
  const deep = (await db.row<{ id: string }>(
    sql('test.place')`select id from o.orders order by id offset 100 limit 1`,
  ))!;
  const [first, last] = await Promise.all(
    [undefined, deep.id].map((afterId) =>
      plansOf((source) => listAllOrders(source, schemas.orders, { afterId, limit: 21 })),
    ),
  );
  expectIndexed([...first!, ...last!]);
  expect(blocksOf(last![0]!)).toBeLessThanOrEqual(blocksOf(first![0]!) * 1.3);
});

describe.each([
  ['product', 'by_product'],
  ['category', 'by_category'],
] as const)('sales by %s', (by, report) => {
  const span = { from: '2025-02-01', to: '2025-12-01' };

  it('lists a page by an index, wherever it is', async () => {
    const group = by === 'product' ? '80000000-0000-7000-8000-000000000000' : 'c3/d3';
    const limit = by === 'product' ? 21 : 3; // there are 40 categories
    for (const after of [undefined, { group, currency: 'EUR' }])
      expectIndexed(
        await plansOf((source) => listSales(source, schemas.sales, by, { ...span, after, limit })),
      );
  });

  it('reads at least ten times less than the same query over the orders, and answers the same', async () => {
    const { definition } = (await db.row<{ definition: string }>(
      sql('test.definition')`select pg_get_viewdef(${`s.${report}`}::regclass) as definition`,
    ))!;
    const direct = new SqlPart([definition.replace(/;\s*$/, '')], []);
    const key = by === 'product' ? sql.part`product_id` : sql.part`category`;
    const overOrders = sql('test.direct')`
      select ${key}::text as "group", currency, sum(orders)::bigint as orders, sum(units)::bigint as units,
        sum(revenue_minor)::bigint as revenue_minor
      from (${direct}) as report where day >= ${span.from}::date and day < ${span.to}::date
      group by ${key}, currency order by ${key}, currency limit 20`;
    const overView = (source: Queryable) =>
      listSales(source, schemas.sales, by, { ...span, after: undefined, limit: 20 });
    const [fromView, viewMs] = await timed(() => overView(db));
    const [fromOrders, ordersMs] = await timed(() => db.rows(overOrders));
    expect(fromView).toEqual(fromOrders);
    const [viewPlan] = await plansOf(overView);
    const [ordersPlan] = await plansOf((source) => source.rows(overOrders));
    process.stdout.write(
      `sales by ${by}, 20 rows over ten months of 50,000 orders: over the orders ${ordersMs.toFixed(0)} ms and ` +
        `${rowsOf(ordersPlan!)} rows, from the view ${viewMs.toFixed(1)} ms and ${rowsOf(viewPlan!)} rows, ` +
        `${(ordersMs / viewMs).toFixed(0)}x\n`,
    );
    expect(rowsOf(ordersPlan!)).toBeGreaterThan(10 * rowsOf(viewPlan!));
  });
});

it('estimates totals above 10,000 within a quarter of what is counted', async () => {
  const filters: Array<[string, Partial<ProductFilter>]> = [
    ['everything', {}],
    ['in stock', { inStock: true }],
    ['not in stock', { inStock: false }],
    ['of a currency', { currency: 'EUR' }],
    ['below a price', { maxPriceMinor: 5_000n }],
    ['in a range of prices, in stock', { minPriceMinor: 1_000n, maxPriceMinor: 9_000n, inStock: true }],
    ['with a common word', { search: { text: 'board or knife', fuzzy: false } }],
  ];
  for (const [name, filter] of filters) {
    const [{ total, totalIsEstimate }, ms] = await timed(() =>
      countProducts(db, schemas.products, { ...everything, ...filter }),
    );
    expect([name, totalIsEstimate]).toEqual([name, true]);
    const [counted, countedMs] = await timed(() => exactly(filter));
    const error = Number(total - counted) / Number(counted);
    process.stdout.write(
      `products ${name}: estimated ${total} in ${ms.toFixed(1)} ms, counted ${counted} in ${countedMs.toFixed(1)} ms, ` +
        `error ${(100 * error).toFixed(1)} %\n`,
    );
    expect(Math.abs(error)).toBeLessThan(0.25);
  }
});

/** What the work answers, and the milliseconds that it took. */
async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const start = performance.now();
  return [await work(), performance.now() - start];
}

/** Rows that the scans of a plan read. */
function rowsOf(plan: Plan): number {
  return nodesOf(plan)
    .filter((node) => !node.Plans)
    .reduce((sum, node) => sum + node['Actual Rows'] * node['Actual Loops'], 0);
}

async function exactly(filter: Partial<ProductFilter>): Promise<bigint> {
  const where = [
    sql.part`listed`,
    ...(filter.inStock === undefined ? [] : [sql.part`in_stock = ${filter.inStock}`]),
    ...(filter.currency === undefined ? [] : [sql.part`currency = ${filter.currency}`]),
    ...(filter.minPriceMinor === undefined ? [] : [sql.part`price_minor >= ${filter.minPriceMinor}`]),
    ...(filter.maxPriceMinor === undefined ? [] : [sql.part`price_minor <= ${filter.maxPriceMinor}`]),
    ...(filter.search === undefined
      ? []
      : [sql.part`document @@ websearch_to_tsquery('english', ${filter.search.text})`]),
  ];
  return (await db.row<{ count: bigint }>(
    sql('test.count')`select count(*) from p.products where ${sql.and(where)}`,
  ))!.count;
}
