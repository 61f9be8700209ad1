import { fault } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import { bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
beforeEach(() => gateway.reset());
afterAll(() => gateway.close());

const calls = (method: string) => gateway.received.filter((call) => call.method === method);
const ITEM = `/v1/cart/items/${IDS.product}`;
const ROUTES = [
  ['GET', '/v1/cart', 'getCart'],
  ['PUT', ITEM, 'putCartItem'],
  ['DELETE', ITEM, 'removeCartItem'],
] as const;
const send = (method: 'GET' | 'PUT' | 'DELETE', url: string, headers: Record<string, string>) =>
  gateway.app.inject({ method, url, headers, ...(method === 'PUT' ? { payload: { quantity: 2 } } : {}) });

describe.each(ROUTES)('%s %s', (method, url, call) => {
  test('takes the token of a guest; without one, or with none that could be one, there is none', async () => {
    expect((await send(method, url, { 'cart-token': 'guest-1' })).statusCode).toBe(200);
    expect(calls(call).at(-1)!.request).toMatchObject({ cartToken: 'guest-1' });
    for (const token of ['', 'with space', 'x'.repeat(513), 'ü']) {
      expect((await send(method, url, { 'cart-token': token })).statusCode).toBe(200);
      expect(calls(call).at(-1)!.request).not.toHaveProperty('cartToken');
    }
  });

  test('ignores the token beside a session', async () => {
    await send(method, url, { ...bearer('customer'), 'cart-token': 'guest-1' });
    expect(calls(call).at(-1)!.request).not.toHaveProperty('cartToken');
  });

  test('is never kept for anybody else', async () => {
    const { headers } = await send(method, url, { 'cart-token': 'guest-1' });
    expect(headers['cache-control']).toMatch(/^(private, no-cache|no-store)$/);
    if (method === 'GET') expect(headers['vary']).toMatch(/Authorization, Cart-Token/);
  });
});

test('the first PUT of a guest returns a token; pages of other origins may read and send it', async () => {
  const cart = await gateway.services.order.getCart({});
  gateway.services.order.putCartItem = async () => ({ ...cart, cartToken: 'new-guest' });
  const answer = await send('PUT', ITEM, { origin: 'https://shop.example' });
  expect(answer.headers['cart-token']).toBe('new-guest');
  expect(answer.headers['access-control-expose-headers']).toMatch(/Cart-Token/);
  expect((await send('GET', '/v1/cart', {})).headers['cart-token']).toBeUndefined();
  const preflight = await gateway.app.inject({
    method: 'OPTIONS',
    url: ITEM,
    headers: { origin: 'https://shop.example', 'access-control-request-method': 'PUT' },
  });
  expect(preflight.headers['access-control-allow-headers']).toMatch(/Cart-Token/);
});

test('the guest’s own version guards the guest’s cart', async () => {
  await send('PUT', ITEM, { 'cart-token': 'guest-1', 'if-match': '"1", "4"' });
  expect(calls('getCart').at(-1)!.request).toEqual({ cartToken: 'guest-1' });
  expect(calls('putCartItem').at(-1)!.request).toMatchObject({ ifVersion: 4n });
});

test('a malformed product id is not found, for guests too', async () => {
  for (const method of ['PUT', 'DELETE'] as const)
    expect((await send(method, '/v1/cart/items/blue-mug', {})).statusCode).toBe(404);
});

describe('a cart brought along at sign-in', () => {
  const signIn = (body: object = { cartToken: 'guest-1' }) =>
    gateway.app.inject({
      method: 'POST',
      url: '/v1/sessions',
      payload: { email: 'ada@example.com', password: 'secret', ...body },
    });

  test('is merged for who has signed in, with the new access token', async () => {
    expect((await signIn()).statusCode).toBe(201);
    const [merge, ...more] = calls('mergeGuestCart');
    expect([merge!.request, merge!.context!.accessToken, more]).toEqual([
      { cartToken: 'guest-1' },
      'a.b.c',
      [],
    ]);
    expect(calls('signIn').at(-1)!.request).not.toHaveProperty('cartToken');
  });

  test('is not asked for without a token, nor when the sign-in fails', async () => {
    await signIn({});
    gateway.services.user.signIn = async () => {
      throw fault('CREDENTIALS_INVALID');
    };
    expect((await signIn()).statusCode).toBe(401);
    expect(calls('mergeGuestCart')).toEqual([]);
  });

  test('that cannot be merged is tried again, and never fails the sign-in', async () => {
    gateway.services.guestCarts.mergeGuestCart = async () => {
      throw fault('DEPENDENCY_UNAVAILABLE');
    };
    let status = 0;
    void signIn().then((answer) => (status = answer.statusCode));
    await eventually(() => {
      gateway.clock.advance(200);
      expect(status).toBe(201);
    });
    expect(calls('mergeGuestCart')).toHaveLength(3);
  });
});
