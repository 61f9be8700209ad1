import { FAULT_CODES, type FaultCode } from '@headroom/contracts';
import { FAULT_KINDS } from '@headroom/resilience';
import { randomUUID } from 'node:crypto';
import {
  ADDRESS,
  databaseUrl,
  range,
  sharedSystem,
  shopClient,
  startGateway,
  unannounced,
  whileUnwritable,
  type Answer,
} from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);
const payment = { method: 'card', token: 'tok_ok' };
const UNKNOWN = '01890a5d-ac96-774b-bcce-b302099a8057';
let adminToken: string;
let customer: Awaited<ReturnType<typeof shop.customer>>;
let product: Awaited<ReturnType<typeof shop.product>>;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  customer = await shop.customer();
  product = await shop.product(adminToken);
});

const asAdmin = (method: string, path: string, body?: unknown) =>
  shop.request(method, path, { token: adminToken, ...(body === undefined ? {} : { body }) });
const placeOrder = (body: unknown, headers: Record<string, string> = { 'idempotency-key': randomUUID() }) =>
  shop.request('POST', '/v1/orders', { token: customer.token, headers, body });
const order = (items: unknown) => ({ items, shippingAddress: ADDRESS, payment });
const refresh = (refreshToken: string) =>
  shop.request<{ refreshToken: string }>('POST', '/v1/sessions/refresh', { body: { refreshToken } });
const signIn = (email: string, password: string) =>
  shop.request('POST', '/v1/sessions', { body: { email, password } });

/** How each code is brought about from outside. */
const provoke: Partial<Record<FaultCode, () => Promise<Answer>>> = {
  BODY_MALFORMED: () => shop.request('POST', '/v1/users', { rawBody: '{"email":' }),
  VALIDATION_FAILED: () => shop.request('POST', '/v1/users', { body: { email: 'nobody', surprise: 1 } }),
  CURSOR_INVALID: () => shop.request('GET', '/v1/products?cursor=bm9uc2Vuc2U'),
  PAGE_TOO_DEEP: () => shop.request('GET', '/v1/products?page=11'),
  CONSISTENCY_TOKEN_INVALID: () =>
    shop.request('GET', '/v1/products', { headers: { 'consistency-token': 'nonsense' } }),
  PASSWORD_TOO_COMMON: () =>
    shop.request('POST', '/v1/users', {
      body: { email: `${randomUUID()}@shop.example`, password: 'password123', name: 'Sam' },
    }),
  RESET_TOKEN_INVALID: () =>
    shop.request('POST', '/v1/password-resets/confirm', {
      body: { token: 'A'.repeat(43), password: 'a-long-enough-password' },
    }),
  IDEMPOTENCY_KEY_REQUIRED: () => placeOrder(order([{ productId: product.id, quantity: 1 }]), {}),
  IDEMPOTENCY_KEY_INVALID: () =>
    placeOrder(order([{ productId: product.id, quantity: 1 }]), { 'idempotency-key': 'k'.repeat(256) }),
  UNAUTHENTICATED: () => shop.request('GET', '/v1/me', { token: 'not.a.token' }),
  CREDENTIALS_INVALID: () => signIn(`${randomUUID()}@shop.example`, 'some-password-or-other'),
  REFRESH_INVALID: () => refresh('A'.repeat(43)),
  REFRESH_REUSED: async () => {
    const { refreshToken } = await shop.customer();
    await refresh((await refresh(refreshToken)).body.refreshToken);
    return refresh(refreshToken);
  },
  REFRESH_REVOKED: async () => {
    const { token, refreshToken } = await shop.customer();
    await shop.request('DELETE', '/v1/sessions', { token });
    return refresh(refreshToken);
  },
  FORBIDDEN: () => shop.request('GET', `/v1/admin/users/${customer.id}`, { token: customer.token }),
  USER_DISABLED: async () => {
    const { id, email, password } = await shop.customer();
    await asAdmin('PATCH', `/v1/admin/users/${id}`, { disabled: true });
    return signIn(email, password);
  },
  NOT_FOUND: () => shop.request('GET', `/v1/products/${UNKNOWN}`),
  METHOD_NOT_ALLOWED: () => shop.request('PUT', '/v1/products'),
  EMAIL_TAKEN: () =>
    shop.request('POST', '/v1/users', {
      body: { email: customer.email.toUpperCase(), password: 'a-long-enough-password', name: 'Sam' },
    }),
  SKU_TAKEN: async () => {
    const sku = randomUUID();
    const { id } = await shop.product(adminToken, { sku });
    await asAdmin('DELETE', `/v1/admin/products/${id}`);
    return asAdmin('POST', '/v1/admin/products', {
      sku,
      name: 'Twice',
      description: '',
      category: 'kitchen',
      price: { amountMinor: 1, currency: 'EUR' },
      onHand: 0,
    });
  },
  PRODUCT_ARCHIVED: async () => {
    const { id } = await shop.product(adminToken);
    await asAdmin('DELETE', `/v1/admin/products/${id}`);
    return asAdmin('PATCH', `/v1/admin/products/${id}`, { name: 'Too late' });
  },
  STOCK_NEGATIVE: () => asAdmin('PUT', `/v1/admin/products/${product.id}/stock`, { delta: -1_000_000 }),
  OUT_OF_STOCK: () => placeOrder(order([{ productId: product.id, quantity: 9_999 }])),
  CART_EMPTY: () => placeOrder({ fromCart: true, shippingAddress: ADDRESS, payment }),
  ORDER_NOT_CANCELLABLE: async () => {
    const placed = await shop.checkout(customer.token, [{ productId: product.id, quantity: 1 }], {
      payment: 'tok_declined',
    });
    await shop.settled(customer.token, placed.body.id);
    return shop.request('POST', `/v1/orders/${placed.body.id}/cancel`, {
      token: customer.token,
      headers: { 'idempotency-key': randomUUID() },
    });
  },
  // The first request waits for a stock that cannot be written; the second finds its key taken.
  IDEMPOTENCY_IN_FLIGHT: async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const body = order([{ productId: product.id, quantity: 1 }]);
    let first: Promise<Answer> | undefined;
    try {
      return await whileUnwritable(databaseUrl(system, 'catalog'), async () => {
        first = placeOrder(body, headers);
        for (;;) {
          const early = await Promise.race([placeOrder(body, headers), first]);
          if (early.status === 409) return early;
        }
      });
    } finally {
      await first;
    }
  },
  VERSION_MISMATCH: () =>
    shop.request('PATCH', '/v1/me', {
      token: customer.token,
      headers: { 'if-match': '"99999"' },
      body: { name: 'Sam' },
    }),
  IF_MATCH_REQUIRED: () => shop.request('PATCH', '/v1/me', { token: customer.token, body: { name: 'Sam' } }),
  BODY_TOO_LARGE: () => shop.request('POST', '/v1/users', { body: { name: 'x'.repeat(1_100_000) } }),
  MEDIA_TYPE_UNSUPPORTED: () =>
    shop.request('POST', '/v1/users', { rawBody: 'name=Sam', headers: { 'content-type': 'text/plain' } }),
  IMAGE_UNSUPPORTED: () =>
    shop.request('PUT', `/v1/admin/products/${product.id}/image`, {
      token: adminToken,
      rawBody: '<svg xmlns="http://www.w3.org/2000/svg"/>',
      headers: { 'content-type': 'image/png' },
    }),
  PRODUCT_UNAVAILABLE: () => placeOrder(order([{ productId: UNKNOWN, quantity: 1 }])),
  CURRENCY_MIXED: async () => {
    const foreign = await shop.product(adminToken, { currency: 'USD' });
    return placeOrder(order([product.id, foreign.id].map((productId) => ({ productId, quantity: 1 }))));
  },
  IDEMPOTENCY_KEY_REUSED: async () => {
    const headers = { 'idempotency-key': randomUUID() };
    await placeOrder(order([{ productId: product.id, quantity: 1 }]), headers);
    return placeOrder(order([{ productId: product.id, quantity: 2 }]), headers);
  },
  RATE_LIMITED: async () => {
    const gateway = await startGateway(system, { RATE_LIMITS: 'anonymous=1/min' });
    try {
      const [, second] = [
        await shopClient(gateway.url).request('GET', '/v1/products'),
        await shopClient(gateway.url).request('GET', '/v1/products'),
      ];
      return second;
    } finally {
      await gateway.stop();
    }
  },
  SIGN_IN_THROTTLED: async () => {
    const { email } = await shop.customer();
    for (const _ of range(10)) await signIn(email, 'not-the-right-password');
    return signIn(email, 'not-the-right-password');
  },
  // More sign-ins at once than the password hasher may keep waiting.
  OVERLOADED: async () => {
    const answers = await Promise.all(
      range(400).map(() => signIn(`${randomUUID()}@shop.example`, 'some-password-or-other')),
    );
    return answers.find(({ body }) => body['code'] === 'OVERLOADED') ?? answers[0]!;
  },
  DEPENDENCY_UNAVAILABLE: async () => {
    const gateway = await startGateway(system, { ORDER_ADDRESS: '127.0.0.1:1' });
    try {
      return await shopClient(gateway.url).request('GET', '/v1/cart', { token: customer.token });
    } finally {
      await gateway.stop();
    }
  },
  CONSISTENCY_TIMEOUT: () =>
    whileUnwritable(databaseUrl(system, 'views'), async () => {
      const written = await asAdmin('PATCH', `/v1/admin/products/${product.id}`, { name: randomUUID() });
      return shop.request('GET', '/v1/products', {
        headers: { 'consistency-token': written.headers.get('consistency-token')! },
      });
    }),
};

/** Codes that no request brings about by itself. */
const notOnDemand: Partial<Record<FaultCode, string>> = {
  INTERNAL: 'a defect: any request that answers it fails the tests that look for 5xx',
};

test('every code is either provoked here or explained', () => {
  const covered = [...Object.keys(provoke), ...Object.keys(notOnDemand)].sort();
  expect(covered).toEqual(Object.keys(FAULT_CODES).sort());
});

test.each(Object.entries(provoke))('%s is a problem document', async (code, attempt) => {
  const answer = await attempt();
  const { kind, title } = FAULT_CODES[code as FaultCode];
  expect(answer.body).toMatchObject({ code });
  expect(answer.status).toBe(FAULT_KINDS[kind].http);
  expectProblem(answer);
  expect(answer.body).toMatchObject({ title });
  if (code === 'VALIDATION_FAILED') {
    const { errors } = answer.body as { errors: Array<{ path: string; message: string }> };
    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors)
      expect(error).toEqual({ path: expect.any(String) as string, message: expect.any(String) as string });
  }
  if (code === 'METHOD_NOT_ALLOWED') expect(answer.headers.get('allow')).toMatch(/\bGET\b/);
  if (code === 'PAGE_TOO_DEEP') expect(answer.text).toMatch(/cursor/);
  if (code === 'OUT_OF_STOCK') expect(answer.text).toContain(product.id);
  if (code === 'PRODUCT_UNAVAILABLE') expect(answer.text).toContain(UNKNOWN);
  if ([429, 503].includes(answer.status) || code === 'IDEMPOTENCY_IN_FLIGHT')
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
});

test('a cart of two currencies is a conflict', async () => {
  const foreign = await shop.product(adminToken, { currency: 'USD' });
  const { token } = await shop.customer();
  const put = (productId: string) =>
    shop.request('PUT', `/v1/cart/items/${productId}`, { token, body: { quantity: 1 } });
  expect((await put(product.id)).status).toBe(200);
  const answer = await put(foreign.id);
  expect([answer.status, answer.body['code']]).toEqual([409, 'CURRENCY_MIXED']);
  expectProblem(answer);
});

test('checks come in their order: route, method, sign-in, role, size, type, JSON, key, validation, existence, precondition, state', async () => {
  const large = 'x'.repeat(1_100_000);
  const text = { 'content-type': 'text/plain' };
  const { token } = customer;
  const key = { 'idempotency-key': randomUUID() };
  const archived = await shop.product(adminToken);
  const archivedPath = `/v1/admin/products/${archived.id}`;
  await asAdmin('DELETE', archivedPath);
  const renamed = (ifMatch: string) => ({ body: { name: 'Renamed' }, headers: { 'if-match': ifMatch } });
  const answers: Array<[string, Promise<Answer>]> = [
    ['404 NOT_FOUND', shop.request('POST', '/v1/nothing', { rawBody: '{', headers: text })],
    ['405 METHOD_NOT_ALLOWED', shop.request('PATCH', '/v1/orders', { rawBody: '{', headers: text })],
    ['401 UNAUTHENTICATED', shop.request('POST', '/v1/orders', { rawBody: large, headers: text })],
    ['403 FORBIDDEN', shop.request('POST', '/v1/admin/products', { rawBody: large, headers: text, token })],
    ['413 BODY_TOO_LARGE', shop.request('POST', '/v1/orders', { rawBody: large, headers: text, token })],
    [
      '415 MEDIA_TYPE_UNSUPPORTED',
      shop.request('POST', '/v1/orders', { rawBody: '{', headers: text, token }),
    ],
    [
      '415 MEDIA_TYPE_UNSUPPORTED',
      shop.request('POST', '/v1/orders', { rawBody: '{', headers: { 'content-encoding': 'gzip' }, token }),
    ],
    ['400 BODY_MALFORMED', shop.request('POST', '/v1/orders', { rawBody: '{', token })],
    ['400 IDEMPOTENCY_KEY_REQUIRED', shop.request('POST', '/v1/orders', { body: {}, token })],
    ['400 VALIDATION_FAILED', shop.request('POST', '/v1/orders', { body: {}, headers: key, token })],
    ['400 VALIDATION_FAILED', shop.request('PATCH', '/v1/me', { body: { name: 7 }, token })],
    [
      '404 NOT_FOUND',
      shop.request('PATCH', `/v1/admin/users/${UNKNOWN}`, { body: { disabled: true }, token: adminToken }),
    ],
    [
      '404 NOT_FOUND',
      shop.request('PATCH', `/v1/admin/products/${UNKNOWN}`, { ...renamed('"99999"'), token: adminToken }),
    ],
    [
      '412 VERSION_MISMATCH',
      shop.request('PATCH', archivedPath, { ...renamed('"99999"'), token: adminToken }),
    ],
    ['409 PRODUCT_ARCHIVED', shop.request('PATCH', archivedPath, { ...renamed('*'), token: adminToken })],
    ['404 NOT_FOUND', shop.request('GET', '/v1/orders/not-an-id', { token })],
    ['404 NOT_FOUND', shop.request('PUT', '/v1/cart/items/not-an-id', { body: { quantity: 1 }, token })],
  ];
  for (const [expected, answer] of answers) {
    const { status, body } = await answer;
    expect(`${status} ${String((body as { code: string }).code)}`).toBe(expected);
  }
});

test('a body that grows beyond 1 MiB without having announced it is too large', async () => {
  const response = await fetch(`${system.gateway}/v1/users`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: ReadableStream.from(unannounced(2 * 1024 * 1024)),
    duplex: 'half',
    signal: AbortSignal.timeout(20_000),
  } as RequestInit);
  expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([
    413,
    'BODY_TOO_LARGE',
  ]);
});

test('what is unknown is named: body fields, query parameters, sort, include and fields', async () => {
  const cases: Array<[string, Promise<Answer>]> = [
    ['surprise', shop.request('GET', '/v1/products?surprise=1')],
    ['sort', shop.request('GET', '/v1/products?sort=colour')],
    ['include', shop.request('GET', '/v1/products?include=everything')],
    ['colour', shop.request('GET', '/v1/products?fields=name,colour')],
    ['limit', shop.request('GET', '/v1/products?limit=101')],
    [
      'surprise',
      shop.request('PUT', `/v1/cart/items/${product.id}`, {
        token: customer.token,
        body: { quantity: 1, surprise: true },
      }),
    ],
    [
      'country',
      placeOrder({
        ...order([{ productId: product.id, quantity: 1 }]),
        shippingAddress: { ...ADDRESS, country: 'Germany' },
      }),
    ],
    ['quantity', placeOrder(order([{ productId: product.id, quantity: 0 }]))],
    ['productId', placeOrder(order([{ productId: 'not-an-id', quantity: 1 }]))],
    ['relevance', shop.request('GET', '/v1/products?sort=relevance')],
  ];
  for (const [named, answer] of cases) {
    const { status, body, text } = await answer;
    expect([named, status, (body as { code: string }).code]).toEqual([named, 400, 'VALIDATION_FAILED']);
    expect(text).toContain(named);
  }
});

test('a request id of the right form is echoed, any other is replaced', async () => {
  const send = async (id: string) =>
    (await shop.request('GET', '/v1/products?limit=1', { headers: { 'x-request-id': id } })).headers.get(
      'x-request-id',
    );
  for (const id of ['a', 'Request.1_2-3', 'x'.repeat(128)]) expect(await send(id)).toBe(id);
  for (const id of ['x'.repeat(129), 'with space', 'semi;colon'])
    expect(await send(id)).toMatch(/^[A-Za-z0-9._-]{1,128}$/);
});

test('HEAD answers as GET does, without the body', async () => {
  const get = await shop.request('GET', `/v1/products/${product.id}`);
  const head = await shop.request('HEAD', `/v1/products/${product.id}`);
  expect([head.status, head.text]).toEqual([200, '']);
  for (const name of ['content-type', 'etag', 'cache-control', 'content-length'])
    expect([name, head.headers.get(name)]).toEqual([name, get.headers.get(name)]);
});

function expectProblem(answer: Answer): void {
  const problem = answer.body as Record<string, unknown>;
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json\b/);
  expect(problem).toMatchObject({
    type: expect.stringMatching(/^https:\/\//) as string,
    title: expect.stringMatching(/./) as string,
    status: answer.status,
    detail: expect.stringMatching(/./) as string,
    requestId: answer.headers.get('x-request-id'),
  });
  // No stack, no SQL, no name of anything inside.
  expect(answer.text).not.toMatch(
    /node_modules|\.ts:\d|\bat .*:\d+:\d+|select .* from|127\.0\.0\.1|postgres|headroom\.\w+\.v\d/i,
  );
  expect(answer.headers.get('cache-control')).toMatch(/no-store|private/);
}
