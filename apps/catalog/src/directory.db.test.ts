import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

it('finds products by SKU without a sign-in, archived ones too, and leaves unknown ones out', async () => {
  const sold = await shop.addProduct({ sku: 'SOLD', name: 'Sold' });
  const archived = await shop.addProduct({ sku: 'gone Ü', name: 'Gone' });
  await shop.as('admin').archiveProduct({ productId: archived.id });
  const { products } = await shop.directory.resolveSkus({
    skus: ['SOLD', 'SOLD', 'sold', 'gone Ü', 'no\0such', ''],
  });
  expect(products.sort((a, b) => a.name.localeCompare(b.name))).toEqual([
    { sku: 'gone Ü', productId: archived.id, name: 'Gone' },
    { sku: 'SOLD', productId: sold.id, name: 'Sold' },
  ]);
});

it('answers for a thousand SKUs at a time and says so when asked for more', async () => {
  const skus = Array.from({ length: 1_001 }, (_, index) => `NONE-${index}`);
  expect(await shop.directory.resolveSkus({ skus: skus.slice(1) })).toEqual({ products: [] });
  await expect(shop.directory.resolveSkus({ skus })).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'skus', message: 'must be at most 1000' }],
  });
});
