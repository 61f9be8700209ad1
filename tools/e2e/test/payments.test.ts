import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  moved,
  paymentRecords,
  sharedSystem,
  shopClient,
  startSystem,
  type Order,
  type RunningSystem,
  type ShopClient,
  type SystemAddresses,
} from '../src';

const stockOf = async (shop: ShopClient, adminToken: string, productId: string) =>
  (await shop.request('GET', `/v1/admin/products/${productId}/stock`, { token: adminToken })).body;

async function shopper(system: SystemAddresses) {
  const shop = shopClient(system.gateway);
  const { accessToken: adminToken } = await shop.signIn(system.admin.email, system.admin.password);
  const product = await shop.product(adminToken, { priceMinor: 4_200, onHand: 5 });
  const { token } = await shop.customer();
  return {
    shop,
    token,
    product,
    stock: () => stockOf(shop, adminToken, product.id),
    pay: async (payment: string) => {
      const placed = await shop.checkout(token, [{ productId: product.id, quantity: 2 }], { payment });
      expect(placed.status).toBe(201);
      return placed.body;
    },
    cancel: (orderId: string) =>
      shop.request<Order>('POST', `/v1/orders/${orderId}/cancel`, {
        token,
        headers: { 'idempotency-key': randomUUID() },
      }),
  };
}

describe('while the provider answers', () => {
  const system = sharedSystem();

  test.each([
    ['tok_ok', 'a plain charge'],
    ['tok_slow', 'a charge that takes three seconds'],
    ['tok_timeout_charged', 'a charge that is made and never answered'],
    ['tok_error', 'a charge whose first try fails'],
  ])(
    '%s (%s) ends confirmed with one charge',
    async (payment) => {
      const { shop, token, pay, stock } = await shopper(system);
      const order = await pay(payment);
      expect(await shop.settled(token, order.id, 60_000)).toMatchObject({
        status: 'confirmed',
        paymentStatus: 'paid',
        cancelReason: null,
      });
      const { charges, refunds } = await paymentRecords(system.payment, order.id);
      expect(charges.filter(({ status }) => status === 'succeeded')).toHaveLength(1);
      expect(moved(charges) - moved(refunds)).toBe(8_400);
      await eventually(async () => expect(await stock()).toEqual({ onHand: 3, available: 3, held: 0 }));
    },
    70_000,
  );

  test.each([
    ['tok_declined', 'declined', 'payment_declined'],
    ['tok_invalid', 'failed', 'payment_failed'],
    ['tok_unheard_of', 'failed', 'payment_failed'],
  ])('%s ends cancelled, %s, and gives the units back', async (payment, paymentStatus, cancelReason) => {
    const { shop, token, pay, stock } = await shopper(system);
    const order = await pay(payment);
    expect(await shop.settled(token, order.id)).toMatchObject({
      status: 'cancelled',
      paymentStatus,
      cancelReason,
    });
    const { charges } = await paymentRecords(system.payment, order.id);
    expect(moved(charges)).toBe(0);
    await eventually(async () => expect(await stock()).toEqual({ onHand: 5, available: 5, held: 0 }));
  });

  test('an order that is cancelled while its payment is under way ends cancelled and refunded', async () => {
    const { shop, token, pay, cancel, stock } = await shopper(system);
    const order = await pay('tok_slow');
    const answer = await cancel(order.id);
    expect(answer.status).toBe(202);
    expect(answer.body.id).toBe(order.id);
    const final = await eventually(async () => {
      const found = await shop.settled(token, order.id);
      expect(found.status).toBe('cancelled');
      return found;
    }, 20_000);
    expect(final.cancelReason).toBe('customer');
    const { charges, refunds } = await paymentRecords(system.payment, order.id);
    expect(moved(charges) - moved(refunds)).toBe(0);
    expect(final.paymentStatus).toBe(charges.length > 0 ? 'refunded' : 'pending');
    await eventually(async () => expect(await stock()).toEqual({ onHand: 5, available: 5, held: 0 }));
  });

  test('an order that ended cancelled cannot be cancelled again', async () => {
    const { shop, token, pay, cancel } = await shopper(system);
    const order = await pay('tok_declined');
    await shop.settled(token, order.id);
    const answer = await cancel(order.id);
    expect([answer.status, answer.body.code]).toEqual([409, 'ORDER_NOT_CANCELLABLE']);
  });
});

describe('while the provider is away', () => {
  let system: RunningSystem | undefined;

  beforeAll(async () => {
    system = await startSystem({
      env: { ORDER_PAYMENT_TIMEOUT_SECONDS: '5', LOG_LEVEL: 'warn' },
      arguments: ['--products', '0'],
    });
  }, 120_000);
  afterAll(() => system?.remove(), 60_000);

  test('an order expires after the payment timeout, its units are available again and nothing was charged', async () => {
    const { shop, token, pay, stock } = await shopper(system!);
    const order = await pay('tok_down');
    expect(await stock()).toEqual({ onHand: 5, available: 3, held: 2 });
    expect(await shop.settled(token, order.id, 40_000)).toMatchObject({
      status: 'cancelled',
      paymentStatus: 'failed',
      cancelReason: 'expired',
    });
    await eventually(async () => expect(await stock()).toEqual({ onHand: 5, available: 5, held: 0 }));
    expect(moved((await paymentRecords(system!.payment, order.id)).charges)).toBe(0);
  });

  test('an order that is cancelled meanwhile ends cancelled at the latest with the payment timeout', async () => {
    const { shop, token, pay, cancel, stock } = await shopper(system!);
    const order = await pay('tok_down');
    expect((await cancel(order.id)).status).toBe(202);
    const final = await shop.settled(token, order.id, 40_000);
    expect(final).toMatchObject({ status: 'cancelled', paymentStatus: 'pending', cancelReason: 'customer' });
    await eventually(async () => expect(await stock()).toEqual({ onHand: 5, available: 5, held: 0 }));
  });
});
