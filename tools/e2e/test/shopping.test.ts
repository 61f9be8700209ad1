import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  ADDRESS,
  moved,
  openEventStream,
  paymentRecords,
  sharedSystem,
  shopClient,
  type Order,
} from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);

interface Stock {
  onHand: number;
  available: number;
  held: number;
}

test('a customer registers, signs in, fills a cart, pays, follows the order, cancels it and gets the money back', async () => {
  const admin = await shop.signIn(system.admin.email, system.admin.password);
  const board = await shop.product(admin.accessToken, { priceMinor: 1_999, onHand: 10 });
  const bowl = await shop.product(admin.accessToken, { name: 'Beech bowl', priceMinor: 3_500, onHand: 4 });
  const stock = async (productId: string) =>
    (await shop.request<Stock>('GET', `/v1/admin/products/${productId}/stock`, { token: admin.accessToken }))
      .body;

  const email = `Sam.${randomUUID()}@Shop.Example`;
  const registered = await shop.request<{ id: string; role: string; email: string }>('POST', '/v1/users', {
    body: { email, password: 'a-long-enough-password', name: 'Sam' },
  });
  expect(registered.status).toBe(201);
  expect(registered.body).toMatchObject({ role: 'customer', name: 'Sam' });
  expect(registered.text).not.toMatch(/password|hash/i);
  const { accessToken: token } = await shop.signIn(email.toLowerCase(), 'a-long-enough-password');

  const put = (productId: string, quantity: number) =>
    shop.request('PUT', `/v1/cart/items/${productId}`, { token, body: { quantity } });
  expect((await put(board.id, 2)).status).toBe(200);
  const cart = await put(bowl.id, 1);
  expect(cart.body).toMatchObject({ total: { amountMinor: 2 * 1_999 + 3_500, currency: 'EUR' } });

  const placed = await shop.request<Order>('POST', '/v1/orders', {
    token,
    headers: { 'idempotency-key': randomUUID() },
    body: { fromCart: true, shippingAddress: ADDRESS, payment: { method: 'card', token: 'tok_slow' } },
  });
  expect(placed.status).toBe(201);
  expect(placed.headers.get('location')).toBe(`/v1/orders/${placed.body.id}`);
  expect(placed.body).toMatchObject({
    status: 'pending',
    paymentStatus: 'pending',
    cancelReason: null,
    total: { amountMinor: 7_498, currency: 'EUR' },
  });
  expect(placed.body.items.map(({ productId, quantity }) => [productId, quantity]).sort()).toEqual(
    [
      [board.id, 2],
      [bowl.id, 1],
    ].sort(),
  );
  const emptied = await shop.request('GET', '/v1/cart', { token });
  expect(emptied.body).toMatchObject({ items: [], total: { amountMinor: 0, currency: 'EUR' } });
  expect(await stock(board.id)).toEqual({ onHand: 10, available: 8, held: 2 });

  const listed = await shop.request<{ items: Order[] }>('GET', '/v1/orders', { token });
  expect(listed.body.items.map((order) => order.id)).toEqual([placed.body.id]);

  const stream = await openEventStream(`${system.gateway}/v1/orders/${placed.body.id}/events`, {
    authorization: `Bearer ${token}`,
  });
  expect(stream.status).toBe(200);
  expect(stream.contentType).toMatch(/^text\/event-stream/);
  const seen: Array<{ version: number; order: Order }> = [];
  for await (const { event, id, data } of stream.events) {
    expect(event).toBe('order');
    seen.push({ version: Number(id), order: JSON.parse(data) as Order });
  }
  expect(seen[0]!.order.status).toBe('pending');
  expect(seen.at(-1)!.order).toMatchObject({ status: 'confirmed', paymentStatus: 'paid' });
  for (const [index, { version }] of seen.entries())
    if (index > 0) expect(version).toBeGreaterThan(seen[index - 1]!.version);
  const again = await openEventStream(`${system.gateway}/v1/orders/${placed.body.id}/events`, {
    authorization: `Bearer ${token}`,
    'last-event-id': String(seen.at(-1)!.version),
  });
  expect(again.status).toBe(204);

  const charged = await paymentRecords(system.payment, placed.body.id);
  expect(charged.charges).toHaveLength(1);
  expect(moved(charged.charges)).toBe(7_498);
  expect(charged.refunds).toEqual([]);
  await eventually(async () => expect(await stock(board.id)).toEqual({ onHand: 8, available: 8, held: 0 }));

  const cancelled = await shop.request<Order>('POST', `/v1/orders/${placed.body.id}/cancel`, {
    token,
    headers: { 'idempotency-key': randomUUID() },
  });
  expect(cancelled.status).toBe(200);
  expect(cancelled.body).toMatchObject({ status: 'cancelled', cancelReason: 'customer' });
  const final = await shop.settled(token, placed.body.id);
  expect(final).toMatchObject({
    status: 'cancelled',
    paymentStatus: 'refunded',
    cancelReason: 'customer',
  });
  const refunded = await paymentRecords(system.payment, placed.body.id);
  expect(moved(refunded.charges) - moved(refunded.refunds)).toBe(0);
  expect(refunded.refunds).toHaveLength(1);
  await eventually(async () => {
    expect(await stock(board.id)).toEqual({ onHand: 10, available: 10, held: 0 });
    expect(await stock(bowl.id)).toEqual({ onHand: 4, available: 4, held: 0 });
  });
  const ledger = await shop.request<{ items: Array<{ delta: number; reason: string; orderId?: string }> }>(
    'GET',
    `/v1/admin/products/${board.id}/stock/ledger`,
    { token: admin.accessToken },
  );
  expect(ledger.body.items.reduce((sum, entry) => sum + entry.delta, 0)).toBe(10);
  expect(ledger.body.items.filter((entry) => entry.orderId === placed.body.id)).toHaveLength(2);
});

test('the order history lists every order newest first, over pages, without gaps or repetitions', async () => {
  const admin = await shop.signIn(system.admin.email, system.admin.password);
  const product = await shop.product(admin.accessToken);
  const { token } = await shop.customer();
  const placed: string[] = [];
  for (let count = 0; count < 7; count += 1) {
    const { body } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }]);
    placed.unshift(body.id);
  }
  const listed: string[] = [];
  for (let cursor = ''; ;) {
    const { status, body } = await shop.request<{
      items: Order[];
      page: { limit: number; nextCursor: string | null };
    }>('GET', `/v1/orders?limit=3${cursor}`, { token });
    expect(status).toBe(200);
    expect(body.page.limit).toBe(3);
    listed.push(...body.items.map((order) => order.id));
    if (!body.page.nextCursor) break;
    cursor = `&cursor=${encodeURIComponent(body.page.nextCursor)}`;
  }
  expect(listed).toEqual(placed);
});
