import type { catalogV1 } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import { unindexedForeignKeys } from '@headroom/testing';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';

jest.setTimeout(30_000); // many callers at once, on machines that may be busy

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

const admin = () => shop.as('admin');
const typesAndVersions = async (key: string) =>
  (await shop.events(key)).map((event) => `${event.type.replace('headroom.catalog.', '')}@${event.version}`);

describe('a new product', () => {
  it('is found by id and slug, with its units, and told of by one event each for product and stock', async () => {
    const members = {
      sku: 'BOARD-1',
      name: 'Oak Board',
      description: 'Oiled.',
      category: 'kitchen/boards',
      imageUrl: '/images/oak.webp',
    };
    const written = await admin().createProduct({
      ...members,
      price: { amountMinor: 3_450n, currency: '' },
      onHand: 7n,
    });
    const product = written.product!;
    expect(product).toMatchObject({
      ...members,
      slug: 'oak-board',
      price: { amountMinor: 3_450n, currency: 'EUR' },
      available: 7n,
      version: 1n,
      archived: false,
    });
    expect(written.positions).toEqual([
      { subject: `product/${product.id}`, version: 1n },
      { subject: `stock/${product.id}`, version: 1n },
    ]);
    const guest = shop.as('nobody');
    expect(await guest.getProduct({ idOrSlug: product.id, includeArchived: false })).toEqual(product);
    expect(await guest.getProduct({ idOrSlug: 'oak-board', includeArchived: false })).toEqual(product);
    const events = await shop.events(product.id);
    expect(events).toEqual([
      expect.objectContaining({
        type: 'headroom.catalog.product-created',
        subject: `product/${product.id}`,
        version: 1,
      }),
      {
        type: 'headroom.catalog.stock-changed',
        subject: `stock/${product.id}`,
        version: 1,
        data: { productId: product.id, onHand: 7, available: 7, held: 0 },
      },
    ]);
    expect(events[0]!.data).toEqual({
      id: product.id,
      slug: 'oak-board',
      sku: 'BOARD-1',
      name: 'Oak Board',
      description: 'Oiled.',
      category: 'kitchen/boards',
      price: { amountMinor: 3_450, currency: 'EUR' },
      imageUrl: '/images/oak.webp',
      group: null,
      options: null,
      archived: false,
      createdAt: product.createdAt,
      updatedAt: product.updatedAt,
    });
  });

  it('gets another slug when one has its name, however many are made at once', async () => {
    const made = await Promise.all(Array.from({ length: 12 }, () => shop.addProduct({ name: 'Same name' })));
    const slugs = made.map((product) => product.slug);
    expect(new Set(slugs).size).toBe(12);
    expect(slugs.filter((slug) => slug === 'same-name')).toHaveLength(1);
    for (const slug of slugs) expect(slug).toMatch(/^same-name(-[0-9a-f]{12})?$/);
  });

  it('is refused for a SKU that a product has or had, also in a race, and leaves nothing behind', async () => {
    const first = await shop.addProduct({ sku: 'TAKEN' });
    await admin().archiveProduct({ productId: first.id });
    await expect(shop.addProduct({ sku: 'TAKEN', name: 'Another' })).rejects.toMatchObject({
      code: 'SKU_TAKEN',
      kind: 'conflict',
    });
    const race = await Promise.allSettled(
      Array.from({ length: 8 }, () => shop.addProduct({ sku: 'RACED', name: 'Raced' })),
    );
    expect(race.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await expect(
      shop.as('nobody').getProduct({ idOrSlug: 'another', includeArchived: false }),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('a changed product', () => {
  it('keeps its slug, raises its version once per change and tells its whole state', async () => {
    const { id, slug } = await shop.addProduct({ name: 'First name' });
    await admin().updateProduct({ productId: id, price: { amountMinor: 5n, currency: '' } });
    const { product, positions } = await admin().updateProduct({
      productId: id,
      name: 'Second name',
      price: { amountMinor: 6n, currency: 'EUR' },
    });
    await admin().updateProduct({ productId: id, name: 'Second name' });
    expect(product).toMatchObject({ name: 'Second name', slug, version: 3n, available: 10n });
    expect(positions).toEqual([{ subject: `product/${id}`, version: 3n }]);
    expect(await typesAndVersions(id)).toEqual([
      'product-created@1',
      'stock-changed@1',
      'price-changed@2',
      'product-updated@3',
    ]);
    expect((await shop.events(id)).at(-1)!.data).toMatchObject({
      name: 'Second name',
      price: { amountMinor: 6, currency: 'EUR' },
    });
  });

  it('is the one that was read, where the request says so', async () => {
    const { id } = await shop.addProduct();
    const update = (name: string) => admin().updateProduct({ productId: id, name, ifVersion: 1n });
    const race = await Promise.allSettled(Array.from({ length: 6 }, (_, n) => update(`Name ${n}`)));
    expect(race.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const each of race)
      if (each.status === 'rejected')
        expect(each.reason).toMatchObject({ code: 'VERSION_MISMATCH', kind: 'precondition_failed' });
  });

  it('numbers concurrent changes without a hole', async () => {
    const { id } = await shop.addProduct();
    await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        admin().updateProduct({ productId: id, description: `Text ${n}` }),
      ),
    );
    const versions = (await shop.events(id))
      .filter((event) => event.subject.startsWith('product/'))
      .map((event) => event.version);
    expect(versions).toEqual(Array.from({ length: 11 }, (_, index) => index + 1));
  });
});

describe('an archived product', () => {
  it('is gone for shoppers and quotes, seen by admins, and comes back', async () => {
    const { id } = await shop.addProduct();
    const guest = shop.as('nobody');
    await admin().archiveProduct({ productId: id });
    const again = await admin().archiveProduct({ productId: id });
    expect(again.positions).toEqual([{ subject: `product/${id}`, version: 2n }]);
    await expect(guest.getProduct({ idOrSlug: id, includeArchived: false })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect(await guest.getQuotes({ productIds: [id] })).toEqual({ quotes: [] });
    expect(await admin().getProduct({ idOrSlug: id, includeArchived: true })).toMatchObject({
      archived: true,
    });
    await expect(admin().updateProduct({ productId: id, name: 'x' })).rejects.toMatchObject({
      code: 'PRODUCT_ARCHIVED',
      kind: 'conflict',
    });
    expect((await admin().restoreProduct({ productId: id })).product).toMatchObject({
      archived: false,
      version: 3n,
    });
    await admin().restoreProduct({ productId: id });
    expect(await typesAndVersions(id)).toEqual([
      'product-created@1',
      'stock-changed@1',
      'product-archived@2',
      'product-restored@3',
    ]);
  });
});

it('lists products newest first, page by page, each once, with an exact total', async () => {
  const ids: string[] = [];
  for (let n = 0; n < 5; n += 1) {
    shop.clock.advance(1);
    ids.unshift((await shop.addProduct()).id);
  }
  await admin().archiveProduct({ productId: ids[1]! });
  const walk = async (includeArchived: boolean) => {
    const found: string[] = [];
    let afterId = '';
    do {
      const page: catalogV1.ListProductsResponse = await admin().listProducts({
        includeArchived,
        limit: 2,
        afterId,
        includeTotal: true,
      });
      found.push(...page.products.map((product) => product.id));
      expect(page.totalIsEstimate).toBe(false);
      afterId = page.nextAfterId;
      if (afterId === '') expect(page.total).toBe(BigInt(found.length));
    } while (afterId !== '');
    return found;
  };
  expect((await walk(true)).slice(0, 5)).toEqual(ids);
  expect((await walk(false)).slice(0, 4)).toEqual(ids.filter((id) => id !== ids[1]));
});

it('quotes a thousand products in one call', async () => {
  const { id, name } = await shop.addProduct({ onHand: 3n });
  const productIds = [...Array.from({ length: 998 }, () => uuidv7()), 'nonsense', id];
  expect(await shop.as('nobody').getQuotes({ productIds })).toEqual({
    quotes: [{ productId: id, name, price: { amountMinor: 1_999n, currency: 'EUR' }, available: 3n }],
  });
});

it('lets only admins do what is for admins', async () => {
  const { id } = await shop.addProduct();
  const attempts = (role: 'customer' | 'nobody') => {
    const as = shop.as(role);
    return [
      () =>
        as.createProduct({
          sku: 'X',
          name: 'X',
          description: '',
          category: '',
          price: { amountMinor: 1n, currency: '' },
          onHand: 0n,
          imageUrl: '',
        }),
      () => as.updateProduct({ productId: id, name: 'X' }),
      () => as.archiveProduct({ productId: id }),
      () => as.restoreProduct({ productId: id }),
      () => as.listProducts({ includeArchived: false, limit: 1, afterId: '', includeTotal: false }),
      () => as.getStock({ productId: id }),
      () => as.setStock({ productId: id, change: { $case: 'delta', value: 1n } }),
      () => as.listStockLedger({ productId: id, limit: 1, afterId: '', includeTotal: false }),
      () => as.getProduct({ idOrSlug: id, includeArchived: true }),
    ];
  };
  for (const attempt of attempts('customer'))
    await expect(attempt()).rejects.toMatchObject({ code: 'FORBIDDEN' });
  for (const attempt of attempts('nobody'))
    await expect(attempt()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
});

it.each(['nonsense', 'UPPER', uuidv7(), 'no-such-slug', 'a\u0000b'])(
  'knows no product %j',
  async (idOrSlug) => {
    for (const call of [
      () => admin().getProduct({ idOrSlug, includeArchived: true }),
      () => admin().updateProduct({ productId: idOrSlug, name: 'X' }),
      () => admin().archiveProduct({ productId: idOrSlug }),
      () => admin().getStock({ productId: idOrSlug }),
      () => admin().setStock({ productId: idOrSlug, change: { $case: 'delta', value: 1n } }),
      () => admin().listStockLedger({ productId: idOrSlug, limit: 1, afterId: '', includeTotal: false }),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  },
);

it('has an index behind every foreign key', async () => {
  expect(await unindexedForeignKeys(shop.test.db)).toEqual([]);
});
