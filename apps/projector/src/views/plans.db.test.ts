import {
  openDatabase,
  sql,
  type Database,
  type Queryable,
  type Statement,
  type Tx,
} from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
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
import { listSalesDays, sales } from './sales';

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
  });
  for (const table of ['p.products', 'o.orders', 's.days']) {
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
      listSalesDays(source, schemas.sales, {
        from: '2001-01-01',
        to: '2011-01-01',
        after: undefined,
        limit: 21,
      }),
    ),
  );
});
