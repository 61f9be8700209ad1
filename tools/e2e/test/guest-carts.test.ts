import { inParallel, range, sharedSystem, shopClient, startGateway, type components } from '../src';

type Cart = components['schemas']['Cart'];

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
let second: Awaited<ReturnType<typeof startGateway>> | undefined;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  second = await startGateway(system);
});
afterAll(() => second?.stop());

const asGuest = (cartToken: string | undefined) =>
  cartToken === undefined ? {} : { 'cart-token': cartToken };
const cartOf = (cartToken: string | undefined, token?: string) =>
  shopClient(second!.url).request<Cart>('GET', '/v1/cart', { token, headers: asGuest(cartToken) });
const put = (productId: string, quantity: number, cartToken?: string, token?: string) =>
  shop.request<Cart & { code: string }>('PUT', `/v1/cart/items/${productId}`, {
    token,
    headers: asGuest(cartToken),
    body: { quantity },
  });
const linesOf = (cart: Cart) =>
  Object.fromEntries(cart.items.map(({ productId, quantity }) => [productId, quantity]));
const signIn = (email: string, password: string, cartToken: string) =>
  shop.request<{ accessToken: string }>('POST', '/v1/sessions', { body: { email, password, cartToken } });

test('the first PUT of a guest returns a token, which opens the same cart at every gateway', async () => {
  const [board, bowl] = await Promise.all([
    shop.product(adminToken, { priceMinor: 1_000 }),
    shop.product(adminToken, { priceMinor: 50 }),
  ]);
  const none = await cartOf(undefined);
  expect(none.body).toMatchObject({ items: [], total: { amountMinor: 0, currency: 'EUR' } });
  expect(none.headers.get('cart-token')).toBeNull();

  const first = await put(board.id, 2);
  const cartToken = first.headers.get('cart-token')!;
  expect([first.status, cartToken]).toEqual([200, expect.stringMatching(/^\S{32,}$/) as string]);
  const next = await put(bowl.id, 3, cartToken);
  expect(next.headers.get('cart-token')).toBeNull();
  const read = await cartOf(cartToken);
  expect(read.body.total).toEqual({ amountMinor: 2 * 1_000 + 3 * 50, currency: 'EUR' });
  expect(read.headers.get('etag')).toBe(`"${read.body.version}"`);
  expect(read.headers.get('cache-control')).toMatch(/private|no-store/);

  const removed = await shop.request<Cart>('DELETE', `/v1/cart/items/${board.id}`, {
    headers: asGuest(cartToken),
  });
  expect([removed.status, linesOf(removed.body)]).toEqual([200, { [bowl.id]: 3 }]);
  const stale = await shop.request('PUT', `/v1/cart/items/${bowl.id}`, {
    headers: { ...asGuest(cartToken), 'if-match': read.headers.get('etag')! },
    body: { quantity: 9 },
  });
  expect([stale.status, stale.body['code']]).toEqual([412, 'VERSION_MISMATCH']);
});

test('an unknown token counts as none: a PUT with it makes a cart with another token', async () => {
  const product = await shop.product(adminToken);
  expect((await cartOf('Zm9yIHRoZSBjYXJ0IG9mIGEgZ3Vlc3Q')).body.items).toEqual([]);
  for (const token of ['Zm9yIHRoZSBjYXJ0IG9mIGEgZ3Vlc3Q', 'x', '"odd", value']) {
    const answer = await put(product.id, 1, token);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cart-token')).not.toBe(token);
    expect(answer.headers.get('cart-token')).toMatch(/^\S{32,}$/);
  }
});

test('beside a session the token is ignored: the own cart is shown and changed', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const cartToken = (await put(product.id, 5)).headers.get('cart-token')!;
  expect((await cartOf(cartToken, token)).body.items).toEqual([]);
  const own = await put(product.id, 1, cartToken, token);
  expect(own.headers.get('cart-token')).toBeNull();
  expect(linesOf(own.body)).toEqual({ [product.id]: 1 });
  expect(linesOf((await cartOf(cartToken)).body)).toEqual({ [product.id]: 5 });
});

test('at sign-in the carts are merged once: sums up to 9,999, other currencies stay with the guest', async () => {
  const [board, bowl, many, foreign] = await Promise.all([
    shop.product(adminToken),
    shop.product(adminToken),
    shop.product(adminToken),
    shop.product(adminToken, { currency: 'USD' }),
  ]);
  const { email, password, token } = await shop.customer();
  await put(board.id, 2, undefined, token);
  await put(many.id, 9_000, undefined, token);
  const cartToken = (await put(board.id, 3)).headers.get('cart-token')!;
  await put(bowl.id, 4, cartToken);
  await put(many.id, 9_000, cartToken);
  const mixed = await put(foreign.id, 1, cartToken);
  expect([mixed.status, mixed.body.code]).toEqual([409, 'CURRENCY_MIXED']);

  const signedIn = await inParallel(range(3), 3, () => signIn(email, password, cartToken));
  expect(signedIn.map(({ status }) => status)).toEqual([201, 201, 201]);
  const expected = { [board.id]: 5, [bowl.id]: 4, [many.id]: 9_999 };
  expect(linesOf((await cartOf(undefined, signedIn[0]!.body.accessToken)).body)).toEqual(expected);
  expect((await cartOf(cartToken)).body.items).toEqual([]);
  const again = await signIn(email, password, cartToken);
  expect(linesOf((await cartOf(undefined, again.body.accessToken)).body)).toEqual(expected);

  const abroad = (await put(foreign.id, 7)).headers.get('cart-token')!;
  const { body } = await signIn(email, password, abroad);
  expect(linesOf((await cartOf(undefined, body.accessToken)).body)).toEqual(expected);
  expect(linesOf((await cartOf(abroad)).body)).toEqual({ [foreign.id]: 7 });
});

test('a token that nobody was given does not keep anybody from signing in', async () => {
  const { email, password } = await shop.customer();
  expect((await signIn(email, password, 'x')).status).toBe(201);
});
