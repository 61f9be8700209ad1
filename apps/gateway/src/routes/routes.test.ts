import { fault, type orderV1 } from '@headroom/contracts';
import { anOrder, aProduct, aUser, bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
beforeEach(() => gateway.reset());
afterAll(() => gateway.close());

interface Page {
  items: Array<{ id: string; status?: string }>;
  page: { limit: number; nextCursor: string | null; total?: number; totalIsEstimate?: boolean };
}
const get = (url: string, headers: Record<string, string> = {}) => gateway.app.inject({ url, headers });
const asCustomer = (url: string) => get(url, bearer('customer'));
const asAdmin = (url: string) => get(url, bearer('admin'));
const lastRequest = <T>(method: string) =>
  gateway.received.filter((call) => call.method === method).at(-1)!.request as T;
const codeOf = (answer: { json(): unknown }) => (answer.json() as { code: string }).code;
const errorsOf = (answer: { json(): unknown }) =>
  (answer.json() as { errors: Array<{ path: string; message: string }> }).errors;

describe('products', () => {
  test('filters and sort reach the view; the shop currency stands in where prices are compared', async () => {
    await get(
      '/v1/products?category=kitchen&minPriceMinor=1&maxPriceMinor=9&inStock=true&q=mug&sort=price&limit=7',
    );
    expect(lastRequest('listProducts')).toEqual({
      category: 'kitchen',
      minPriceMinor: 1n,
      maxPriceMinor: 9n,
      currency: 'EUR',
      inStock: true,
      q: 'mug',
      sort: 2,
      limit: 7,
      after: '',
      page: 0,
      includeTotal: false,
      positions: [],
    });
    await get('/v1/products');
    expect(lastRequest('listProducts')).toMatchObject({
      currency: '',
      sort: 1,
      limit: 20,
      inStock: undefined,
    });
    await get('/v1/products?q=mug&currency=USD&sort=-price');
    expect(lastRequest('listProducts')).toMatchObject({ currency: 'USD', sort: 3 });
  });

  test('with q the default sort is relevance, without q relevance is refused', async () => {
    await get('/v1/products?q=mug');
    expect(lastRequest('listProducts')).toMatchObject({ sort: 5 });
    expect(errorsOf(await get('/v1/products?sort=relevance'))[0]!.path).toBe('sort');
  });

  test.each([
    'limit=0',
    'limit=101',
    'limit=1.5',
    'limit=1e1',
    'limit=',
    'limit=1&limit=2',
    'limit=0x10',
    'page=0',
    'page=-1',
    'inStock=1',
    'inStock=TRUE',
    'sort=colour',
    'include=everything',
    'currency=eur',
    'q=',
    'q=%20',
    'q=%00a',
    'minPriceMinor=-1',
    'minPriceMinor=99999999999999999999',
    'fields=',
    'fields=name,colour',
    'fields=price.colour',
    'fields=constructor',
    'cursor=',
  ])('%s is refused by name', async (query) => {
    const answer = await get(`/v1/products?${query}`);
    expect([query, answer.statusCode, codeOf(answer)]).toEqual([query, 400, 'VALIDATION_FAILED']);
    expect(errorsOf(answer)[0]!.path).toBe(query.split('=')[0]);
  });

  test('a total comes when asked for', async () => {
    expect((await get('/v1/products')).json<Page>().page.total).toBeUndefined();
    expect((await get('/v1/products?include=total')).json<Page>().page).toMatchObject({
      total: 12,
      totalIsEstimate: false,
    });
  });

  test('only the fields asked for are answered, and the id', async () => {
    const { items, page } = (await get('/v1/products?fields=name,price.amountMinor')).json<Page>();
    expect(items).toEqual([{ id: IDS.product, name: 'Blue mug', price: { amountMinor: 1999 } }]);
    expect(page.limit).toBe(20);
    expect((await get(`/v1/products/${IDS.product}?fields=inStock`)).json()).toEqual({
      id: IDS.product,
      inStock: true,
    });
    expect(
      (await asCustomer(`/v1/orders/${IDS.order}?fields=items.quantity,items.unitPrice.currency`)).json(),
    ).toEqual({ id: IDS.order, items: [{ quantity: 2, unitPrice: { currency: 'EUR' } }] });
    const whole = (await get(`/v1/products/${IDS.product}?fields=price.amountMinor,price`)).json<{
      price: object;
    }>();
    expect(whole.price).toEqual({ amountMinor: 1999, currency: 'EUR' });
  });

  test('a shopper never sees what only admins see', async () => {
    const shopper = (await get(`/v1/products/${IDS.product}`)).json<object>();
    expect(Object.keys(shopper).sort()).toEqual(
      'available category description id imageUrl inStock name price sku slug updatedAt'.split(' '),
    );
    expect((await asAdmin(`/v1/admin/products/${IDS.product}`)).json()).toMatchObject({
      archived: false,
      version: 7,
    });
  });

  test('stock takes either onHand or delta', async () => {
    const put = (payload: object) =>
      gateway.app.inject({
        method: 'PUT',
        url: `/v1/admin/products/${IDS.product}/stock`,
        headers: bearer('admin'),
        payload,
      });
    expect((await put({ onHand: 3 })).json()).toEqual({ onHand: 7, available: 5, held: 2 });
    expect(lastRequest('setStock')).toMatchObject({ change: { $case: 'onHand', value: 3n } });
    await put({ delta: -2 });
    expect(lastRequest('setStock')).toMatchObject({ change: { $case: 'delta', value: -2n } });
    for (const payload of [{}, { onHand: 1, delta: 1 }]) expect((await put(payload)).statusCode).toBe(400);
  });

  test('a price without a currency has the shop’s', async () => {
    await gateway.app.inject({
      method: 'PATCH',
      url: `/v1/admin/products/${IDS.product}`,
      headers: { ...bearer('admin'), 'if-match': '"7"' },
      payload: { price: { amountMinor: 5 }, imageUrl: null },
    });
    expect(lastRequest('updateProduct')).toEqual({
      productId: IDS.product,
      price: { amountMinor: 5n, currency: 'EUR' },
      imageUrl: '',
      ifVersion: 7n,
    });
  });
});

describe('variants', () => {
  const grouped = {
    ...aProduct,
    group: 'mug',
    options: { values: { colour: 'blue' } },
    variants: {
      variants: [
        { id: IDS.product, options: { values: { colour: 'blue' } }, price: aProduct.price, available: 5n },
        { id: IDS.order, options: undefined, price: { amountMinor: 5n, currency: 'EUR' }, available: 0n },
      ],
    },
  };
  const variants = [
    {
      id: IDS.product,
      options: { colour: 'blue' },
      price: { amountMinor: 1999, currency: 'EUR' },
      inStock: true,
    },
    { id: IDS.order, options: {}, price: { amountMinor: 5, currency: 'EUR' }, inStock: false },
  ];
  const write = (method: 'POST' | 'PATCH', payload: object) =>
    gateway.app.inject({
      method,
      url: method === 'POST' ? '/v1/admin/products' : `/v1/admin/products/${IDS.product}`,
      headers: bearer('admin'),
      payload,
    });
  const whole = {
    sku: 'MUG',
    name: 'Mug',
    description: '',
    category: 'kitchen',
    price: { amountMinor: 1 },
    onHand: 1,
  };

  test('of a product in a group are shown, itself included; of any other there is no such member', async () => {
    gateway.services.catalog.getProduct = async () => grouped;
    expect((await get(`/v1/products/${IDS.product}`)).json()).toMatchObject({
      group: 'mug',
      options: { colour: 'blue' },
      variants,
    });
    expect((await asAdmin(`/v1/admin/products/${IDS.product}`)).json()).toMatchObject({ variants });
    expect((await get(`/v1/products/${IDS.product}?fields=variants.inStock,options`)).json()).toEqual({
      id: IDS.product,
      options: { colour: 'blue' },
      variants: [{ inStock: true }, { inStock: false }],
    });
  });

  test('group and options reach the catalog, and null takes the group away', async () => {
    await write('POST', { ...whole, group: 'mug', options: { colour: 'blue', Größe: 'L' } });
    expect(lastRequest('createProduct')).toMatchObject({
      group: 'mug',
      options: { values: { colour: 'blue', Größe: 'L' } },
    });
    await write('POST', whole);
    expect(lastRequest('createProduct')).not.toHaveProperty('options');
    await write('PATCH', { group: null, options: {} });
    expect(lastRequest('updateProduct')).toMatchObject({ group: '', options: { values: {} } });
    await write('PATCH', { name: 'Mug' });
    expect(lastRequest('updateProduct')).not.toHaveProperty('group');
  });

  test.each([
    ['group', { group: '' }],
    ['group', { group: ' mug' }],
    ['group', { group: 'x'.repeat(65) }],
    ['options.colour', { options: { colour: '' } }],
    ['options.colour', { options: { colour: 7 } }],
    ['options. colour', { options: { ' colour': 'blue' } }],
  ])('a mistake in %s is named', async (path, members) => {
    expect(errorsOf(await write('POST', { ...whole, ...members }))[0]!.path).toBe(path);
    expect(errorsOf(await write('PATCH', members))[0]!.path).toBe(path);
  });
});

describe('cursors', () => {
  const nextOf = async (url: string, headers = {}) => (await get(url, headers)).json<Page>().page.nextCursor!;

  test('a cursor goes on where the page ended, under any limit, with or without total and fields', async () => {
    const cursor = await nextOf('/v1/products?category=kitchen&sort=price');
    await get(`/v1/products?sort=price&category=kitchen&limit=3&include=total&fields=name&cursor=${cursor}`);
    expect(lastRequest('listProducts')).toMatchObject({ after: 'position-1', limit: 3 });
  });

  test('a cursor of another filter, sort, list or owner is refused', async () => {
    const cursor = await nextOf('/v1/products?category=kitchen&sort=price');
    for (const url of [
      '/v1/products?category=garden&sort=price',
      '/v1/products?category=kitchen&sort=-price',
      '/v1/products?category=kitchen&sort=price&inStock=true',
      '/v1/products',
      '/v1/orders',
      '/v1/admin/products',
    ]) {
      const answer = await asAdmin(`${url}${url.includes('?') ? '&' : '?'}cursor=${cursor}`);
      expect([url, answer.statusCode, codeOf(answer)]).toEqual([url, 400, 'CURSOR_INVALID']);
    }
    const ledger = await asAdmin(`/v1/admin/products/${IDS.product}/stock/ledger?limit=1`);
    expect(ledger.statusCode).toBe(200);
  });

  test('a cursor with any character changed is refused', async () => {
    const cursor = await nextOf('/v1/products');
    for (let index = 0; index < cursor.length; index += 1) {
      const other = cursor[index] === 'A' ? 'B' : 'A';
      const answer = await get(
        `/v1/products?cursor=${cursor.slice(0, index)}${other}${cursor.slice(index + 1)}`,
      );
      expect([index, codeOf(answer)]).toEqual([index, 'CURSOR_INVALID']);
    }
    for (const forged of ['x', `${cursor}A`, cursor.split('.')[0]!, `.${cursor}`, 'bm9uc2Vuc2U'])
      expect(codeOf(await get(`/v1/products?cursor=${forged}`))).toBe('CURSOR_INVALID');
  });

  test('a gateway with another secret refuses it, one with the same takes it', async () => {
    const cursor = await nextOf('/v1/products');
    const other = await startGateway({ signingSecret: 'quite another secret of the tests' });
    const same = await startGateway();
    expect(codeOf(await other.app.inject(`/v1/products?cursor=${cursor}`))).toBe('CURSOR_INVALID');
    expect((await same.app.inject(`/v1/products?cursor=${cursor}`)).statusCode).toBe(200);
    await other.close();
    await same.close();
  });

  test('pages 1 to 10 are served, deeper ones point to the cursor, and both at once are refused', async () => {
    await get('/v1/products?page=10');
    expect(lastRequest('listProducts')).toMatchObject({ page: 10 });
    const deep = await get('/v1/products?page=11');
    expect([deep.statusCode, codeOf(deep)]).toEqual([400, 'PAGE_TOO_DEEP']);
    expect(deep.json<{ detail: string }>().detail).toMatch(/cursor/);
    const both = await get(`/v1/products?page=2&cursor=${await nextOf('/v1/products')}`);
    expect([codeOf(both), errorsOf(both)[0]!.path]).toEqual(['VALIDATION_FAILED', 'page']);
  });

  test('a list that knows only positions is walked to the page', async () => {
    let calls = 0;
    gateway.services.catalog.listProducts = async ({ afterId }) => {
      calls += 1;
      const at = afterId === '' ? 1 : Number(afterId) + 1;
      const products = [{ ...aProduct, name: `page ${at}` }];
      return { products, nextAfterId: at < 3 ? String(at) : '', total: 3n, totalIsEstimate: false };
    };
    const page = async (at: number) =>
      (await asAdmin(`/v1/admin/products?limit=1&page=${at}&include=total`)).json<Page>();
    expect((await page(3)).items).toMatchObject([{ name: 'page 3' }]);
    expect(calls).toBe(3);
    expect(await page(4)).toMatchObject({ items: [], page: { nextCursor: null, total: 3 } });
  });
});

describe('freshness', () => {
  const write = () =>
    gateway.app.inject({
      method: 'PATCH',
      url: `/v1/admin/products/${IDS.product}`,
      headers: bearer('admin'),
      payload: { name: 'New' },
    });

  test('a write’s token brings its positions to the view that is made of them', async () => {
    const token = String((await write()).headers['consistency-token']);
    await get('/v1/products', { 'consistency-token': token });
    const positions = [{ subject: `product/${IDS.product}`, version: 7n }];
    expect(lastRequest('listProducts')).toMatchObject({ positions });
    await get('/v1/categories', { 'consistency-token': token });
    expect(lastRequest('listCategories')).toEqual({ positions });
    await get('/v1/admin/reports/sales?from=2026-01-01&to=2026-01-02', {
      ...bearer('admin'),
      'consistency-token': token,
    });
    expect(lastRequest('getSalesByDay')).toMatchObject({ positions: [] });
  });

  test('a forged token is refused by every read that takes one', async () => {
    const token = String((await write()).headers['consistency-token']);
    const cursor = (await get('/v1/products')).json<Page>().page.nextCursor!;
    const forged = [
      `${token}x`,
      token.slice(1),
      'nonsense',
      '',
      cursor,
      Buffer.from('[]').toString('base64url'),
    ];
    for (const url of [
      '/v1/products',
      '/v1/categories',
      `/v1/products/${IDS.product}`,
      '/v1/admin/reports/sales?from=2026-01-01&to=2026-01-02',
    ])
      for (const value of forged) {
        const answer = await get(url, { ...bearer('admin'), 'consistency-token': value });
        expect([url, value, codeOf(answer)]).toEqual([url, value, 'CONSISTENCY_TOKEN_INVALID']);
      }
  });

  test('a view that does not catch up is a 503 with Retry-After', async () => {
    gateway.services.query.listProducts = async () => {
      throw fault('CONSISTENCY_TIMEOUT');
    };
    const answer = await get('/v1/products');
    expect([answer.statusCode, codeOf(answer)]).toEqual([503, 'CONSISTENCY_TIMEOUT']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('own orders', () => {
  const id = (at: number) => `01932f4e-7b7a-7c3d-9a51-0000000000${String(at).padStart(2, '0')}`;
  const order = (at: number, version = 1n) =>
    anOrder({ id: id(at), version, status: version > 1n ? 'confirmed' : 'pending' });
  const list = async (query = '') => {
    const body = (await asCustomer(`/v1/orders${query}`)).json<Page>();
    return {
      shown: body.items.map((each) => `${Number(each.id.slice(-2))} ${each.status}`),
      page: body.page,
    };
  };
  const serve = (view: orderV1.Order[], recent: orderV1.Order[], more = false) => {
    gateway.services.query.listOrders = async () => ({ orders: view, more, watermarkMs: 77n });
    gateway.services.order.listRecentOrders = async () => ({
      orders: recent,
      total: 9n,
      totalIsEstimate: false,
    });
  };

  test('the view is completed by what its owner wrote since: newest first, the higher version wins', async () => {
    serve([order(3), order(2, 2n), order(1)], [order(4), order(3, 2n), order(2, 1n)]);
    expect((await list()).shown).toEqual(['4 pending', '3 confirmed', '2 confirmed', '1 pending']);
    expect(lastRequest('listRecentOrders')).toEqual({
      sinceMs: 77n,
      limit: 21,
      afterId: '',
      includeTotal: false,
    });
  });

  test('pages follow each other without a hole or a repetition, wherever an order comes from', async () => {
    const inView = [8, 7, 5, 3, 2, 1].map((at) => order(at));
    const recent = [9, 7, 6, 4].map((at) => order(at, 2n));
    gateway.services.query.listOrders = async ({ afterId, limit }) => {
      const left = inView.filter((each) => afterId === '' || each.id < afterId);
      return { orders: left.slice(0, limit), more: left.length > limit, watermarkMs: 77n };
    };
    gateway.services.order.listRecentOrders = async ({ afterId, limit }) => ({
      orders: recent.filter((each) => afterId === '' || each.id < afterId).slice(0, limit),
    });
    for (const limit of [1, 2, 3, 4, 8]) {
      const seen: string[] = [];
      let cursor: string | null = '';
      while (cursor !== null) {
        const { shown, page } = await list(`?limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`);
        seen.push(...shown.map((each) => each.split(' ')[0]!));
        cursor = page.nextCursor;
      }
      expect([limit, seen]).toEqual([limit, ['9', '8', '7', '6', '5', '4', '3', '2', '1']]);
    }
    expect((await list('?limit=2&page=3')).shown).toEqual(['5 pending', '4 confirmed']);
  });

  test('while the view is away the owner answers alone', async () => {
    serve([], [order(2), order(1)]);
    gateway.services.query.listOrders = async () => {
      throw fault('DEPENDENCY_UNAVAILABLE');
    };
    expect((await list()).shown).toEqual(['2 pending', '1 pending']);
    expect(lastRequest('listRecentOrders')).toMatchObject({ sinceMs: 0n });
  });

  test('while the owner is away no stale list is given out', async () => {
    serve([order(1)], []);
    gateway.services.order.listRecentOrders = async () => {
      throw fault('DEPENDENCY_UNAVAILABLE', { detail: 'dns:///order-7.internal:50051 is away' });
    };
    const answer = await asCustomer('/v1/orders');
    expect([answer.statusCode, codeOf(answer), answer.headers['retry-after']]).toEqual([
      503,
      'DEPENDENCY_UNAVAILABLE',
      '1',
    ]);
    expect(answer.body).not.toContain('internal');
  });

  test('a total counts what the owner has', async () => {
    serve([order(1)], []);
    expect((await list('?include=total')).page).toMatchObject({ total: 9, totalIsEstimate: false });
  });
});

describe('placing an order', () => {
  const address = { name: 'Ada', line1: 'Street 1', postalCode: '1', city: 'London', country: 'GB' };
  const payment = { method: 'card', token: 'tok_ok' };
  const other = IDS.order;
  const post = (payload: unknown, headers: Record<string, string> = {}, url = '/v1/orders') =>
    gateway.app.inject({
      method: 'POST',
      url,
      headers: {
        ...bearer('customer'),
        'idempotency-key': 'key-1',
        'content-type': 'application/json',
        ...headers,
      },
      payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
    });
  const order = (items: unknown) => ({ items, shippingAddress: address, payment });

  test('the stored answer is passed on byte for byte', async () => {
    const answer = await post(order([{ productId: IDS.product, quantity: 1 }]));
    expect([answer.statusCode, answer.body]).toEqual([201, '{"id":"kept","status":"pending"}']);
    expect(answer.headers['location']).toBe(`/v1/orders/${IDS.order}`);
    expect(answer.headers['idempotent-replayed']).toBeUndefined();
    expect(answer.headers['consistency-token']).toBeDefined();
  });

  test('a replay says so, also of a stored problem, whose request id stays the first', async () => {
    gateway.services.order.placeOrder = async () => ({
      status: 409,
      body: Buffer.from('{"code":"OUT_OF_STOCK","requestId":"the-first"}'),
      contentType: 'application/problem+json',
      location: '',
      replayed: true,
      positions: [],
    });
    const answer = await post(order([{ productId: IDS.product, quantity: 1 }]), {
      'x-request-id': 'the-second',
    });
    expect([answer.statusCode, answer.body]).toEqual([
      409,
      '{"code":"OUT_OF_STOCK","requestId":"the-first"}',
    ]);
    expect(answer.headers).toMatchObject({
      'idempotent-replayed': 'true',
      'content-type': 'application/problem+json',
      'x-request-id': 'the-second',
      'cache-control': 'no-store',
    });
  });

  test('equal products become one line, in the order of their first mention', async () => {
    await post(
      order([
        { productId: other, quantity: 1 },
        { productId: IDS.product, quantity: 2 },
        { productId: other, quantity: 3 },
      ]),
    );
    expect(lastRequest('placeOrder')).toMatchObject({
      items: [
        { productId: other, quantity: 4 },
        { productId: IDS.product, quantity: 2 },
      ],
      fromCart: false,
      idempotencyKey: 'key-1',
      paymentToken: 'tok_ok',
      shippingAddress: { line2: '', region: '', country: 'GB' },
    });
  });

  test('bounds hold after equal products were taken together', async () => {
    const tooMany = await post(
      order([
        { productId: other, quantity: 9_999 },
        { productId: other, quantity: 1 },
      ]),
    );
    expect(errorsOf(tooMany)).toEqual([
      { path: 'items[1].quantity', message: 'makes more than 9999 units of this product' },
    ]);
    const ids = Array.from(
      { length: 1_001 },
      (_, at) => `01932f4e-7b7a-7c3d-9a51-${String(at).padStart(12, '0')}`,
    );
    const lines = (count: number) =>
      order(ids.slice(0, count).map((productId) => ({ productId, quantity: 1 })));
    expect((await post(lines(1_000))).statusCode).toBe(201);
    expect(errorsOf(await post(lines(1_001)))[0]!.path).toBe('items');
  });

  test.each<[string, unknown]>([
    ['items', { shippingAddress: address, payment }],
    ['items', { ...order([{ productId: IDS.product, quantity: 1 }]), fromCart: true }],
    ['items', order([])],
    ['fromCart', { fromCart: false, shippingAddress: address, payment }],
    ['items[0].quantity', order([{ productId: IDS.product, quantity: 0 }])],
    ['items[0].quantity', order([{ productId: IDS.product, quantity: 1.5 }])],
    ['items[0].quantity', order([{ productId: IDS.product, quantity: '1' }])],
    [
      'items[1].productId',
      order([
        { productId: IDS.product, quantity: 1 },
        { productId: 'x', quantity: 1 },
      ]),
    ],
    ['items[0].colour', order([{ productId: IDS.product, quantity: 1, colour: 'red' }])],
    [
      'shippingAddress.country',
      { ...order([{ productId: IDS.product, quantity: 1 }]), shippingAddress: { ...address, country: 'XX' } },
    ],
    [
      'shippingAddress.city',
      { ...order([{ productId: IDS.product, quantity: 1 }]), shippingAddress: { ...address, city: 'a\0b' } },
    ],
    [
      'payment.method',
      { ...order([{ productId: IDS.product, quantity: 1 }]), payment: { method: 'cash', token: 't' } },
    ],
  ])('a mistake in %s is named', async (path, body) => {
    const answer = await post(body);
    expect([answer.statusCode, codeOf(answer)]).toEqual([400, 'VALIDATION_FAILED']);
    expect(errorsOf(answer).map((error) => error.path)).toContain(path);
  });

  test('the fingerprint minds the order of arrays and the path, not the order of members', async () => {
    const print = async (body: unknown, url?: string) => {
      await post(body, {}, url);
      const call = gateway.received.at(-1)!.request as { fingerprint: Buffer };
      return call.fingerprint.toString('hex');
    };
    const a = { productId: IDS.product, quantity: 1 };
    const b = { productId: other, quantity: 1 };
    const first = await print({ items: [a, b], shippingAddress: address, payment });
    expect(first).toHaveLength(64);
    expect(
      await print({
        payment: { token: 'tok_ok', method: 'card' },
        shippingAddress: address,
        items: [{ quantity: 1, productId: IDS.product }, b],
      }),
    ).toBe(first);
    expect(await print({ items: [b, a], shippingAddress: address, payment })).not.toBe(first);
    const cancel = (id: string) => `/v1/orders/${id}/cancel`;
    const cancelled = await print('', cancel(IDS.order));
    expect(await print('{}', cancel(IDS.order))).toBe(cancelled);
    expect(await print('', cancel(IDS.product))).not.toBe(cancelled);
  });

  test('an admin cancels as an admin, a customer as a customer', async () => {
    const cancel = (who: 'admin' | 'customer', url: string) =>
      gateway.app.inject({ method: 'POST', url, headers: { ...bearer(who), 'idempotency-key': 'k' } });
    expect((await cancel('customer', `/v1/orders/${IDS.order}/cancel`)).statusCode).toBe(202);
    expect(lastRequest('cancelOrder')).toMatchObject({ orderId: IDS.order, asAdmin: false });
    await cancel('admin', `/v1/admin/orders/${IDS.order}/cancel`);
    expect(lastRequest('cancelOrder')).toMatchObject({ asAdmin: true });
  });
});

describe('preconditions', () => {
  const patchMe = (headers: Record<string, string>) =>
    gateway.app.inject({
      method: 'PATCH',
      url: '/v1/me',
      headers: { ...bearer('customer'), ...headers },
      payload: { name: 'B' },
    });

  test('the profile changes only for who says which version was read', async () => {
    const missing = await patchMe({});
    expect([missing.statusCode, codeOf(missing)]).toEqual([428, 'IF_MATCH_REQUIRED']);
    for (const tag of ['"abc"', 'W/"3"', '3', '""', '"1", "2"', '"99999999999999999999"']) {
      const answer = await patchMe({ 'if-match': tag });
      expect([tag, answer.statusCode, codeOf(answer)]).toEqual([tag, 412, 'VERSION_MISMATCH']);
    }
    await patchMe({ 'if-match': '"2"' });
    expect(lastRequest('updateMe')).toEqual({ name: 'B', ifVersion: 2n });
    await patchMe({ 'if-match': '"1", "3"' });
    expect(lastRequest('updateMe')).toMatchObject({ ifVersion: 3n });
    const any = await patchMe({ 'if-match': '*' });
    expect([any.statusCode, any.headers['etag']]).toEqual([200, '"3"']);
    expect(lastRequest('updateMe')).toMatchObject({ ifVersion: undefined });
  });

  test('the ETag of the cart is its version, and guards it where a client wants that', async () => {
    expect((await asCustomer('/v1/cart')).headers['etag']).toBe('"4"');
    const put = (headers: Record<string, string>) =>
      gateway.app.inject({
        method: 'PUT',
        url: `/v1/cart/items/${IDS.product}`,
        headers: { ...bearer('customer'), ...headers },
        payload: { quantity: 1 },
      });
    await put({});
    expect(lastRequest('putCartItem')).toMatchObject({ ifVersion: undefined });
    await put({ 'if-match': '"4"' });
    expect(lastRequest('putCartItem')).toMatchObject({ ifVersion: 4n });
  });
});

describe('sales', () => {
  test.each([
    ['to', 'from=2026-01-02&to=2026-01-02'],
    ['to', 'from=2026-01-02&to=2026-01-01'],
    ['to', 'from=2016-01-01&to=2026-01-09'],
    ['from', 'from=2026-02-30&to=2026-03-01'],
    ['from', 'from=2026-1-1&to=2026-03-01'],
    ['to', 'from=2026-01-01'],
    ['by', 'from=2026-01-01&to=2026-01-02&by=hour'],
  ])('a wrong %s is named: %s', async (path, query) => {
    const answer = await asAdmin(`/v1/admin/reports/sales?${query}`);
    expect([answer.statusCode, errorsOf(answer)[0]!.path]).toEqual([400, path]);
  });

  test('rows carry money as integers, and ten years are allowed', async () => {
    const answer = await asAdmin(
      '/v1/admin/reports/sales?from=2016-01-01&to=2026-01-07&by=day&include=total',
    );
    expect(answer.json()).toEqual({
      from: '2016-01-01',
      to: '2026-01-07',
      asOf: '2026-11-25T09:30:00.000Z',
      items: [
        {
          day: '2026-11-24',
          currency: 'EUR',
          orders: 1,
          units: 2,
          revenue: { amountMinor: 3998, currency: 'EUR' },
        },
      ],
      page: { limit: 20, nextCursor: null, total: 1, totalIsEstimate: false },
    });
  });
});

describe('sales by product and category', () => {
  const report = (by: string, query = '') =>
    asAdmin(`/v1/admin/reports/sales?from=2026-01-01&to=2026-02-01&by=${by}${query}`);

  test.each([
    ['product', 1, 'productId', IDS.product],
    ['category', 2, 'category', 'kitchen/mugs'],
  ])(
    'by %s come from their own view, under a name that says what they are',
    async (by, code, name, group) => {
      gateway.services.adminQuery.getSales = async () => ({
        rows: [
          { group, currency: 'EUR', orders: 1n, units: 2n, revenue: { amountMinor: 3998n, currency: 'EUR' } },
        ],
        next: 'more',
        asOf: '2026-01-31T00:00:00.000Z',
        total: 3n,
      });
      const answer = (await report(by, '&include=total&limit=1')).json<Page>();
      expect(answer).toMatchObject({ asOf: '2026-01-31T00:00:00.000Z', page: { total: 3 } });
      expect(answer.items).toEqual([
        {
          [name]: group,
          currency: 'EUR',
          orders: 1,
          units: 2,
          revenue: { amountMinor: 3998, currency: 'EUR' },
        },
      ]);
      expect(lastRequest('getSales')).toEqual({
        by: code,
        from: '2026-01-01',
        to: '2026-02-01',
        limit: 1,
        after: '',
        includeTotal: true,
      });
      await report(by, `&cursor=${answer.page.nextCursor!}`);
      expect(lastRequest('getSales')).toMatchObject({ after: 'more' });
      for (const other of ['day', 'product', 'category'].filter((each) => each !== by))
        expect(codeOf(await report(other, `&cursor=${answer.page.nextCursor!}`))).toBe('CURSOR_INVALID');
    },
  );

  test('a forged token is refused by them too', async () => {
    const answer = await get('/v1/admin/reports/sales?from=2026-01-01&to=2026-02-01&by=product', {
      ...bearer('admin'),
      'consistency-token': 'nonsense',
    });
    expect(codeOf(answer)).toBe('CONSISTENCY_TOKEN_INVALID');
  });
});

describe('everybody’s orders', () => {
  test('say whose they are and where they came from; history may be nobody’s', async () => {
    gateway.services.adminQuery.listAllOrders = async () => ({
      orders: [anOrder(), anOrder({ id: IDS.product, userId: '', externalId: '536365' })],
      more: true,
      total: 2n,
    });
    const { items, page } = (await asAdmin('/v1/admin/orders?limit=2&include=total')).json<Page>();
    expect(items).toEqual([
      expect.not.objectContaining({ externalId: expect.anything() as unknown }),
      expect.objectContaining({ id: IDS.product, userId: null, externalId: '536365' }),
    ]);
    expect(items[0]).toMatchObject({ userId: IDS.user });
    expect(page.total).toBe(2);
    await asAdmin(`/v1/admin/orders?cursor=${page.nextCursor!}`);
    expect(lastRequest('listAllOrders')).toMatchObject({ afterId: IDS.product, includeTotal: false });
  });

  test('include a write whose token is sent back', async () => {
    const placed = await gateway.app.inject({
      method: 'POST',
      url: `/v1/orders/${IDS.order}/cancel`,
      headers: { ...bearer('customer'), 'idempotency-key': 'k' },
    });
    await get('/v1/admin/orders', {
      ...bearer('admin'),
      'consistency-token': String(placed.headers['consistency-token']),
    });
    expect(lastRequest('listAllOrders')).toMatchObject({
      positions: [{ subject: `order/${IDS.order}`, version: 1n }],
    });
  });
});

describe('forgotten passwords', () => {
  const post = (path: string, payload: object) =>
    gateway.app.inject({ method: 'POST', url: `/v1/password-resets${path}`, payload });

  test('asking is answered alike, whoever asks', async () => {
    const answer = await post('', { email: 'nobody@example.com' });
    expect([answer.statusCode, answer.body]).toEqual([202, '']);
    expect(lastRequest('requestPasswordReset')).toEqual({ email: 'nobody@example.com' });
  });

  test('a token sets the password once', async () => {
    const body = { token: 'from-the-mail', password: 'correct horse battery' };
    const answer = await post('/confirm', body);
    expect([answer.statusCode, answer.body]).toEqual([204, '']);
    expect(lastRequest('confirmPasswordReset')).toEqual(body);
    for (const code of ['RESET_TOKEN_INVALID', 'PASSWORD_TOO_COMMON'] as const) {
      gateway.services.passwordResets.confirmPasswordReset = async () => {
        throw fault(code);
      };
      const refused = await post('/confirm', body);
      expect([refused.statusCode, codeOf(refused)]).toEqual([400, code]);
    }
  });
});

test('mails that were kept are listed, all or those to one address', async () => {
  const { items } = (await asAdmin('/v1/admin/mails?to=ada%40example.com')).json<Page>();
  expect(Object.keys(items[0]!).sort()).toEqual(['createdAt', 'id', 'kind', 'subject', 'text', 'to']);
  expect(lastRequest('listMails')).toMatchObject({ to: 'ada@example.com', limit: 20, afterId: '' });
  await asAdmin('/v1/admin/mails');
  expect(lastRequest('listMails')).toMatchObject({ to: '' });
});

test('without an e-mail all users are listed, page by page', async () => {
  gateway.services.userAdmin.listUsers = async () => ({
    users: [{ ...aUser, id: IDS.order }],
    more: true,
    total: 7n,
    totalIsEstimate: true,
  });
  const { items, page } = (await asAdmin('/v1/admin/users?limit=1&include=total')).json<Page>();
  expect([items[0]!.id, page.total, page.totalIsEstimate]).toEqual([IDS.order, 7, true]);
  await asAdmin(`/v1/admin/users?cursor=${page.nextCursor!}`);
  expect(lastRequest('listUsers')).toEqual({ limit: 20, afterId: IDS.order, includeTotal: false });
  const narrowed = await asAdmin(`/v1/admin/users?email=a%40b.example&cursor=${page.nextCursor!}`);
  expect(codeOf(narrowed)).toBe('CURSOR_INVALID');
});

test('users are found by e-mail as a list of one or none', async () => {
  const found = (await asAdmin('/v1/admin/users?email=ada%40example.com&include=total')).json<Page>();
  expect(found).toMatchObject({
    items: [{ id: IDS.user, disabled: false }],
    page: { nextCursor: null, total: 1 },
  });
  expect((await asAdmin('/v1/admin/users?email=ada%40example.com&page=2')).json<Page>().items).toEqual([]);
  gateway.services.user.findUserByEmail = async () => ({});
  expect((await asAdmin('/v1/admin/users?email=no')).json<Page>().items).toEqual([]);
});
