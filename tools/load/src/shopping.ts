import type { Clock } from '@headroom/resilience';
import { createHttp, signIn, type Account } from '@headroom/shop-api';
import { randomUUID } from 'node:crypto';
import type { Action } from './open-loop';

/** What shoppers do, in the proportions of a shop with many visitors and few buyers. */
export interface Shopping {
  actions: Action[];
  /** Takes what was made for the load out of the shop again. */
  cleanUp(): Promise<void>;
}

const PRODUCTS = 20;
const CURRENCY = 'EUR';

/** Makes products and customers of its own in a running shop, and the requests that they send. */
export async function openShopping(options: {
  gateway: string;
  admin: { email: string; password: string };
  customers: number;
  clock: Clock;
  random?: () => number;
}): Promise<Shopping> {
  const { gateway, clock, random = Math.random } = options;
  const shop = createHttp(gateway, { clock });
  const admin = await signIn(shop, clock, options.admin);
  const run = randomUUID().slice(0, 8);
  const products: string[] = [];
  for (let n = 0; n < PRODUCTS; n += 1) {
    const made = await admin.call<{ id: string }>('POST', '/v1/admin/products', {
      body: {
        sku: `LOAD-${run}-${n}`,
        name: `Load product ${n}`,
        description: 'Made for a measurement.',
        category: 'load',
        price: { amountMinor: 1_000 + n, currency: CURRENCY },
        onHand: 1_000_000,
      },
    });
    if (made.status !== 201) throw new Error(`a product for the load could not be made: ${made.status}`);
    products.push(made.body.id);
  }
  const customers: Account[] = [];
  for (let n = 0; n < options.customers; n += 1) {
    const account = { email: `load-${run}-${n}@load.example`, password: randomUUID() };
    await shop.call('POST', '/v1/users', { body: { ...account, name: 'Load Customer' } });
    customers.push(await signIn(shop, clock, account));
  }

  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)]!;
  const send = async (method: string, path: string, expected: number, more: SendOptions = {}) => {
    const response = await fetch(`${gateway}${path}`, {
      method,
      signal: AbortSignal.timeout(30_000),
      headers: {
        ...(more.by ? { authorization: `Bearer ${await more.by.token()}` } : {}),
        ...(more.key ? { 'idempotency-key': more.key } : {}),
        ...(more.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(more.body === undefined ? {} : { body: JSON.stringify(more.body) }),
    });
    const text = await response.text();
    if (response.status !== expected)
      throw new Error(`${method} ${path.split('?')[0]} answered ${response.status}: ${text.slice(0, 200)}`);
    return true;
  };

  const actions: Action[] = [
    { name: 'list', weight: 20, run: () => send('GET', '/v1/products?limit=20', 200) },
    { name: 'search', weight: 10, run: () => send('GET', `/v1/products?q=${pick(WORDS)}`, 200) },
    { name: 'detail', weight: 30, run: () => send('GET', `/v1/products/${pick(products)}`, 200) },
    { name: 'related', weight: 10, run: () => send('GET', `/v1/products/${pick(products)}/related`, 200) },
    { name: 'trending', weight: 3, run: () => send('GET', '/v1/products/trending', 200) },
    {
      name: 'view',
      weight: 10,
      run: () =>
        send('POST', '/v1/activity', 202, {
          by: pick(customers),
          body: { type: 'view', productId: pick(products) },
        }),
    },
    {
      name: 'cart',
      weight: 8,
      run: () =>
        send('PUT', `/v1/cart/items/${pick(products)}`, 200, { by: pick(customers), body: { quantity: 1 } }),
    },
    { name: 'history', weight: 4, run: () => send('GET', '/v1/orders', 200, { by: pick(customers) }) },
    {
      name: 'checkout',
      weight: 5,
      run: () =>
        send('POST', '/v1/orders', 201, {
          by: pick(customers),
          key: randomUUID(),
          body: {
            items: [{ productId: pick(products), quantity: 1 }],
            shippingAddress: {
              name: 'Load Customer',
              line1: '1 Long Street',
              postalCode: '10115',
              city: 'Berlin',
              country: 'DE',
            },
            payment: { method: 'card', token: 'tok_ok' },
          },
        }),
    },
  ];
  return {
    actions,
    async cleanUp() {
      for (const id of products) await admin.call('DELETE', `/v1/admin/products/${id}`);
    },
  };
}

interface SendOptions {
  by?: Account;
  key?: string;
  body?: unknown;
}

const WORDS = ['oak', 'mug', 'blue', 'lamp', 'small', 'chair', 'wool', 'steel'];
