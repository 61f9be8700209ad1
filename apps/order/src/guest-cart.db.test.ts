import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import fc from 'fast-check';
import { openOrderShop, type OrderProcess, type OrderShop } from '../test/order-shop';
import { GUEST_CART_TTL_MS } from './guest-cart';
import { deleteExpiredGuestCarts } from './repository';

jest.setTimeout(60_000);

const DAY_MS = 24 * 3_600_000;

let shop: OrderShop;
let service: OrderProcess;
beforeAll(async () => {
  shop = await openOrderShop();
  service = shop.start({ jobs: false });
});
afterAll(() => shop.close());

/** A guest's new cart with these lines, put one after the other. */
async function guestWith(lines: Array<{ productId: string; quantity: number }>): Promise<string> {
  let token: string | undefined;
  for (const line of lines) {
    shop.clock.advance(1);
    const cart = await service.guestCarts.put(token, line, undefined);
    token ??= cart.cartToken;
  }
  return token!;
}
const linesOf = (cart: { items: Array<{ productId: string; quantity: number }> }) =>
  cart.items.map(({ productId, quantity }) => ({ productId, quantity }));
const rows = async (table: 'guest_carts' | 'carts' | 'cart_items') =>
  (await shop.test.db.rows(sql('test.count')`select * from ${sql.identifier(table)}`)).length;

it('makes a cart with the first put and keeps it under the token; only that put returns one', async () => {
  const productId = shop.addProduct();
  const first = await service.guestCarts.put(undefined, { productId, quantity: 1 }, undefined);
  const token = first.cartToken!;
  const second = await service.guestCarts.put(token, { productId, quantity: 3 }, 1n);
  expect(second).toMatchObject({ version: 2n, items: [{ productId, quantity: 3 }] });
  expect(second.cartToken).toBeUndefined();
  expect(await service.guestCarts.get(token)).toEqual(second);
  await expect(service.guestCarts.put(token, { productId, quantity: 4 }, 1n)).rejects.toMatchObject({
    code: 'VERSION_MISMATCH',
  });
  const dollars = shop.addProduct({ currency: 'USD' });
  await expect(
    service.guestCarts.put(token, { productId: dollars, quantity: 1 }, undefined),
  ).rejects.toMatchObject({ code: 'CURRENCY_MIXED', kind: 'conflict' });
  expect(await service.guestCarts.remove(token, productId, 2n)).toMatchObject({ version: 3n, items: [] });
});

it('takes an unknown or malformed token for none: an empty cart, and a new token with a put', async () => {
  const productId = shop.addProduct();
  for (const token of [undefined, '', 'x', 'A'.repeat(43), 'Ä'.repeat(43), 'A'.repeat(100_000), '\0']) {
    expect(await service.guestCarts.get(token)).toEqual({
      version: 0n,
      items: [],
      total: { amountMinor: 0n, currency: 'EUR' },
    });
    expect((await service.guestCarts.remove(token, productId, undefined)).version).toBe(0n);
    expect(await service.guestCarts.merge(token ?? '', uuidv7())).toBe(0);
    const made = await service.guestCarts.put(token, { productId, quantity: 1 }, 0n);
    expect(made.cartToken).toMatch(/^[\w-]{43}$/);
    expect(made.cartToken).not.toBe(token);
  }
});

it('leaves nothing behind when the first put is refused', async () => {
  const before = [await rows('guest_carts'), await rows('carts')];
  await expect(
    service.guestCarts.put(undefined, { productId: uuidv7(), quantity: 1 }, undefined),
  ).rejects.toMatchObject({ code: 'PRODUCT_UNAVAILABLE' });
  await expect(
    service.guestCarts.put(undefined, { productId: shop.addProduct(), quantity: 1 }, 7n),
  ).rejects.toMatchObject({ code: 'VERSION_MISMATCH' });
  expect([await rows('guest_carts'), await rows('carts')]).toEqual(before);
});

it('keeps no token in clear', async () => {
  const token = await guestWith([{ productId: shop.addProduct(), quantity: 1 }]);
  const stored = await shop.test.db.rows<{ text: string }>(
    sql(
      'test.rows',
    )`select g::text || c::text as text from guest_carts g join carts c on c.owner_id = g.cart_id`,
  );
  for (const { text } of stored) {
    expect(text).not.toContain(token);
    expect(text).not.toContain(Buffer.from(token, 'base64url').toString('hex'));
  }
});

it('keeps a cart for 30 days after its last use, and removes it with its lines afterwards, in small batches', async () => {
  const productId = shop.addProduct();
  const used = await guestWith([{ productId, quantity: 1 }]);
  const idle = await Promise.all([1, 2, 3].map(() => guestWith([{ productId, quantity: 1 }])));
  shop.clock.advance(20 * DAY_MS);
  await service.guestCarts.get(used);
  shop.clock.advance(GUEST_CART_TTL_MS - 20 * DAY_MS);
  for (const token of idle) expect((await service.guestCarts.get(token)).version).toBe(0n);
  expect((await service.guestCarts.get(used)).items).toHaveLength(1);
  const made = await service.guestCarts.put(idle[0], { productId, quantity: 1 }, undefined);
  expect(made.cartToken).toBeDefined();
  const before = await rows('carts');
  expect(await deleteExpiredGuestCarts(shop.test.db, shop.clock.now(), 2)).toBe(2);
  expect(await rows('carts')).toBe(before - 2);
  while ((await deleteExpiredGuestCarts(shop.test.db, shop.clock.now(), 2)) > 0);
  expect((await service.guestCarts.get(used)).items).toHaveLength(1);
  expect((await service.guestCarts.get(made.cartToken)).items).toHaveLength(1);
  const orphans = await shop.test.db.rows(sql('test.orphans')`
    select 1 from guest_carts g left join carts c on c.owner_id = g.cart_id where c.owner_id is null`);
  expect(orphans).toEqual([]);
});

it('gives a cart that expires during a put a new token, and loses no line that was put', async () => {
  const [first, second] = [shop.addProduct(), shop.addProduct()];
  const token = await guestWith([{ productId: first, quantity: 1 }]);
  const other = shop.start({ jobs: false });
  shop.clock.advance(GUEST_CART_TTL_MS - 1_000);
  shop.catalog.beforeQuotes = async () => {
    shop.catalog.beforeQuotes = () => undefined;
    shop.clock.advance(2_000);
    await deleteExpiredGuestCarts(shop.test.db, shop.clock.now(), 1_000);
  };
  const cart = await other.guestCarts.put(token, { productId: second, quantity: 2 }, undefined);
  expect(cart.cartToken).toBeDefined();
  expect(linesOf(await other.guestCarts.get(cart.cartToken))).toEqual([{ productId: second, quantity: 2 }]);
  await other.stop();
});

describe('merging at sign-in', () => {
  it('adds up to 9,999 of a product, in the order of adding, and does so once', async () => {
    const [a, b, c] = [shop.addProduct(), shop.addProduct(), shop.addProduct()];
    const user = uuidv7();
    await service.carts.put(user, { productId: a, quantity: 9_000 }, undefined);
    shop.clock.advance(1);
    await service.carts.put(user, { productId: b, quantity: 1 }, undefined);
    const token = await guestWith([
      { productId: a, quantity: 1_000 },
      { productId: b, quantity: 2 },
      { productId: c, quantity: 3 },
    ]);
    const merged = [
      { productId: a, quantity: 9_999 },
      { productId: b, quantity: 3 },
      { productId: c, quantity: 3 },
    ];
    expect(await service.guestCarts.merge(token, user)).toBe(3);
    expect(linesOf(await service.carts.get(user))).toEqual(merged);
    expect(await service.guestCarts.merge(token, user)).toBe(0);
    expect(await service.guestCarts.merge(token, uuidv7())).toBe(0);
    expect(linesOf(await service.carts.get(user))).toEqual(merged);
    expect((await service.guestCarts.get(token)).items).toEqual([]);
    const again = await service.guestCarts.put(token, { productId: c, quantity: 1 }, undefined);
    expect(again.cartToken).toBeUndefined();
  });

  it("leaves lines of another currency than the owner's cart in the guest's, and gives an empty cart the guest's currency", async () => {
    const dollars = shop.addProduct({ currency: 'USD' });
    const token = await guestWith([{ productId: dollars, quantity: 2 }]);
    const user = uuidv7();
    const euros = shop.addProduct();
    await service.carts.put(user, { productId: euros, quantity: 1 }, undefined);
    expect(await service.guestCarts.merge(token, user)).toBe(0);
    expect(linesOf(await service.guestCarts.get(token))).toEqual([{ productId: dollars, quantity: 2 }]);
    await service.carts.remove(user, euros, undefined);
    expect(await service.guestCarts.merge(token, user)).toBe(1);
    expect(await service.carts.get(user)).toMatchObject({ total: { currency: 'USD' } });
  });

  it("decides by the owner's cart as it is when the lines are written, not as it was when prices were asked for", async () => {
    const user = uuidv7();
    const euros = shop.addProduct();
    const token = await guestWith([{ productId: euros, quantity: 1 }]);
    const dollars = shop.addProduct({ currency: 'USD' });
    for (const first of [true, false]) {
      shop.catalog.beforeQuotes = async () => {
        shop.catalog.beforeQuotes = () => undefined;
        await service.carts.put(user, { productId: dollars, quantity: first ? 1 : 2 }, undefined);
      };
      expect(await service.guestCarts.merge(token, user)).toBe(0);
      expect(linesOf(await service.carts.get(user))).toEqual([
        { productId: dollars, quantity: first ? 1 : 2 },
      ]);
      if (first) await service.carts.remove(user, dollars, undefined);
    }
    expect(linesOf(await service.guestCarts.get(token))).toEqual([{ productId: euros, quantity: 1 }]);
  });

  it("leaves what the owner's cart has no room for, and sums up what is in it already", async () => {
    const user = uuidv7();
    const full = Array.from({ length: 999 }, () => uuidv7());
    await shop.test.db.execute(sql('test.cart')`insert into carts values (${user}, 1, now())`);
    await shop.test.db.execute(sql('test.lines')`
      insert into cart_items select ${user}, unnest(${full}::uuid[]), 1, now()`);
    for (const id of full)
      shop.catalog.products.set(id, { sku: id, name: id, priceMinor: 1n, currency: 'EUR', available: 1 });
    const [first, second] = [shop.addProduct(), shop.addProduct()];
    const token = await guestWith([
      { productId: first, quantity: 1 },
      { productId: second, quantity: 2 },
      { productId: full[0]!, quantity: 3 },
    ]);
    expect(await service.guestCarts.merge(token, user)).toBe(2);
    const cart = linesOf(await service.carts.get(user));
    expect(cart).toHaveLength(1_000);
    expect(cart.find(({ productId }) => productId === full[0])?.quantity).toBe(4);
    expect(linesOf(await service.guestCarts.get(token))).toEqual([{ productId: second, quantity: 2 }]);
  });

  it('loses and doubles no unit, whatever puts and sign-ins race with each other', async () => {
    const products = Array.from({ length: 4 }, () => shop.addProduct({ available: 100_000 }));
    const quantity = fc.integer({ min: 1, max: 50 });
    const line = fc.record({ productId: fc.constantFrom(...products), quantity });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(line, { selector: (each) => each.productId, minLength: 1 }),
        fc.uniqueArray(line, { selector: (each) => each.productId }),
        fc.integer({ min: 1, max: 4 }),
        async (guestLines, ownLines, merges) => {
          const users = [uuidv7(), uuidv7()];
          const token = await guestWith(guestLines);
          for (const each of ownLines) await service.carts.put(users[0]!, each, undefined);
          // One product that nobody else touches is put by the guest, another by each user, while the merges run.
          const [late, own] = [shop.addProduct(), shop.addProduct()];
          const merged = await Promise.all([
            ...Array.from({ length: merges }, (_, index) =>
              service.guestCarts.merge(token, users[index % 2]!),
            ),
            service.guestCarts.put(token, { productId: late, quantity: 7 }, undefined).then(() => 0),
            ...users.map((user) =>
              service.carts.put(user, { productId: own, quantity: 5 }, undefined).then(() => 0),
            ),
          ]);
          const carts = [
            ...(await Promise.all(users.map((user) => service.carts.get(user)))),
            await service.guestCarts.get(token),
          ].map(linesOf);
          const sums = new Map<string, number>();
          for (const each of carts.flat())
            sums.set(each.productId, (sums.get(each.productId) ?? 0) + each.quantity);
          const expected = new Map<string, number>([
            [late, 7],
            [own, 10],
          ]);
          for (const each of [...guestLines, ...ownLines])
            expected.set(each.productId, (expected.get(each.productId) ?? 0) + each.quantity);
          expect(Object.fromEntries(sums)).toEqual(Object.fromEntries(expected));
          const moved = merged.reduce((sum, each) => sum + each, 0);
          expect(moved).toBe(guestLines.length + 1 - carts[2]!.length);
        },
      ),
      { numRuns: 60 },
    );
  });
});
