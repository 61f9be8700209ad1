import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { inParallel, range, sharedSystem, shopClient, type components } from '../src';

type Product = components['schemas']['Product'];
interface Listed {
  items: Product[];
  page: { limit: number; nextCursor: string | null; total?: number; totalIsEstimate?: boolean };
  code?: string;
  detail?: string;
}

const system = sharedSystem();
const shop = shopClient(system.gateway);
/** A category that is this file's alone. */
const CATEGORY = `lists/${randomUUID()}`;
let adminToken: string;
/** In the order of their making, at 100, 200, ... minor units; the third has no stock. */
let products: Product[];

const list = (query: string, token?: string) =>
  shop.request<Listed>('GET', `/v1/products?category=${CATEGORY}&${query}`, { token });
const idsOf = ({ body }: { body: Listed }) => body.items.map(({ id }) => id);
/** Page by page to the end. */
async function walk(query: string): Promise<string[]> {
  const found: string[] = [];
  for (let cursor = ''; ;) {
    const answer = await list(`${query}${cursor}`);
    if (answer.status !== 200) throw new Error(answer.text);
    found.push(...idsOf(answer));
    if (answer.body.page.nextCursor === null) return found;
    cursor = `&cursor=${encodeURIComponent(answer.body.page.nextCursor)}`;
  }
}

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  products = [];
  for (const index of range(12))
    products.push(
      await shop.product(adminToken, {
        name: index % 2 === 0 ? `Teak tray ${index}` : `Birch plate ${index}`,
        category: index < 8 ? CATEGORY : `${CATEGORY}/small`,
        priceMinor: (index + 1) * 100,
        onHand: index === 2 ? 0 : 10,
      }),
    );
  await eventually(async () => expect(idsOf(await list('limit=100'))).toHaveLength(12));
});

test('newest first by default, and by price either way, children of the category included', async () => {
  const made = products.map(({ id }) => id);
  expect(await walk('limit=5')).toEqual([...made].reverse());
  expect(await walk('limit=5&sort=newest')).toEqual([...made].reverse());
  expect(await walk('limit=5&sort=price')).toEqual(made);
  expect(await walk('limit=5&sort=-price')).toEqual([...made].reverse());
});

test('filters: bounds of the price inclusive, currency, stock, a category that nobody used', async () => {
  const made = products.map(({ id }) => id);
  expect(await walk('sort=price&minPriceMinor=300&maxPriceMinor=500')).toEqual(made.slice(2, 5));
  expect(await walk('sort=price&inStock=true')).toEqual(made.filter((_, index) => index !== 2));
  expect(await walk('sort=price&inStock=false')).toEqual([made[2]]);
  expect(await walk('currency=EUR')).toHaveLength(12);
  expect(await walk('currency=USD')).toEqual([]);
  const unused = await shop.request<Listed>('GET', `/v1/products?category=${CATEGORY}/none`);
  expect([unused.status, unused.body.items]).toEqual([200, []]);
});

test('a price in another currency matches no bound of the shop’s currency', async () => {
  const foreign = await shop.product(adminToken, {
    category: `${CATEGORY}-usd`,
    priceMinor: 400,
    currency: 'USD',
  });
  const found = (query: string) =>
    shop.request<Listed>('GET', `/v1/products?category=${CATEGORY}-usd&${query}`);
  await eventually(async () => expect(idsOf(await found('limit=5'))).toEqual([foreign.id]));
  expect(idsOf(await found('minPriceMinor=1'))).toEqual([]);
  expect(idsOf(await found('minPriceMinor=1&currency=USD'))).toEqual([foreign.id]);
});

test('a search lists by relevance, which needs a search', async () => {
  const teak = products.filter(({ name }) => name.startsWith('Teak')).map(({ id }) => id);
  expect((await walk('q=teak&limit=4')).sort()).toEqual([...teak].sort());
  expect(await walk('q=teak&sort=price')).toEqual(teak);
  const { status, text } = await list('sort=relevance');
  expect([status, text.includes('sort')]).toEqual([400, true]);
});

test('numbered pages are the pages that cursors give, from 1 to 10', async () => {
  const all = products.map(({ id }) => id).reverse();
  for (const page of [1, 2, 3])
    expect(idsOf(await list(`limit=5&page=${page}`))).toEqual(all.slice(5 * page - 5, 5 * page));
  expect(idsOf(await list('limit=1&page=10'))).toEqual([all[9]]);
  const second = await list('limit=5&page=2');
  const cursor = encodeURIComponent(second.body.page.nextCursor!);
  expect(idsOf(await list(`limit=5&cursor=${cursor}`))).toEqual(all.slice(10));
  const deep = await list('limit=1&page=11');
  expect([deep.status, deep.body.code]).toEqual([400, 'PAGE_TOO_DEEP']);
  expect(deep.body.detail).toContain('cursor');
  for (const wrong of ['page=0', 'page=-1', 'page=1.5', 'limit=0', 'limit=101', `page=2&cursor=${cursor}`])
    expect([wrong, (await list(wrong)).body.code]).toEqual([wrong, 'VALIDATION_FAILED']);
});

test('a cursor is good for its own list under any limit, and for no other list, filter or sort', async () => {
  const first = await list('limit=2&sort=price');
  const text = first.body.page.nextCursor!;
  const cursor = encodeURIComponent(text);
  expect(idsOf(await list(`limit=7&sort=price&cursor=${cursor}`))).toEqual(
    products.slice(2, 9).map(({ id }) => id),
  );
  const elsewhere = [
    `/v1/products?category=${CATEGORY}&sort=-price&cursor=${cursor}`,
    `/v1/products?category=${CATEGORY}&cursor=${cursor}`,
    `/v1/products?category=${CATEGORY}&sort=price&inStock=true&cursor=${cursor}`,
    `/v1/products?sort=price&cursor=${cursor}`,
    `/v1/admin/products?cursor=${cursor}`,
    `/v1/admin/orders?cursor=${cursor}`,
    ...[text.slice(1), `${text}x`, text.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')), 'x'].map(
      (altered) => `/v1/products?category=${CATEGORY}&sort=price&cursor=${encodeURIComponent(altered)}`,
    ),
  ];
  for (const path of elsewhere) {
    const { status, body } = await shop.request<Listed>('GET', path, { token: adminToken });
    expect([path, status, body.code]).toEqual([path, 400, 'CURSOR_INVALID']);
  }
});

test("an order's cursor is no other customer's", async () => {
  const [owner, other] = [await shop.customer(), await shop.customer()];
  for (const _ of range(2)) await shop.checkout(owner.token, [{ productId: products[0]!.id, quantity: 1 }]);
  const { body } = await shop.request<Listed>('GET', '/v1/orders?limit=1', { token: owner.token });
  const stolen = await shop.request<Listed>(
    'GET',
    `/v1/orders?limit=1&cursor=${encodeURIComponent(body.page.nextCursor!)}`,
    { token: other.token },
  );
  expect([stolen.status, stolen.body.code]).toEqual([400, 'CURSOR_INVALID']);
});

test('include=total counts the matches exactly, and says so; without it there is no total', async () => {
  expect((await list('limit=1')).body.page).not.toHaveProperty('total');
  const { body } = await list('limit=1&include=total&minPriceMinor=500');
  expect(body.page).toMatchObject({ limit: 1, total: 8, totalIsEstimate: false });
});

test('fields keeps the named members, inner ones too, and always the id', async () => {
  const { body } = await list('limit=2&fields=name,price.amountMinor');
  expect(body.items).toEqual(
    products
      .slice(-2)
      .reverse()
      .map(({ id, name, price }) => ({ id, name, price: { amountMinor: price.amountMinor } })),
  );
  const one = await shop.request('GET', `/v1/products/${products[0]!.id}?fields=slug`);
  expect(one.body).toEqual({ id: products[0]!.id, slug: products[0]!.slug });
});

test('newest neither skips nor repeats while products are added', async () => {
  const known = products.map(({ id }) => id);
  let adding = true;
  const adder = (async () => {
    while (adding) await shop.product(adminToken, { category: CATEGORY });
  })();
  try {
    const walks = await inParallel(range(4), 2, () => walk('limit=3'));
    for (const found of walks) {
      expect(new Set(found).size).toBe(found.length);
      expect(found.filter((id) => known.includes(id))).toEqual([...known].reverse());
    }
  } finally {
    adding = false;
    await adder;
  }
});
