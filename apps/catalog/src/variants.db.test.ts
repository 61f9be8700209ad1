import { sql } from '@headroom/postgres';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

const read = (idOrSlug: string) => shop.as('nobody').getProduct({ idOrSlug, includeArchived: false });
const variantsOf = async (id: string) =>
  (await read(id)).variants?.variants.map((variant) => [variant.id, variant.options?.values ?? {}]);

it('shows each product of a group with all that are for sale, itself included, with price and units', async () => {
  const small = await shop.addProduct({ group: 'tee', options: { values: { size: 'S' } }, onHand: 3n });
  shop.clock.advance(1);
  const large = await shop.addProduct({
    group: 'tee',
    options: { values: { size: 'L', colour: 'sand' } },
    price: { amountMinor: 2_500n, currency: '' },
    onHand: 0n,
  });
  const alone = await shop.addProduct({ options: { values: { size: 'S' } } });
  const variants = [
    { id: small.id, options: { values: { size: 'S' } }, price: small.price, available: 3n },
    { id: large.id, options: { values: { colour: 'sand', size: 'L' } }, price: large.price, available: 0n },
  ];
  for (const { id } of [small, large])
    expect(await read(id)).toMatchObject({ group: 'tee', variants: { variants } });
  expect(await read(alone.id)).toMatchObject({ options: { values: { size: 'S' } } });
  expect((await read(alone.id)).variants).toBeUndefined();
  await shop.as('admin').archiveProduct({ productId: small.id });
  expect(await variantsOf(large.id)).toEqual([[large.id, { colour: 'sand', size: 'L' }]]);
});

it('tells of group and options in events, and of a change that is none in none', async () => {
  const product = await shop.addProduct({ group: 'mug', options: { values: { size: 'S', colour: 'red' } } });
  const update = (changes: { group?: string; options?: { values: Record<string, string> } }) =>
    shop.as('admin').updateProduct({ productId: product.id, ...changes });
  await update({ group: 'mug', options: { values: { colour: 'red', size: 'S' } } });
  expect((await update({ options: { values: { size: 'M' } } })).product).toMatchObject({
    version: 2n,
    group: 'mug',
  });
  expect((await update({ group: '', options: { values: {} } })).product).not.toHaveProperty('group', 'mug');
  const told = (await shop.events(product.id))
    .filter((event) => event.subject.startsWith('product/'))
    .map(({ type, data }) => [type.replace('headroom.catalog.', ''), data['group'], data['options']]);
  expect(told).toEqual([
    ['product-created', 'mug', { colour: 'red', size: 'S' }],
    ['product-updated', 'mug', { size: 'M' }],
    ['product-updated', null, null],
  ]);
  expect((await read(product.id)).variants).toBeUndefined();
});

it('has room for a hundred products in a group, however many come at once', async () => {
  const made = await Promise.all(Array.from({ length: 98 }, () => shop.addProduct({ group: 'full' })));
  await shop.as('admin').archiveProduct({ productId: made[0]!.id });
  const outside = await Promise.all(Array.from({ length: 3 }, () => shop.addProduct()));
  const race = await Promise.allSettled([
    ...outside.map(({ id }) => shop.as('admin').updateProduct({ productId: id, group: 'full' })),
    ...Array.from({ length: 3 }, () => shop.addProduct({ group: 'full' })),
  ]);
  expect(race.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  for (const each of race)
    if (each.status === 'rejected')
      expect(each.reason).toMatchObject({
        code: 'VALIDATION_FAILED',
        errors: [{ path: 'group', message: 'has 100 products already' }],
      });
  const rows = await shop.test.db.row<{ count: bigint }>(
    sql('test.group')`select count(*) as count from products where variant_group = 'full'`,
  );
  expect(rows!.count).toBe(100n);
  // Whoever is in may change, leave and come back.
  const change = { productId: made[1]!.id, group: 'full', name: 'Changed' };
  expect((await shop.as('admin').updateProduct(change)).product!.name).toBe('Changed');
});

it.each([
  [{ group: 'x'.repeat(65) }, 'group'],
  [{ group: ' x' }, 'group'],
  [{ options: { values: { size: '' } } }, 'options.size'],
  [{ options: { values: { size: 'x'.repeat(101) } } }, 'options.size'],
  [{ options: { values: { ['x'.repeat(41)]: 'L' } } }, 'options'],
  [
    {
      options: {
        values: Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`option ${index}`, 'x'])),
      },
    },
    'options',
  ],
])('refuses %j by name', async (members, path) => {
  const product = await shop.addProduct();
  for (const attempt of [
    shop.addProduct(members),
    shop.as('admin').updateProduct({ productId: product.id, ...members }),
  ])
    await expect(attempt).rejects.toMatchObject({
      code: 'VALIDATION_FAILED',
      errors: [expect.objectContaining({ path })],
    });
});
