import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { range, sharedSystem, shopClient, startGateway, type Answer, type Order } from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
let second: Awaited<ReturnType<typeof startGateway>> | undefined;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  second = await startGateway(system);
});
afterAll(() => second?.stop());

/** Writes go to one gateway, reads to the other: nothing that one process remembers can help. */
const other = () => shopClient(second!.url);
const consistency = ({ headers }: Answer) => {
  const token = headers.get('consistency-token');
  if (!token) throw new Error('the write returned no Consistency-Token');
  return { 'consistency-token': token };
};

interface Listed {
  items: Array<{ id: string; price: { amountMinor: number }; available: number; name: string }>;
}

describe('without a token, their owner sees as last written', () => {
  test('the profile', async () => {
    const { token } = await shop.customer();
    let etag = (await shop.request('GET', '/v1/me', { token })).headers.get('etag')!;
    for (const round of range(20)) {
      const name = `Sam the ${round}th`;
      const changed = await shop.request('PATCH', '/v1/me', {
        token,
        headers: { 'if-match': etag },
        body: { name },
      });
      expect(changed.status).toBe(200);
      const read = await other().request('GET', '/v1/me', { token });
      expect(read.body['name']).toBe(name);
      etag = read.headers.get('etag')!;
    }
  });

  test('the cart', async () => {
    const product = await shop.product(adminToken);
    const { token } = await shop.customer();
    for (const round of range(20)) {
      const quantity = round + 1;
      await shop.request('PUT', `/v1/cart/items/${product.id}`, { token, body: { quantity } });
      const { body } = await other().request<{ items: Array<{ quantity: number }> }>('GET', '/v1/cart', {
        token,
      });
      expect(body.items.map((item) => item.quantity)).toEqual([quantity]);
    }
    await shop.request('DELETE', `/v1/cart/items/${product.id}`, { token });
    expect((await other().request('GET', '/v1/cart', { token })).body['items']).toEqual([]);
  });

  test('the orders, in the history as one by one', async () => {
    const product = await shop.product(adminToken, { onHand: 1_000 });
    const { token } = await shop.customer();
    const placed: string[] = [];
    for (const _ of range(20)) {
      const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }]);
      placed.unshift(order.id);
      const { body } = await other().request<{ items: Order[] }>('GET', '/v1/orders', { token });
      expect(body.items.map(({ id }) => id)).toEqual(placed.slice(0, 20));
    }
    for (const id of placed.slice(0, 5)) {
      await shop.settled(token, id);
      const cancelled = await shop.request('POST', `/v1/orders/${id}/cancel`, {
        token,
        headers: { 'idempotency-key': randomUUID() },
      });
      expect(cancelled.status).toBe(200);
      const { body } = await other().request<{ items: Order[] }>('GET', '/v1/orders', { token });
      expect(body.items.find((order) => order.id === id)?.status).toBe('cancelled');
    }
  });
});

describe('with the Consistency-Token of a write, the answer includes the write', () => {
  test('a new, repriced, renamed and archived product in the list', async () => {
    const category = `fresh/${randomUUID()}`;
    const list = async (headers: Record<string, string>) => {
      const { status, body } = await other().request<Listed>('GET', `/v1/products?category=${category}`, {
        headers,
      });
      expect(status).toBe(200);
      return body.items;
    };
    for (const round of range(10)) {
      const created = await shop.request<{ id: string }>('POST', '/v1/admin/products', {
        token: adminToken,
        body: {
          sku: randomUUID(),
          name: `Fresh thing ${round}`,
          description: '',
          category,
          price: { amountMinor: 500, currency: 'EUR' },
          onHand: 3,
        },
      });
      expect(created.status).toBe(201);
      const { id } = created.body;
      expect((await list(consistency(created))).map((item) => item.id)).toContain(id);
      const path = `/v1/admin/products/${id}`;
      const price = { amountMinor: 600 + round, currency: 'EUR' };
      const repriced = await shop.request('PATCH', path, {
        token: adminToken,
        body: { price, name: `Renamed ${round}` },
      });
      expect(repriced.status).toBe(200);
      expect((await list(consistency(repriced))).find((item) => item.id === id)).toMatchObject({
        price,
        name: `Renamed ${round}`,
      });
      const archived = await shop.request('DELETE', path, { token: adminToken });
      expect(archived.status).toBe(204);
      expect((await list(consistency(archived))).map((item) => item.id)).not.toContain(id);
    }
  });

  test('corrected stock in the list', async () => {
    const category = `fresh/${randomUUID()}`;
    const { id } = await shop.product(adminToken, { category, onHand: 5 });
    const corrected = await shop.request('PUT', `/v1/admin/products/${id}/stock`, {
      token: adminToken,
      body: { delta: 37 },
    });
    expect(corrected.body).toMatchObject({ onHand: 42, available: 42, held: 0 });
    const { status, body } = await other().request<Listed>('GET', `/v1/products?category=${category}`, {
      headers: consistency(corrected),
    });
    expect([status, body.items.map((item) => item.available)]).toEqual([200, [42]]);
  });

  test('the count of a category and of its parents', async () => {
    interface Category {
      slug: string;
      productCount: number;
      children: Category[];
    }
    const parent = `counted-${randomUUID()}`;
    for (const count of [1, 2, 3]) {
      const created = await shop.request('POST', '/v1/admin/products', {
        token: adminToken,
        body: {
          sku: randomUUID(),
          name: 'Counted thing',
          description: '',
          category: `${parent}/child`,
          price: { amountMinor: 500, currency: 'EUR' },
          onHand: 1,
        },
      });
      const { body } = await other().request<{ items: Category[] }>('GET', '/v1/categories', {
        headers: consistency(created),
      });
      const found = body.items.find(({ slug }) => slug === parent);
      expect(found).toMatchObject({ productCount: count, children: [{ productCount: count }] });
      expect(found!.children[0]!.slug).toBe(`${parent}/child`);
    }
  });

  test('sales by day, which a cancelled order leaves at once', async () => {
    const currency = 'SEK'; // a row of its own: nothing else in these tests sells in it
    const product = await shop.product(adminToken, { currency, priceMinor: 7_700 });
    const { token } = await shop.customer();
    const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 3 }]);
    await shop.settled(token, order.id);
    const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
    const sales = async (headers: Record<string, string> = {}) => {
      const { status, body, text } = await other().request<{
        items: Array<{ currency: string; orders: number; units: number; revenue: { amountMinor: number } }>;
      }>('GET', `/v1/admin/reports/sales?from=${day(-1)}&to=${day(2)}&by=day&limit=100`, {
        token: adminToken,
        headers,
      });
      if (status !== 200) throw new Error(`the report answered ${status}: ${text}`);
      return body.items
        .filter((item) => item.currency === currency)
        .reduce(
          (sum, item) => ({
            orders: sum.orders + item.orders,
            units: sum.units + item.units,
            revenue: sum.revenue + item.revenue.amountMinor,
          }),
          { orders: 0, units: 0, revenue: 0 },
        );
    };
    await eventually(
      async () => expect(await sales()).toEqual({ orders: 1, units: 3, revenue: 23_100 }),
      15_000,
    );
    const cancelled = await shop.request('POST', `/v1/orders/${order.id}/cancel`, {
      token,
      headers: { 'idempotency-key': randomUUID() },
    });
    expect(await sales(consistency(cancelled))).toEqual({ orders: 0, units: 0, revenue: 0 });
  });
});

test('a forged or altered Consistency-Token is refused', async () => {
  const changed = await shop.request(
    'PUT',
    `/v1/admin/products/${(await shop.product(adminToken)).id}/stock`,
    {
      token: adminToken,
      body: { onHand: 7 },
    },
  );
  const genuine = consistency(changed)['consistency-token'];
  const middle = Math.floor(genuine.length / 2);
  const altered = `${genuine.slice(0, middle)}${genuine[middle] === 'A' ? 'B' : 'A'}${genuine.slice(middle + 1)}`;
  for (const token of ['nonsense', altered, genuine.slice(0, -2)])
    for (const path of ['/v1/products', '/v1/categories']) {
      const { status, body } = await shop.request('GET', path, { headers: { 'consistency-token': token } });
      expect([status, body['code']]).toEqual([400, 'CONSISTENCY_TOKEN_INVALID']);
    }
});

test("an admin's single change is seen without a token within 5 s at every gateway", async () => {
  const product = await shop.product(adminToken, { category: `seen/${randomUUID()}` });
  const anonymous = (base: string, path: string) => shopClient(base).request<{ name: string }>('GET', path);
  for (const base of [system.gateway, second!.url]) await anonymous(base, `/v1/products/${product.id}`);
  const name = `Seen ${randomUUID()}`;
  const changed = await shop.request('PATCH', `/v1/admin/products/${product.id}`, {
    token: adminToken,
    body: { name },
  });
  expect(changed.status).toBe(200);
  await eventually(async () => {
    for (const base of [system.gateway, second!.url]) {
      expect((await anonymous(base, `/v1/products/${product.id}`)).body.name).toBe(name);
      const { body } = await shopClient(base).request<Listed>(
        'GET',
        `/v1/products?q=${encodeURIComponent(name)}&limit=1`,
      );
      expect(body.items[0]?.name).toBe(name);
    }
  }, 5_000);
});

test('only an anonymous read without a token may be kept by shared caches', async () => {
  const product = await shop.product(adminToken);
  const changed = await shop.request('PUT', `/v1/admin/products/${product.id}/stock`, {
    token: adminToken,
    body: { onHand: 7 },
  });
  const { token } = await shop.customer();
  for (const path of [`/v1/products/${product.id}`, '/v1/products', '/v1/categories']) {
    const anonymous = await shop.request('GET', path);
    expect(anonymous.headers.get('cache-control')).toMatch(
      /^public, max-age=[0-5]\b.*s-maxage=.*stale-while-revalidate=/,
    );
    expect(anonymous.headers.get('vary')?.toLowerCase()).toMatch(/authorization/);
    expect(anonymous.headers.get('vary')?.toLowerCase()).toMatch(/consistency-token/);
    for (const options of [{ token }, { headers: consistency(changed) }])
      expect((await shop.request('GET', path, options)).headers.get('cache-control')).toMatch(
        /private|no-store/,
      );
  }
  for (const path of ['/v1/me', '/v1/cart', '/v1/orders'])
    expect((await shop.request('GET', path, { token })).headers.get('cache-control')).toMatch(
      /private|no-store/,
    );
});

test('a thing that has not changed answers 304 to its ETag', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }]);
  await shop.settled(token, order.id);
  for (const path of [
    `/v1/products/${product.id}`,
    `/v1/products/${product.slug}`,
    `/v1/orders/${order.id}`,
    '/v1/me',
    '/v1/cart',
  ]) {
    const read = await shop.request('GET', path, { token });
    expect([path, read.status]).toEqual([path, 200]);
    const etag = read.headers.get('etag');
    expect(etag).toMatch(/^(W\/)?"[^"]+"$/);
    const again = await shop.request('GET', path, { token, headers: { 'if-none-match': etag! } });
    expect([path, again.status, again.text]).toEqual([path, 304, '']);
    expect(again.headers.get('etag')).toBe(etag);
  }
});
