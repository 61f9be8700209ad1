import { FAULT_CODES, type FaultCode } from '@headroom/contracts';
import { FAULT_KINDS } from '@headroom/resilience';
import { scrape } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { connect, type AddressInfo } from 'node:net';
import { bearer, IDS, startGateway, TOKENS, type TestGateway } from '../test/fakes';
import { faultsOf, type Endpoint } from './endpoint';
import { exampleOf } from './openapi/document';
import { ENDPOINTS } from './routes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

type Method = Endpoint['method'];
interface Sent {
  method?: string;
  query?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

const pathOf = ({ path }: Endpoint) => path.replace(/:\w+/g, IDS.order);

/** The query that a route cannot do without. */
const neededQuery = ({ query }: Endpoint) => {
  const { required = [] } = query as { required?: string[] };
  return Object.entries(query.properties)
    .filter(
      ([name, schema]) => required.includes(name) && (schema as { default?: unknown }).default === undefined,
    )
    .map(([name, schema]) => `${name}=${encodeURIComponent(String(exampleOf(schema)))}`)
    .join('&');
};

/** A request that the route takes, changed where a test says so. */
async function send(endpoint: Endpoint, { method, query, headers, body }: Sent = {}) {
  const payload = body ?? (endpoint.body ? exampleOf(endpoint.body) : endpoint.raw && 'a file');
  const search = [neededQuery(endpoint), query].filter(Boolean).join('&');
  return gateway.app.inject({
    method: (method ?? endpoint.method) as Method,
    url: pathOf(endpoint) + (search === '' ? '' : `?${search}`),
    headers: {
      ...(endpoint.access === 'open' || endpoint.access === 'optional' ? {} : bearer('admin')),
      ...(endpoint.idempotent ? { 'idempotency-key': 'key-1' } : {}),
      ...(endpoint.ifMatch ? { 'if-match': '"3"' } : {}),
      ...(payload === undefined ? {} : { 'content-type': endpoint.raw?.mediaTypes[0] ?? 'application/json' }),
      ...headers,
    },
    ...(payload === undefined
      ? {}
      : { payload: typeof payload === 'string' ? payload : JSON.stringify(payload) }),
  });
}
type Answer = Awaited<ReturnType<typeof send>>;

function expectProblem(answer: Answer, code: FaultCode, endpoint?: Endpoint) {
  const problem = answer.json<Record<string, unknown>>();
  expect([answer.statusCode, problem['code'], answer.headers['content-type']]).toEqual([
    FAULT_KINDS[FAULT_CODES[code].kind].http,
    code,
    'application/problem+json',
  ]);
  expect(problem).toMatchObject({
    type: expect.stringMatching(/^https:/) as string,
    status: answer.statusCode,
    requestId: answer.headers['x-request-id'],
  });
  expect(answer.headers['cache-control']).toBe('no-store');
  if (endpoint) expect(faultsOf(endpoint)).toContain(code);
  return problem;
}

const named = (endpoints: readonly Endpoint[]) =>
  endpoints.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const);
const all = named(ENDPOINTS);
const withBody = named(ENDPOINTS.filter(({ body }) => body));
const writing = named(ENDPOINTS.filter(({ method, raw }) => method !== 'GET' && !raw));
const withFile = named(ENDPOINTS.filter(({ raw }) => raw));
const reading = named(ENDPOINTS.filter(({ method }) => method === 'GET'));

describe('the same checks for every route', () => {
  test.each(all)('%s answers a right request', async (_, endpoint) => {
    const answer = await send(endpoint);
    expect([answer.statusCode, answer.statusCode < 300 ? '' : answer.body]).toEqual([
      expect.any(Number) as number,
      '',
    ]);
    expect([endpoint.reply.status, ...Object.keys(endpoint.reply.also ?? {}).map(Number)]).toContain(
      answer.statusCode,
    );
  });

  test.each(all)(
    '%s: another method is a 405 that names the right ones, before all else',
    async (_, endpoint) => {
      const methods = ENDPOINTS.filter(({ path }) => path === endpoint.path).map(
        ({ method }) => method as string,
      );
      const other = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].find((method) => !methods.includes(method))!;
      const answer = await send(endpoint, {
        method: other,
        headers: { authorization: 'Bearer bad', 'content-type': 'text/plain' },
        body: '{',
      });
      expectProblem(answer, 'METHOD_NOT_ALLOWED');
      const allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
      expect(answer.headers['allow']?.toString().split(', ').sort()).toEqual(allow.sort());
    },
  );

  test.each(named(ENDPOINTS.filter(({ access }) => access === 'user' || access === 'admin')))(
    '%s: without a token 401, before role, size, type and form',
    async (_, endpoint) => {
      const answer = await send(endpoint, {
        headers: { authorization: '', 'content-type': 'text/plain', 'content-encoding': 'gzip' },
        query: 'surprise=1',
        body: 'x'.repeat(2 * 1024 * 1024),
      });
      expectProblem(answer, 'UNAUTHENTICATED', endpoint);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    },
  );

  test.each(named(ENDPOINTS.filter(({ access }) => access !== 'open')))(
    '%s: a token that is not valid is a 401, on public routes too',
    async (_, endpoint) => {
      for (const authorization of ['Bearer forged.token.x', 'Basic YTpi', 'Bearer'])
        expectProblem(await send(endpoint, { headers: { authorization } }), 'UNAUTHENTICATED', endpoint);
    },
  );

  test.each(named(ENDPOINTS.filter(({ access }) => access === 'admin')))(
    '%s: a customer is told 403, before size, type and form',
    async (_, endpoint) => {
      const answer = await send(endpoint, {
        headers: { ...bearer('customer'), 'content-type': 'text/plain' },
        query: 'surprise=1',
        body: '{',
      });
      expectProblem(answer, 'FORBIDDEN', endpoint);
    },
  );

  test.each(writing)('%s: more than 1 MiB is a 413, before type and JSON', async (_, endpoint) => {
    for (const type of ['application/json', 'text/plain', 'nonsense']) {
      const answer = await send(endpoint, {
        headers: { 'content-type': type },
        body: '{'.repeat(1024 * 1024 + 1),
      });
      expectProblem(answer, 'BODY_TOO_LARGE', endpoint);
    }
  });

  test.each(writing)(
    '%s: another media type or a compressed body is a 415, before JSON',
    async (_, endpoint) => {
      const odd: Array<Record<string, string>> = [
        { 'content-type': 'text/plain' },
        { 'content-type': 'application/json; charset=latin1' },
        { 'content-type': 'nonsense' },
        { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      ];
      for (const headers of odd)
        expectProblem(await send(endpoint, { headers, body: '{' }), 'MEDIA_TYPE_UNSUPPORTED', endpoint);
    },
  );

  test.each(writing)(
    '%s: JSON that does not parse is BODY_MALFORMED, before key and form',
    async (_, endpoint) => {
      const answer = await send(endpoint, {
        headers: { 'idempotency-key': 'no spaces allowed' },
        query: 'surprise=1',
        body: '{"a":',
      });
      expectProblem(answer, 'BODY_MALFORMED', endpoint);
    },
  );

  test.each(named(ENDPOINTS.filter(({ idempotent }) => idempotent)))(
    '%s: the form of the key comes before validation',
    async (_, endpoint) => {
      const key = (value: string) =>
        send(endpoint, { headers: { 'idempotency-key': value }, query: 'surprise=1' });
      for (const bad of ['with space', 'x'.repeat(256), 'ü'])
        expectProblem(await key(bad), 'IDEMPOTENCY_KEY_INVALID', endpoint);
      const missing = await gateway.app.inject({
        method: endpoint.method,
        url: `${pathOf(endpoint)}?surprise=1`,
        headers: bearer('admin'),
      });
      if (endpoint.body) expectProblem(missing, 'IDEMPOTENCY_KEY_REQUIRED', endpoint);
    },
  );

  test.each(all)('%s: an unknown query parameter is named', async (_, endpoint) => {
    const problem = expectProblem(
      await send(endpoint, { query: 'surprise=1' }),
      'VALIDATION_FAILED',
      endpoint,
    );
    expect(problem['errors']).toContainEqual({ path: 'surprise', message: 'is not known here' });
  });

  test.each(writing)('%s: an unknown body member is named', async (_, endpoint) => {
    const body = { ...((endpoint.body ? exampleOf(endpoint.body) : {}) as object), surprise: 1 };
    const problem = expectProblem(await send(endpoint, { body }), 'VALIDATION_FAILED', endpoint);
    expect(problem['errors']).toContainEqual({ path: 'surprise', message: 'is not known here' });
  });

  test.each(withBody)(
    '%s: every member of a wrong type is named, and nothing is converted',
    async (_, endpoint) => {
      const right = exampleOf(endpoint.body) as Record<string, unknown>;
      const wrong = Object.fromEntries(
        Object.entries(right).map(([name, value]) => [name, typeof value === 'string' ? 7 : String(value)]),
      );
      const problem = expectProblem(await send(endpoint, { body: wrong }), 'VALIDATION_FAILED', endpoint);
      const paths = (problem['errors'] as Array<{ path: string }>).map(({ path }) => path);
      expect(paths.sort()).toEqual(Object.keys(wrong).sort());
    },
  );

  test.each(withBody)('%s: a body must be there, and be an object', async (_, endpoint) => {
    for (const body of ['[]', 'null', '"text"', '7'])
      expectProblem(await send(endpoint, { body }), 'VALIDATION_FAILED', endpoint);
    expectProblem(await send(endpoint, { body: '' }), 'BODY_MALFORMED', endpoint);
  });

  test.each(
    named(
      ENDPOINTS.filter(
        ({ path, access }) => path.includes(':') && access !== 'optional' && access !== 'open',
      ),
    ),
  )('%s: a malformed id in the path is not found', async (_, endpoint) => {
    const answer = await gateway.app.inject({
      method: endpoint.method,
      url: endpoint.path.replace(/:\w+/, 'not-an-id'),
      headers: {
        ...bearer('admin'),
        'idempotency-key': 'k',
        ...(endpoint.body ? { 'content-type': 'application/json' } : {}),
        ...(endpoint.raw ? { 'content-type': endpoint.raw.mediaTypes[0]! } : {}),
      },
      ...(endpoint.body ? { payload: JSON.stringify(exampleOf(endpoint.body)) } : {}),
      ...(endpoint.raw ? { payload: 'a file' } : {}),
    });
    expectProblem(answer, 'NOT_FOUND', endpoint);
  });
});

describe.each(withFile)('the file of %s', (_, endpoint) => {
  const limitBytes = endpoint.raw!.limitBytes;
  const [type] = endpoint.raw!.mediaTypes as [string];

  test('a declared size beyond the limit is a 413, before type and form', async () => {
    const headers = { 'content-length': String(limitBytes + 1), 'content-type': 'text/plain' };
    const problem = expectProblem(
      await send(endpoint, { headers, query: 'surprise=1' }),
      'BODY_TOO_LARGE',
      endpoint,
    );
    expect(problem['detail']).toContain(`${limitBytes / 1024 / 1024} MiB`);
  });

  test('another media type, none, or a compressed body is a 415, before form', async () => {
    const odd: Array<Record<string, string>> = [
      { 'content-type': 'application/json' },
      { 'content-type': `${type}x` },
      { 'content-type': '' },
      { 'content-type': type, 'content-encoding': 'gzip' },
    ];
    for (const headers of odd)
      expectProblem(
        await send(endpoint, { headers, query: 'surprise=1' }),
        'MEDIA_TYPE_UNSUPPORTED',
        endpoint,
      );
  });

  test('every type that the document names is taken, in any spelling and with parameters', async () => {
    for (const each of endpoint.raw!.mediaTypes)
      for (const spelled of [each, each.toUpperCase(), `${each}; charset=utf-8`]) {
        const answer = await send(endpoint, { headers: { 'content-type': spelled } });
        expect([spelled, answer.statusCode]).toEqual([spelled, 202]);
      }
  });

  test('an empty body is BODY_MALFORMED', async () => {
    expectProblem(await send(endpoint, { body: '' }), 'BODY_MALFORMED', endpoint);
  });

  test('an unknown query parameter is named, and nothing has begun', async () => {
    gateway.received.length = 0;
    const answer = await send(endpoint, { query: 'surprise=1' });
    const problem = expectProblem(answer, 'VALIDATION_FAILED', endpoint);
    expect(problem['errors']).toContainEqual({ path: 'surprise', message: 'is not known here' });
    expect(gateway.received).toEqual([]);
  });
});

describe('caching', () => {
  const expected: Record<string, string> = {
    'GET /v1/products': 'catalog',
    'GET /v1/products/:idOrSlug': 'catalog',
    'GET /v1/categories': 'catalog',
    'GET /v1/products/:id/related': 'catalog',
    'GET /v1/products/trending': 'catalog',
    'GET /v1/me/recommendations': 'private',
    'GET /images/:name': 'immutable',
    'GET /.well-known/jwks.json': 'static',
    'GET /openapi.json': 'static',
    'GET /docs': 'static',
    'GET /v1/me': 'private',
    'GET /v1/cart': 'private',
    'GET /v1/orders': 'private',
    'GET /v1/orders/:id': 'private',
  };

  test.each(all)('%s says who may keep the answer', async (name, endpoint) => {
    const { headers } = await send(endpoint);
    const cacheControl = String(headers['cache-control']);
    switch (expected[name]) {
      case 'catalog':
        expect(cacheControl).toMatch(/^public, max-age=[0-5], s-maxage=\d+, stale-while-revalidate=\d+$/);
        expect(headers['vary']).toMatch(/Authorization, Consistency-Token/);
        break;
      case 'static':
        expect(cacheControl).toMatch(/^public, max-age=\d+/);
        break;
      case 'immutable':
        expect(cacheControl).toBe('public, max-age=31536000, immutable');
        break;
      case 'private':
        expect(headers['vary']).toMatch(/Authorization, Cart-Token/);
        expect(cacheControl).toBe('private, no-cache');
        break;
      default:
        expect(cacheControl).toBe('no-store');
    }
  });

  test.each(named(ENDPOINTS.filter(({ cache }) => cache === 'catalog')))(
    '%s: what a token asked for is for nobody else, and says on what it depends',
    async (_, endpoint) => {
      const token = String(
        (
          await gateway.app.inject({
            method: 'DELETE',
            url: `/v1/admin/products/${IDS.product}`,
            headers: bearer('admin'),
          })
        ).headers['consistency-token'],
      );
      for (const headers of [bearer('customer'), { 'consistency-token': token }]) {
        const answer = await send(endpoint, { headers });
        expect([answer.statusCode, answer.headers['cache-control']]).toEqual([200, 'private, no-cache']);
        expect(answer.headers['vary']).toMatch(/Authorization, Consistency-Token/);
      }
    },
  );

  test.each(reading.filter(([, { streams, path }]) => !streams && path !== '/health'))(
    '%s: an ETag, and 304 without a body for who has it',
    async (_, endpoint) => {
      const first = await send(endpoint);
      const etag = String(first.headers['etag']);
      expect(etag).toMatch(/^"[\w-]+"$/);
      for (const header of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
        const again = await send(endpoint, { headers: { 'if-none-match': header } });
        expect([
          again.statusCode,
          again.body,
          again.headers['etag'],
          again.headers['content-length'],
        ]).toEqual([304, '', etag, undefined]);
        expect(again.headers['cache-control']).toBe(first.headers['cache-control']);
      }
      expect((await send(endpoint, { headers: { 'if-none-match': '"other"' } })).statusCode).toBe(200);
    },
  );

  test('an ETag changes with the answer', async () => {
    const own = await startGateway();
    const etag = async () => (await own.app.inject(`/v1/products/${IDS.product}`)).headers['etag'];
    const before = await etag();
    const product = await own.services.catalog.getProduct({ idOrSlug: '', includeArchived: false });
    own.services.catalog.getProduct = async () => ({ ...product, available: 4n });
    expect(await etag()).not.toBe(before);
    await own.close();
  });

  test.each(reading)('%s answers HEAD as GET, without the body', async (_, endpoint) => {
    const get = await send(endpoint);
    const head = await send(endpoint, { method: 'HEAD' });
    expect([head.statusCode, head.body]).toEqual([get.statusCode, '']);
    for (const name of [
      'content-type',
      'cache-control',
      'etag',
      ...(endpoint.streams ? [] : ['content-length']),
    ])
      expect([name, head.headers[name]]).toEqual([name, get.headers[name]]);
  });
});

describe('what every answer has', () => {
  test('a request id of the right form comes back, any other is replaced', async () => {
    const idFor = async (id: string) =>
      (await gateway.app.inject({ url: '/v1/products', headers: { 'x-request-id': id } })).headers[
        'x-request-id'
      ];
    for (const id of ['a', 'Req.1_2-3', 'x'.repeat(128)]) expect(await idFor(id)).toBe(id);
    for (const id of ['', 'x'.repeat(129), 'a b', 'a;b', 'ü'])
      expect(await idFor(id)).toMatch(/^[0-9a-f-]{36}$/);
  });

  test.each(['/v1/products', '/v1/me', '/v1/nothing', '/health', '/%ff', '/docs'])(
    'security headers stand on %s',
    async (url) => {
      const { headers } = await gateway.app.inject(url);
      expect(headers['x-content-type-options'] ?? 'missing').toBe('nosniff');
      expect(headers['content-security-policy']).toMatch(/default-src 'none'/);
      expect(headers['x-powered-by']).toBeUndefined();
      expect(headers['x-request-id']).toBeDefined();
    },
  );

  test('an address that is none of ours is a problem, however odd', async () => {
    for (const url of [
      '/',
      '/v1',
      '/v2/products',
      '/v1/products/a/b',
      '/v1/products/',
      '//',
      '/v1/orders/%zz',
      '/v1/PRODUCTS',
    ])
      expectProblem(await gateway.app.inject({ url, headers: bearer('customer') }), 'NOT_FOUND');
    for (const slug of ['%00', '..%2f..', 'UPPER', 'x'.repeat(300), '%E2%80%AE'])
      expectProblem(await gateway.app.inject(`/v1/products/${slug}`), 'NOT_FOUND');
  });

  test('methods that nobody knows, and OPTIONS without a preflight, are 405', async () => {
    for (const method of ['OPTIONS', 'TRACE'] as const)
      expectProblem(
        await gateway.app.inject({ method: method as 'OPTIONS', url: '/v1/products' }),
        'METHOD_NOT_ALLOWED',
      );
  });

  test('what is no HTTP request is answered with a problem, and the connection ends', async () => {
    await gateway.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = gateway.app.server.address() as AddressInfo;
    for (const bytes of [
      'nonsense\r\n\r\n',
      `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
    ]) {
      const answer = await new Promise<string>((resolve, reject) => {
        let text = '';
        const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
        socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        socket.on('close', () => resolve(text)).on('error', reject);
      });
      expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      expect(answer).toMatch(/content-type: application\/problem\+json/);
      expect(answer).toMatch(/"code":"VALIDATION_FAILED"/);
    }
  });

  test('a body that does not arrive within 30 s ends the connection with a problem', async () => {
    const own = await startGateway();
    await own.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = own.app.server.address() as AddressInfo;
    let text = '';
    let closed = false;
    const socket = connect(port, '127.0.0.1').setEncoding('utf8');
    socket.on('data', (chunk: string) => (text += chunk)).on('close', () => (closed = true));
    socket.write('POST /v1/users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n');
    socket.write('content-length: 100\r\n\r\n{"email":');
    await eventually(() => {
      own.clock.advance(10_000);
      expect(text).toMatch(/^HTTP\/1\.1 400 [^]*did not arrive in time/);
    });
    await eventually(() => expect(closed).toBe(true));
    await own.close();
  });

  test('a defect is a 500 that tells nothing of the inside', async () => {
    const own = await startGateway();
    own.services.catalog.getProduct = async () => {
      throw new Error('select * from products: connect 10.0.0.7');
    };
    const answer = await own.app.inject(`/v1/products/${IDS.product}`);
    expectProblem(answer, 'INTERNAL');
    expect(answer.body).not.toMatch(/select|10\.0\.0\.7/);
    await own.close();
  });
});

describe('pages of other origins', () => {
  const preflight = (origin: string) =>
    gateway.app.inject({
      method: 'OPTIONS',
      url: '/v1/orders',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization',
      },
    });

  test('those on the list may call and read what they need', async () => {
    const allowed = await preflight('https://shop.example');
    expect(allowed.statusCode).toBe(204);
    expect(allowed.headers['access-control-allow-origin']).toBe('https://shop.example');
    expect(allowed.headers['access-control-allow-headers']).toMatch(/Idempotency-Key/);
    expect(allowed.headers['access-control-allow-methods']).toMatch(/PATCH/);
    const { headers } = await gateway.app.inject({
      url: '/v1/me',
      headers: { origin: 'https://shop.example' },
    });
    expect(headers['access-control-allow-origin']).toBe('https://shop.example');
    expect(headers['access-control-expose-headers']).toMatch(/ETag/);
    expect(headers['vary']).toMatch(/Origin/);
  });

  test('any other gets no permission', async () => {
    for (const origin of ['https://evil.example', 'https://shop.example.evil.example', 'null'])
      expect((await preflight(origin)).headers['access-control-allow-origin']).toBeUndefined();
  });
});

test('of what comes in, services are told the access token and the request id, and nothing else', async () => {
  gateway.received.length = 0;
  await gateway.app.inject({
    url: '/v1/cart',
    headers: {
      ...bearer('customer'),
      'x-request-id': 'request-1',
      'x-user-id': IDS.product,
      'x-user-role': 'admin',
      'x-forwarded-user': 'root',
      forwarded: 'for=1.2.3.4',
    },
  });
  const [call] = gateway.received;
  expect(call).toMatchObject({ method: 'getCart', request: {} });
  expect(call!.context).toEqual({
    requestId: 'request-1',
    accessToken: TOKENS.customer,
    deadlineAt: expect.any(Number) as number,
  });
  const leftMs = call!.context!.deadlineAt - Date.now();
  expect(leftMs > 0 && leftMs <= 8_000).toBe(true);
});

test('without a token no token is verified, and none travels on', async () => {
  gateway.received.length = 0;
  gateway.verified.count = 0;
  await gateway.app.inject('/v1/products');
  expect(gateway.verified.count).toBe(0);
  expect(gateway.received[0]!.context!.accessToken).toBeUndefined();
});

test('a sign-in counts for the socket, and for X-Forwarded-For only behind a trusted proxy', async () => {
  const addressFor = async (trustedProxies: string[]) => {
    const own = await startGateway({ trustedProxies });
    await own.app.inject({
      method: 'POST',
      url: '/v1/sessions',
      headers: { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' },
      remoteAddress: '::ffff:10.1.2.3',
      payload: { email: 'a@example.com', password: 'secret' },
    });
    await own.close();
    return (own.received[0]!.request as { clientAddress: string }).clientAddress;
  };
  expect(await addressFor([])).toBe('10.1.2.3');
  expect(await addressFor(['192.168.0.0/16'])).toBe('10.1.2.3');
  expect(await addressFor(['10.0.0.0/8'])).toBe('198.51.100.7');
  expect(await addressFor(['10.0.0.0/8', '198.51.100.0/24'])).toBe('203.0.113.9');
});

test('every request is measured under its route, never under an id', async () => {
  await gateway.app.inject(`/v1/products/${IDS.product}`);
  await gateway.app.inject('/v1/no-such-thing');
  const { body } = await scrape();
  expect(body).toMatch(
    /http_server_request_seconds_count\{method="GET",route="\/v1\/products\/:idOrSlug",status="200"\} [1-9]/,
  );
  expect(body).toMatch(
    /http_server_request_seconds_count\{method="GET",route="unmatched",status="404"\} [1-9]/,
  );
  expect(body).not.toContain(IDS.product);
});

test('the public health hides details, and only unhealthy is a 503', async () => {
  const own = await startGateway();
  const health = async (status: 'healthy' | 'degraded' | 'unhealthy') => {
    own.health.report = { ...own.health.report, status };
    return own.app.inject('/health');
  };
  expect((await health('healthy')).json()).toEqual({
    status: 'healthy',
    checks: { catalog: { status: 'healthy' } },
  });
  expect((await health('degraded')).statusCode).toBe(200);
  const unhealthy = await health('unhealthy');
  expect([unhealthy.statusCode, unhealthy.json<{ status: string }>().status]).toEqual([503, 'unhealthy']);
  await own.close();
});
