import { randomUUID } from 'node:crypto';
import { ADDRESS, inParallel, range, sharedSystem, shopClient, startGateway, type Answer } from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
let second: Awaited<ReturnType<typeof startGateway>> | undefined;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  second = await startGateway(system);
});
afterAll(() => second?.stop());

const kept = ({ status, text, headers }: Answer) => ({
  status,
  text,
  type: headers.get('content-type'),
  location: headers.get('location'),
});
const replayed = ({ headers }: Answer) => headers.get('idempotent-replayed');

test('a replayed order returns the first response, byte for byte, at either gateway and whatever became of the order', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const key = randomUUID();
  const items = [{ productId: product.id, quantity: 1 }];
  const first = await shop.checkout(token, items, { key });
  expect(first.status).toBe(201);
  expect(replayed(first)).toBeNull();
  await shop.settled(token, first.body.id);
  for (const gateway of [system.gateway, second!.url]) {
    const again = await shopClient(gateway).checkout(token, items, { key });
    expect(kept(again)).toEqual(kept(first));
    expect(replayed(again)).toBe('true');
  }
  const { body } = await shop.request<{ items: unknown[] }>('GET', '/v1/orders', { token });
  expect(body.items).toHaveLength(1);
});

test('the order of members in the body does not matter to a key, every value does', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const key = randomUUID();
  const post = (body: unknown) =>
    shop.request<{ code?: string }>('POST', '/v1/orders', {
      token,
      headers: { 'idempotency-key': key },
      body,
    });
  const payment = { method: 'card', token: 'tok_ok' };
  const items = [{ productId: product.id, quantity: 2 }];
  const first = await post({ items, shippingAddress: ADDRESS, payment });
  expect(first.status).toBe(201);
  const shuffled = await post({
    payment: { token: 'tok_ok', method: 'card' },
    shippingAddress: Object.fromEntries(Object.entries(ADDRESS).reverse()),
    items: [{ quantity: 2, productId: product.id }],
  });
  expect(kept(shuffled)).toEqual(kept(first));
  for (const other of [
    { items: [{ productId: product.id, quantity: 3 }], shippingAddress: ADDRESS, payment },
    { items, shippingAddress: { ...ADDRESS, city: 'Bonn' }, payment },
    { items, shippingAddress: ADDRESS, payment: { ...payment, token: 'tok_declined' } },
  ]) {
    const { status, body } = await post(other);
    expect([status, body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
  }
});

test('a key belongs to its user: another user may use the same one', async () => {
  const product = await shop.product(adminToken);
  const key = randomUUID();
  const [one, other] = [await shop.customer(), await shop.customer()];
  const items = [{ productId: product.id, quantity: 1 }];
  const first = await shop.checkout(one.token, items, { key });
  const next = await shop.checkout(other.token, items, { key });
  expect([first.status, next.status]).toEqual([201, 201]);
  expect(next.body.id).not.toBe(first.body.id);
});

test('the answer that a shop is out of stock is kept with its first request id, also when stock has come since', async () => {
  const product = await shop.product(adminToken, { onHand: 1 });
  const { token } = await shop.customer();
  const key = randomUUID();
  const items = [{ productId: product.id, quantity: 2 }];
  const first = await shop.checkout(token, items, { key });
  expect([first.status, first.body.code]).toEqual([409, 'OUT_OF_STOCK']);
  expect(first.text).toContain(product.id);
  const filled = await shop.request('PUT', `/v1/admin/products/${product.id}/stock`, {
    token: adminToken,
    body: { onHand: 50 },
  });
  expect(filled.status).toBe(200);
  const again = await shopClient(second!.url).checkout(token, items, { key });
  expect(kept(again)).toEqual(kept(first));
  expect(replayed(again)).toBe('true');
  expect((await shop.checkout(token, items)).status).toBe(201);
});

test('an answer that is not kept leaves the key free', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const key = randomUUID();
  const post = (body: unknown) =>
    shop.request<{ code?: string }>('POST', '/v1/orders', {
      token,
      headers: { 'idempotency-key': key },
      body,
    });
  const payment = { method: 'card', token: 'tok_ok' };
  const empty = await post({ fromCart: true, shippingAddress: ADDRESS, payment });
  expect([empty.status, empty.body.code]).toEqual([409, 'CART_EMPTY']);
  await shop.request('PUT', `/v1/cart/items/${product.id}`, { token, body: { quantity: 1 } });
  expect((await post({ fromCart: true, shippingAddress: ADDRESS, payment })).status).toBe(201);
});

test('two gateways racing one key make one order', async () => {
  const rounds = 40;
  const product = await shop.product(adminToken, { onHand: 10 * rounds });
  const { token } = await shop.customer();
  const items = [{ productId: product.id, quantity: 1 }];
  const gateways = [shop, shopClient(second!.url)];
  let inFlight = 0;
  await inParallel(range(rounds), 4, async () => {
    const key = randomUUID();
    const answers = await Promise.all(
      range(4).map((index) => gateways[index % 2]!.checkout(token, items, { key })),
    );
    const placed = answers.filter(({ status }) => status === 201);
    for (const { status, body, headers } of answers)
      if (status !== 201) {
        expect([status, body.code]).toEqual([409, 'IDEMPOTENCY_IN_FLIGHT']);
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
        inFlight += 1;
      }
    expect(placed.length).toBeGreaterThan(0);
    expect(new Set(placed.map(({ text }) => text)).size).toBe(1);
    expect(placed.filter((answer) => replayed(answer) === null)).toHaveLength(1);
  });
  console.log(`${rounds} keys raced four times each over two gateways: ${inFlight} times in flight`);
  const orders = await shop.list<{ id: string }>('/v1/orders', token);
  expect(orders).toHaveLength(rounds);
  const { body: stock } = await shop.request<{ available: number }>(
    'GET',
    `/v1/admin/products/${product.id}/stock`,
    { token: adminToken },
  );
  expect(stock.available).toBe(9 * rounds);
});

test('a replayed cancellation returns the first response', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }]);
  await shop.settled(token, order.id);
  const headers = { 'idempotency-key': randomUUID() };
  const cancel = (base: string) =>
    shopClient(base).request('POST', `/v1/orders/${order.id}/cancel`, { token, headers });
  const first = await cancel(system.gateway);
  expect(first.status).toBe(200);
  await shop.settled(token, order.id);
  const again = await cancel(second!.url);
  expect(kept(again)).toEqual(kept(first));
  expect(replayed(again)).toBe('true');
});
