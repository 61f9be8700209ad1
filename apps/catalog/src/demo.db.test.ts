import { sql } from '@headroom/postgres';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';
import { demoProduct } from './demo';
import { readNewProduct } from './product';
import { readSeedArguments, seedCatalogue } from './seed';

jest.setTimeout(30_000); // many callers at once, on machines that may be busy

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

const everything = () =>
  shop.test.db.rows(sql('test.everything')`
    select p.*, s.version as stock_version, b.available, l.delta, l.reason, e.events
    from products p join stock s on s.product_id = p.id join stock_buckets b on b.product_id = p.id
      left join stock_ledger l on l.product_id = p.id
      join (select key, array_agg(event ->> 'type' order by id) as events from outbox group by key) e on e.key = p.id::text
    order by p.id`);

it('makes the same product for the same seed and place, and another for any other', () => {
  const one = demoProduct(1, 41, 'EUR');
  expect(demoProduct(1, 41, 'EUR')).toEqual(one);
  expect(demoProduct(2, 41, 'EUR')).not.toEqual(one);
  expect(demoProduct(1, 42, 'EUR').id).not.toBe(one.id);
});

it('makes only products that an admin could make, of two-level categories and with prices that shops like', () => {
  const products = Array.from({ length: 2_000 }, (_, index) => demoProduct(1, index, 'EUR'));
  for (const { input, onHand } of products) {
    const { sku, name, description, category, imageUrl, priceMinor: amountMinor, currency } = input;
    const members = { sku, name, description, category, imageUrl, price: { amountMinor, currency } };
    expect(readNewProduct({ ...members, onHand }, 'EUR')).toEqual({
      input,
      onHand,
    });
    expect(input.category).toMatch(/^[a-z]+\/[a-z]+$/);
    expect(['00', '50', '95', '99']).toContain(String(amountMinor).slice(-2));
    expect(onHand).toBeLessThanOrEqual(500n);
    expect(input.description.split('. ').length).toBeGreaterThanOrEqual(2);
  }
  expect(new Set(products.map(({ input }) => input.category)).size).toBeGreaterThan(20);
  expect(new Set(products.map(({ input }) => input.name)).size).toBeGreaterThan(1_500);
  expect(products.filter(({ input }) => input.name.includes('Oak')).length).toBeGreaterThan(20);
});

it('fills a shop with stock, ledger and events, changes nothing the second time, and goes on where it stopped', async () => {
  await shop.addProduct({ name: demoProduct(1, 0, 'EUR').input.name, sku: 'MADE-BEFORE', onHand: 1n });
  const seed = (products: number) => seedCatalogue({ db: shop.db, products, seed: 1, currency: 'EUR' });
  expect(await seed(1_200)).toBe(1_200);
  const before = await everything();
  expect(await seed(1_200)).toBe(0);
  expect(await everything()).toEqual(before);
  expect(await seed(1_300)).toBe(100);
  const after = (await everything()) as Array<{
    slug: string;
    available: bigint;
    delta: bigint | null;
    events: string[];
    stock_version: bigint;
  }>;
  expect(after).toHaveLength(1_301);
  expect(new Set(after.map(({ slug }) => slug)).size).toBe(1_301);
  for (const row of after) {
    expect(row.delta ?? 0n).toBe(row.available);
    expect(row.stock_version).toBe(1n);
    expect(row.events).toEqual(['headroom.catalog.product-created', 'headroom.catalog.stock-changed']);
  }
});

it.each([{ products: '-1' }, { products: '1e3' }, { products: '20000000' }, { seed: 'x' }])(
  'says what is wrong with %j',
  (values) => {
    expect(() => readSeedArguments(values)).toThrow(/^--(products|seed): found .*, expected a whole number/);
  },
);
