import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  ADDRESS,
  moved,
  paymentRecords,
  range,
  sharedSystem,
  shopClient,
  type components,
  type Order,
} from '../src';

type Cart = components['schemas']['Cart'];

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
let customer: Awaited<ReturnType<typeof shop.customer>>;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  customer = await shop.customer();
});

const place = (body: object, token = customer.token) =>
  shop.request<Order>('POST', '/v1/orders', {
    token,
    headers: { 'idempotency-key': randomUUID() },
    body: { shippingAddress: ADDRESS, payment: { method: 'card', token: 'tok_ok' }, ...body },
  });

test('equal products of an order are one line; their units count together', async () => {
  const [board, bowl] = await Promise.all([
    shop.product(adminToken, { priceMinor: 300 }),
    shop.product(adminToken, { priceMinor: 50 }),
  ]);
  const { status, body } = await place({
    items: [
      { productId: board.id, quantity: 2 },
      { productId: bowl.id, quantity: 1 },
      { productId: board.id, quantity: 3 },
    ],
  });
  expect(status).toBe(201);
  expect(
    body.items.map(({ productId, quantity, unitPrice, lineTotal }) => [
      productId,
      quantity,
      unitPrice.amountMinor,
      lineTotal.amountMinor,
    ]),
  ).toEqual([
    [board.id, 5, 300, 1_500],
    [bowl.id, 1, 50, 50],
  ]);
  expect(body.total).toEqual({ amountMinor: 1_550, currency: 'EUR' });
  const tooMany = await place({
    items: [5_000, 5_000].map((quantity) => ({ productId: board.id, quantity })),
  });
  expect([tooMany.status, tooMany.body.code]).toEqual([400, 'VALIDATION_FAILED']);
});

test('an order names what is wrong with it: both or neither of items and cart, too many lines, address, payment', async () => {
  const product = await shop.product(adminToken);
  const items = [{ productId: product.id, quantity: 1 }];
  const id = (index: number) => `01890a5d-ac96-774b-bcce-${index.toString(16).padStart(12, '0')}`;
  for (const [named, body] of [
    ['items', { items, fromCart: true }],
    ['items', {}],
    ['items', { items: [] }],
    ['items', { items: range(1_001).map((index) => ({ productId: id(index), quantity: 1 })) }],
    ['items[0].quantity', { items: [{ productId: product.id, quantity: 10_000 }] }],
    ['items[0].quantity', { items: [{ productId: product.id, quantity: 1.5 }] }],
    ['shippingAddress.country', { items, shippingAddress: { ...ADDRESS, country: 'XX' } }],
    ['shippingAddress.city', { items, shippingAddress: { ...ADDRESS, city: undefined } }],
    ['payment.method', { items, payment: { method: 'cash', token: 'tok_ok' } }],
    ['couponCode', { items, couponCode: 'X' }],
  ] as const) {
    const { status, text } = await place(body);
    expect([named, status]).toEqual([named, 400]);
    const { code, errors } = JSON.parse(text) as { code: string; errors: Array<{ path: string }> };
    expect([code, errors.map(({ path }) => path)]).toEqual([
      'VALIDATION_FAILED',
      expect.arrayContaining([named]) as string[],
    ]);
  }
});

test('a cart shows today’s prices and stock, and an order takes the prices of its moment', async () => {
  const product = await shop.product(adminToken, { priceMinor: 1_000, onHand: 5 });
  const { token } = await shop.customer();
  const cart = async () => (await shop.request<Cart>('GET', '/v1/cart', { token })).body;
  await shop.request('PUT', `/v1/cart/items/${product.id}`, { token, body: { quantity: 2 } });
  await shop.request('PATCH', `/v1/admin/products/${product.id}`, {
    token: adminToken,
    body: { price: { amountMinor: 1_200, currency: 'EUR' } },
  });
  expect(await cart()).toMatchObject({
    items: [{ productId: product.id, quantity: 2, unitPrice: { amountMinor: 1_200 }, inStock: true }],
    total: { amountMinor: 2_400, currency: 'EUR' },
  });
  await shop.request('PUT', `/v1/admin/products/${product.id}/stock`, {
    token: adminToken,
    body: { onHand: 0 },
  });
  expect((await cart()).items[0]).toMatchObject({ inStock: false });
  const short = await place({ fromCart: true }, token);
  expect([short.status, short.body.code]).toEqual([409, 'OUT_OF_STOCK']);
  expect((await cart()).items).toHaveLength(1);
  await shop.request('PUT', `/v1/admin/products/${product.id}/stock`, {
    token: adminToken,
    body: { onHand: 5 },
  });
  const placed = await place({ fromCart: true }, token);
  expect([placed.status, placed.body.total.amountMinor]).toEqual([201, 2_400]);
  expect((await cart()).items).toEqual([]);
});

test('an admin cancels as a customer does: units back, money back, the same answer to the same key', async () => {
  const product = await shop.product(adminToken, { priceMinor: 700, onHand: 3 });
  const { body: order } = await place({ items: [{ productId: product.id, quantity: 2 }] });
  await shop.settled(customer.token, order.id);
  const headers = { 'idempotency-key': randomUUID() };
  const cancel = () =>
    shop.request<Order>('POST', `/v1/admin/orders/${order.id}/cancel`, { token: adminToken, headers });
  const cancelled = await cancel();
  expect([cancelled.status, cancelled.body.status, cancelled.body.cancelReason]).toEqual([
    200,
    'cancelled',
    'admin',
  ]);
  const again = await cancel();
  expect([again.status, again.text]).toEqual([200, cancelled.text]);
  expect(again.headers.get('idempotent-replayed')).toBe('true');
  expect(await shop.settled(customer.token, order.id)).toMatchObject({ paymentStatus: 'refunded' });
  const { charges, refunds } = await paymentRecords(system.payment, order.id);
  expect([moved(charges), moved(refunds)]).toEqual([1_400, 1_400]);
  await eventually(async () => {
    const { body } = await shop.request('GET', `/v1/admin/products/${product.id}/stock`, {
      token: adminToken,
    });
    expect(body).toEqual({ onHand: 3, available: 3, held: 0 });
  });
});
