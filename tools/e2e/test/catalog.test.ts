import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { sharedSystem, shopClient, type components } from '../src';

type Product = components['schemas']['Product'];
type AdminProduct = components['schemas']['AdminProduct'];
type Stock = components['schemas']['Stock'];
type Entry = components['schemas']['StockLedgerEntry'];
interface Category {
  slug: string;
  name: string;
  productCount: number;
  children: Category[];
}

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const admin = <T = AdminProduct>(method: string, path: string, body?: unknown) =>
  shop.request<T & { code?: string }>(method, `/v1/admin/products${path}`, {
    token: adminToken,
    ...(body === undefined ? {} : { body }),
  });
const create = (values: object = {}) =>
  admin('POST', '', {
    sku: randomUUID(),
    name: 'Ash stool',
    description: '',
    category: 'chairs',
    price: { amountMinor: 4_900 },
    onHand: 2,
    ...values,
  });

test('products of one group are variants of each other, archived ones apart', async () => {
  const group = randomUUID();
  const made = [];
  for (const [size, amountMinor, onHand] of [
    ['S', 100, 1],
    ['M', 200, 0],
    ['L', 300, 3],
  ] as const)
    made.push((await create({ group, options: { size }, price: { amountMinor }, onHand })).body);
  const variantsOf = async (id: string) =>
    (await shop.request<Product>('GET', `/v1/products/${id}`)).body.variants ?? [];
  const expected = made.map(({ id, options, price, available }) => ({
    id,
    options,
    price,
    inStock: available > 0,
  }));
  for (const { id } of made)
    expect([...(await variantsOf(id))].sort((a, b) => a.price.amountMinor - b.price.amountMinor)).toEqual(
      expected,
    );
  await admin('DELETE', `/${made[1]!.id}`);
  expect((await variantsOf(made[0]!.id)).map(({ id }) => id).sort()).toEqual(
    [made[0]!.id, made[2]!.id].sort(),
  );
  const alone = await create();
  expect((await shop.request<Product>('GET', `/v1/products/${alone.body.id}`)).body).not.toHaveProperty(
    'variants',
  );
});

test('a price without a currency has the shop’s, and a slug stays when the name changes', async () => {
  const { status, body, headers } = await create({ name: 'A Quite Ordinary Name' });
  expect([status, headers.get('location')]).toEqual([201, `/v1/products/${body.id}`]);
  expect(body.price).toEqual({ amountMinor: 4_900, currency: 'EUR' });
  expect(body.slug).toMatch(/^a-quite-ordinary-name/);
  const renamed = await admin('PATCH', `/${body.id}`, { name: 'Another One' });
  expect(renamed.body).toMatchObject({ name: 'Another One', slug: body.slug, version: body.version + 1 });
  const found = await shop.request<Product>('GET', `/v1/products/${body.slug}`);
  expect(found.body).toMatchObject({ id: body.id, name: 'Another One' });
});

test('an archived product is gone for shoppers, kept for orders and admins, and comes back', async () => {
  const { body: product } = await create({ category: `archive/${randomUUID()}` });
  const customer = await shop.customer();
  const { body: order } = await shop.checkout(customer.token, [{ productId: product.id, quantity: 1 }]);
  await shop.settled(customer.token, order.id);

  expect((await admin('DELETE', `/${product.id}`)).status).toBe(204);
  expect((await admin('DELETE', `/${product.id}`)).status).toBe(204);
  for (const path of [
    `/v1/products/${product.id}`,
    `/v1/products/${product.slug}`,
    `/v1/products/${product.id}/related`,
  ])
    await eventually(async () => expect((await shop.request('GET', path)).status).toBe(404));
  const patched = await admin('PATCH', `/${product.id}`, { name: 'Too late' });
  expect([patched.status, patched.body.code]).toEqual([409, 'PRODUCT_ARCHIVED']);
  const taken = await create({ sku: product.sku });
  expect([taken.status, taken.body.code]).toEqual([409, 'SKU_TAKEN']);
  const kept = await shop.request<{ items: Array<{ productId: string }> }>('GET', `/v1/orders/${order.id}`, {
    token: customer.token,
  });
  expect(kept.body.items.map(({ productId }) => productId)).toEqual([product.id]);

  const listed = async (query: string) =>
    (await admin<{ items: AdminProduct[] }>('GET', `?limit=10${query}`)).body.items.map(({ id }) => id);
  expect(await listed('')).not.toContain(product.id);
  expect((await listed('&includeArchived=true'))[0]).toBe(product.id);
  expect((await admin('GET', `/${product.id}`)).body).toMatchObject({ archived: true });

  const restored = await admin('POST', `/${product.id}/restore`);
  expect([restored.status, restored.body.archived]).toEqual([200, false]);
  expect((await shop.request('GET', `/v1/products/${product.id}`)).status).toBe(200);
});

test('categories are made on first use, with counts of themselves and all below, four deep', async () => {
  const root = `root-${randomUUID()}`;
  for (const category of [root, `${root}/a`, `${root}/a/b`, `${root}/a/b/c`, `${root}/a/b/c`, `${root}/d`])
    expect((await create({ category })).status).toBe(201);
  const tree = await eventually(async () => {
    const { body } = await shop.request<{ items: Category[] }>('GET', '/v1/categories');
    const found = body.items.find(({ slug }) => slug === root);
    expect(found?.productCount).toBe(6);
    return found!;
  });
  const told = ({ slug, productCount, children }: Category): unknown[] => [
    slug,
    productCount,
    children.map(told),
  ];
  expect(told(tree)).toEqual([
    root,
    6,
    [
      [`${root}/a`, 4, [[`${root}/a/b`, 3, [[`${root}/a/b/c`, 2, []]]]]],
      [`${root}/d`, 1, []],
    ],
  ]);
  for (const category of ['a/b/c/d/e', 'Kitchen', 'a//b', '/a', 'a/', 'ä', ''])
    expect([category, (await create({ category })).body.code]).toEqual([category, 'VALIDATION_FAILED']);
});

test('stock is set or changed, never below what is held, and the ledger adds up to what is on hand', async () => {
  const { body: product } = await create({ onHand: 10 });
  const put = (body: object) => admin<Stock>('PUT', `/${product.id}/stock`, body);
  const customer = await shop.customer();
  // The provider stays away from this one: its units stay held.
  await shop.checkout(customer.token, [{ productId: product.id, quantity: 4 }], { payment: 'tok_down' });
  expect((await admin<Stock>('GET', `/${product.id}/stock`)).body).toEqual({
    onHand: 10,
    available: 6,
    held: 4,
  });
  for (const wrong of [{}, { onHand: 5, delta: 1 }, { onHand: -1 }, { onHand: 1.5 }])
    expect([wrong, (await put(wrong)).status]).toEqual([wrong, 400]);
  expect((await put({ delta: 5 })).body).toEqual({ onHand: 15, available: 11, held: 4 });
  for (const below of [{ onHand: 3 }, { delta: -12 }, { onHand: 0 }]) {
    const { status, body } = await put(below);
    expect([below, status, body.code]).toEqual([below, 409, 'STOCK_NEGATIVE']);
  }
  expect((await put({ onHand: 4 })).body).toEqual({ onHand: 4, available: 0, held: 4 });
  const sold = await shop.checkout((await shop.customer()).token, [{ productId: product.id, quantity: 1 }]);
  expect([sold.status, sold.body.code]).toEqual([409, 'OUT_OF_STOCK']);

  const ledger = (await admin<{ items: Entry[] }>('GET', `/${product.id}/stock/ledger`)).body.items;
  expect(ledger.map(({ reason, delta }) => [reason, delta])).toEqual([
    ['correction', -11],
    ['correction', 5],
    ['opening', 10],
  ]);
  expect(ledger.reduce((sum, { delta }) => sum + delta, 0)).toBe(4);
});
