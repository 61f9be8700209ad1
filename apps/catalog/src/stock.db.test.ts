import { uuidv7 } from '@headroom/resilience';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

const outcome = <T>(promise: Promise<T>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );

it('sells exactly the last 20 units to 200 who want one at once', async () => {
  const { id } = await shop.addProduct({ onHand: 20n });
  const outcomes = await Promise.all(
    Array.from({ length: 200 }, () =>
      outcome(
        shop.as('nobody').placeHold({
          orderId: uuidv7(),
          lines: [{ productId: id, quantity: 1 }],
          ttlSeconds: 0,
        }),
      ),
    ),
  );
  expect(outcomes.filter((each) => each === 'ok')).toHaveLength(20);
  expect(outcomes.filter((each) => each === 'OUT_OF_STOCK')).toHaveLength(180);
  expect(await shop.books(id)).toMatchObject({ available: 0n, held: 20n, ledger: 20n });
});
