import { uuidv7 } from '@headroom/resilience';
import { openOrderShop, type OrderProcess, type OrderShop } from '../test/order-shop';

jest.setTimeout(60_000);

let shop: OrderShop;
let service: OrderProcess;
beforeAll(async () => {
  shop = await openOrderShop();
  service = shop.start();
});
afterAll(() => shop.close());

it('shows an empty cart of version 0 that totals 0 of the currency of the shop', async () => {
  expect(await service.carts.get(uuidv7())).toEqual({
    version: 0n,
    items: [],
    total: { amountMinor: 0n, currency: 'EUR' },
  });
});

it('sets quantities, keeps the order of adding, and raises the version with every change only', async () => {
  const userId = uuidv7();
  const [first, second] = [shop.addProduct(), shop.addProduct({ priceMinor: 250n })] as [string, string];
  const put = (productId: string, quantity: number) =>
    service.carts.put(userId, { productId, quantity }, undefined);
  expect((await put(first, 1)).version).toBe(1n);
  shop.clock.advance(1);
  expect((await put(second, 4)).version).toBe(2n);
  expect(await put(first, 3)).toMatchObject({
    version: 3n,
    items: [
      { productId: first, quantity: 3, lineTotal: { amountMinor: 5_997n, currency: 'EUR' } },
      { productId: second, quantity: 4, unitPrice: { amountMinor: 250n } },
    ],
    total: { amountMinor: 6_997n, currency: 'EUR' },
  });
  expect((await put(first, 3)).version).toBe(3n);
  expect(await service.carts.remove(userId, first, undefined)).toMatchObject({
    version: 4n,
    items: [{ productId: second }],
  });
  expect((await service.carts.remove(userId, first, undefined)).version).toBe(4n);
});

it("shows today's price and whether the quantity can be had, and hides what is no longer sold until it is again", async () => {
  const userId = uuidv7();
  const productId = shop.addProduct({ available: 2 });
  const product = shop.catalog.products.get(productId)!;
  await service.carts.put(userId, { productId, quantity: 2 }, undefined);
  expect((await service.carts.get(userId)).items).toMatchObject([{ inStock: true }]);
  Object.assign(product, { priceMinor: 1n, available: 1, name: 'Ash Board' });
  expect(await service.carts.get(userId)).toMatchObject({
    items: [{ name: 'Ash Board', inStock: false }],
    total: { amountMinor: 2n },
  });
  product.archived = true;
  expect(await service.carts.get(userId)).toMatchObject({
    version: 1n,
    items: [],
    total: { amountMinor: 0n },
  });
  product.archived = false;
  expect((await service.carts.get(userId)).items).toHaveLength(1);
});

it('refuses a product that is unknown or archived, by name', async () => {
  for (const productId of [uuidv7(), shop.addProduct({ archived: true })])
    await expect(service.carts.put(uuidv7(), { productId, quantity: 1 }, undefined)).rejects.toMatchObject({
      kind: 'unprocessable',
      code: 'PRODUCT_UNAVAILABLE',
      extra: { productIds: [productId] },
    });
});

it('keeps a cart in one currency, which what is no longer sold does not decide', async () => {
  const userId = uuidv7();
  const euros = shop.addProduct();
  const dollars = shop.addProduct({ currency: 'USD' });
  const put = (productId: string) => service.carts.put(userId, { productId, quantity: 1 }, undefined);
  await put(euros);
  await expect(put(dollars)).rejects.toMatchObject({ kind: 'conflict', code: 'CURRENCY_MIXED' });
  shop.catalog.products.get(euros)!.archived = true;
  expect(await put(dollars)).toMatchObject({ total: { amountMinor: 1_999n, currency: 'USD' } });
});

it('changes a cart only in the version that the caller has seen', async () => {
  const userId = uuidv7();
  const productId = shop.addProduct();
  const mismatch = { kind: 'precondition_failed', code: 'VERSION_MISMATCH' };
  await expect(service.carts.put(userId, { productId, quantity: 1 }, 1n)).rejects.toMatchObject(mismatch);
  await service.carts.put(userId, { productId, quantity: 1 }, 0n);
  await expect(service.carts.put(userId, { productId, quantity: 2 }, 0n)).rejects.toMatchObject(mismatch);
  await expect(service.carts.remove(userId, productId, 0n)).rejects.toMatchObject(mismatch);
  expect(await service.carts.put(userId, { productId, quantity: 2 }, 1n)).toMatchObject({ version: 2n });
});

it('loses no change of many made at the same moment', async () => {
  const userId = uuidv7();
  const productIds = Array.from({ length: 6 }, () => shop.addProduct());
  await Promise.all(
    productIds.map((productId) => service.carts.put(userId, { productId, quantity: 1 }, undefined)),
  );
  const cart = await service.carts.get(userId);
  expect(cart.items.map((item) => item.productId).sort()).toEqual([...productIds].sort());
  expect(cart.version).toBe(6n);
});

it('says that the catalog is away instead of showing a cart without prices', async () => {
  const userId = uuidv7();
  await service.carts.put(userId, { productId: shop.addProduct(), quantity: 1 }, undefined);
  shop.catalog.down = true;
  await expect(service.carts.get(userId)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  shop.catalog.down = false;
});

it('lets one of several writers of the same version win, and mixes no currencies between two that race', async () => {
  for (let round = 0; round < 5; round += 1) {
    const userId = uuidv7();
    const [euros, dollars] = [shop.addProduct(), shop.addProduct({ currency: 'USD' })] as [string, string];
    const mixed = await Promise.allSettled(
      [euros, dollars].map((productId) => service.carts.put(userId, { productId, quantity: 1 }, undefined)),
    );
    expect(mixed.map((each) => each.status).sort()).toEqual(['fulfilled', 'rejected']);
    const guarded = await Promise.allSettled(
      [2, 3, 4].map((quantity) =>
        service.carts.put(
          userId,
          { productId: mixed[0]!.status === 'fulfilled' ? euros : dollars, quantity },
          1n,
        ),
      ),
    );
    expect(guarded.filter((each) => each.status === 'fulfilled')).toHaveLength(1);
    expect((await service.carts.get(userId)).version).toBe(2n);
  }
});
