import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  importFile,
  inParallel,
  ndjson,
  range,
  serviceProcess,
  sharedSystem,
  shopClient,
  type components,
} from '../src';

type Product = components['schemas']['Product'];
interface Recommended {
  items: Product[];
  degraded?: boolean;
}

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const recommended = async (path: string, token?: string) => {
  const { status, body, text, headers } = await shop.request<Recommended>('GET', path, { token });
  if (status !== 200) throw new Error(`${path} answered ${status}: ${text}`);
  return { ...body, ids: body.items.map(({ id }) => id), cache: headers.get('cache-control') ?? '' };
};
const look = (productId: string, token?: string, cartToken?: string) =>
  shop.request('POST', '/v1/activity', {
    token,
    headers: cartToken === undefined ? {} : { 'cart-token': cartToken },
    body: { type: 'view', productId },
  });
/** Orders of these products together, an hour ago. */
const sellTogether = (products: Product[], times: number) =>
  importFile(shop, adminToken, {
    to: 'order-imports',
    type: 'application/x-ndjson',
    content: ndjson(
      ...range(times).map(() => ({
        externalId: randomUUID(),
        placedAt: new Date(Date.now() - 3_600_000).toISOString(),
        items: products.map(({ sku }) => ({
          sku,
          quantity: 1,
          unitPrice: { amountMinor: 100, currency: 'EUR' },
        })),
      })),
    ),
  });

test('what is bought together is related, the product itself never is, and an archived one no longer', async () => {
  const [board, oil, brush] = await Promise.all(range(3).map(() => shop.product(adminToken)));
  expect(await sellTogether([board!, oil!], 12)).toMatchObject({ created: 12 });
  await sellTogether([brush!], 12);
  const related = () => recommended(`/v1/products/${board!.id}/related?limit=5`);
  await eventually(async () => expect((await related()).ids[0]).toBe(oil!.id), 30_000);
  const { ids, degraded, items } = await related();
  expect(degraded).toBeUndefined();
  expect(ids).not.toContain(board!.id);
  expect(ids.length).toBeLessThanOrEqual(5);
  expect(items[0]).toMatchObject({ id: oil!.id, sku: oil!.sku, price: oil!.price, inStock: true });

  await shop.request('DELETE', `/v1/admin/products/${oil!.id}`, { token: adminToken });
  await eventually(async () => expect((await related()).ids).not.toContain(oil!.id), 30_000);
});

test('what many people look at now is trending, also where they are guests', async () => {
  const product = await shop.product(adminToken);
  const answers = await inParallel(range(150), 10, (index) => look(product.id, undefined, `guest-${index}`));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
  await eventually(
    async () => expect((await recommended('/v1/products/trending?limit=100')).ids).toContain(product.id),
    30_000,
  );
});

test('what is recommended follows what each customer looks at', async () => {
  const [board, oil, lamp, bulb] = await Promise.all(range(4).map(() => shop.product(adminToken)));
  await sellTogether([board!, oil!], 12);
  await sellTogether([lamp!, bulb!], 12);
  const [cook, reader] = [await shop.customer(), await shop.customer()];
  for (const _ of range(3)) {
    expect((await look(board!.id, cook.token)).status).toBe(202);
    expect((await look(lamp!.id, reader.token)).status).toBe(202);
  }
  const comesFirst = async (token: string, first: Product, then: Product) => {
    const { ids, cache } = await recommended('/v1/me/recommendations?limit=100', token);
    expect(cache).toMatch(/private|no-store/);
    const [one, other] = [ids.indexOf(first.id), ids.indexOf(then.id)];
    expect(one >= 0 && (other < 0 || one < other)).toBe(true);
  };
  await eventually(async () => {
    await comesFirst(cook.token, oil!, bulb!);
    await comesFirst(reader.token, bulb!, oil!);
  }, 30_000);
});

test('an activity names a product by its id and nobody but its sender', async () => {
  const product = await shop.product(adminToken);
  const send = async (body: object) => {
    const { status, text } = await shop.request('POST', '/v1/activity', { body });
    return [status, text] as const;
  };
  for (const [body, named] of [
    [{ type: 'bought', productId: product.id }, 'type'],
    [{ type: 'view', productId: 'x' }, 'productId'],
    [{ type: 'view' }, 'productId'],
    [{ type: 'view', productId: product.id, userId: randomUUID() }, 'userId'],
  ] as const) {
    const [status, text] = await send(body);
    expect([named, status]).toEqual([named, 400]);
    expect(text).toContain(named);
  }
});

test('while recommendations are stopped, popular products stand in, still 200, and are not kept by caches', async () => {
  const { token } = await shop.customer();
  const product = await shop.product(adminToken);
  const paths = [
    `/v1/products/${product.id}/related?limit=3`,
    '/v1/products/trending?limit=3',
    '/v1/me/recommendations?limit=3',
  ];
  const { pid } = serviceProcess(system, 'recommendation');
  process.kill(pid, 'SIGSTOP');
  try {
    // The shop can do without: it is degraded, not down.
    await eventually(async () => {
      const { status, body } = await shop.request('GET', '/health');
      expect([status, body['status']]).toEqual([200, 'degraded']);
    }, 30_000);
    // What was sold a moment ago may still be on its way into the list of popular products.
    await eventually(async () => {
      const popular = await recommended('/v1/products?sort=popular&limit=4');
      for (const found of await Promise.all(paths.map((path) => recommended(path, token)))) {
        expect(found.degraded).toBe(true);
        expect(found.ids).toEqual(popular.ids.filter((id) => id !== product.id).slice(0, 3));
        expect(found.cache).toBe('no-store');
      }
    }, 30_000);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  for (const path of paths)
    await eventually(async () => expect((await recommended(path, token)).degraded).toBeUndefined(), 30_000);
});
