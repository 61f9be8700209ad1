import { APPS, sharedSystem, shopClient, serviceProcesses, systemPids } from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);
const opsPorts = () =>
  serviceProcesses(system).map(({ app, env }) => ({ app, ops: `http://127.0.0.1:${env['OPS_PORT']}` }));

test('every process answers livez, readyz, a deep health and metrics on its own port', async () => {
  expect(
    opsPorts()
      .map(({ app }) => app)
      .sort(),
  ).toEqual(APPS);
  for (const { app, ops } of opsPorts()) {
    const { request } = shopClient(ops);
    expect([app, (await request('GET', '/livez')).status]).toEqual([app, 200]);
    expect([app, (await request('GET', '/readyz')).status]).toEqual([app, 200]);
    const health = await request<{ status: string; checks: Record<string, { status: string }> }>(
      'GET',
      '/health',
    );
    expect([app, health.status, health.body.status]).toEqual([app, 200, 'healthy']);
    expect(Object.keys(health.body.checks).length).toBeGreaterThan(0);
    expect((await request('GET', '/metrics')).text).toMatch(/^process_cpu_seconds_total/m);
  }
});

test('the public health names what was looked at, and nothing about where it runs', async () => {
  const { status, body, text, headers } = await shop.request<{
    status: string;
    checks: Record<string, { status: string }>;
  }>('GET', '/health');
  expect([status, body.status]).toEqual([200, 'healthy']);
  for (const check of Object.values(body.checks)) expect(Object.keys(check)).toEqual(['status']);
  expect(text).not.toMatch(/\d+\.\d+\.\d+\.\d+|postgres:|localhost/);
  expect(headers.get('cache-control')).toMatch(/no-store/);
});

test('every route of the OpenAPI document is a label of the metrics, and no label holds an id', async () => {
  const { body: document } = await shop.request<{ paths: Record<string, Record<string, unknown>> }>(
    'GET',
    '/openapi.json',
  );
  const product = (await shop.request<{ items: Array<{ id: string }> }>('GET', '/v1/products?limit=1')).body
    .items[0]!;
  const routes = Object.entries(document.paths).flatMap(([path, item]) =>
    ['get', 'put', 'post', 'patch', 'delete']
      .filter((method) => method in item)
      .map((method) => ({ method: method.toUpperCase(), path })),
  );
  for (const { method, path } of routes) await shop.request(method, path.replace(/\{\w+\}/g, product.id), {});
  const gateway = opsPorts().find(({ app }) => app === 'gateway')!;
  const { text } = await shopClient(gateway.ops).request('GET', '/metrics');
  const labelled = new Set(
    [
      ...text.matchAll(
        /\{[^}]*\bmethod="(\w+)"[^}]*\broute="([^"]+)"|\{[^}]*\broute="([^"]+)"[^}]*\bmethod="(\w+)"/g,
      ),
    ].map((match) => `${match[1] ?? match[4]} ${match[2] ?? match[3]}`),
  );
  for (const { method, path } of routes)
    expect([...labelled]).toContain(`${method} ${path.replace(/\{(\w+)\}/g, ':$1')}`);
  for (const { app, ops } of opsPorts()) {
    const scraped = (await shopClient(ops).request('GET', '/metrics')).text;
    const ids = [...scraped.matchAll(/"[^"]*[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[^"]*"/g)].map(String);
    expect([app, ids]).toEqual([app, []]);
    expect([app, scraped.split('\n').filter((line) => !line.startsWith('#')).length < 20_000]).toEqual([
      app,
      true,
    ]);
  }
});

test('the keys that verify access tokens are public and hold no private part', async () => {
  const { status, body, headers } = await shop.request<{ keys: Array<Record<string, string>> }>(
    'GET',
    '/.well-known/jwks.json',
  );
  expect(status).toBe(200);
  expect(headers.get('cache-control')).toMatch(/public/);
  expect(body.keys.length).toBeGreaterThan(0);
  for (const key of body.keys) {
    expect(key).toMatchObject({ kty: 'OKP', crv: 'Ed25519' });
    expect(key).not.toHaveProperty('d');
  }
});

test('security headers stand on every answer', async () => {
  for (const path of ['/v1/products', '/v1/me', '/v1/nothing', '/health']) {
    const { headers } = await shop.request('GET', path);
    expect([path, headers.get('x-content-type-options')]).toEqual([path, 'nosniff']);
    expect([path, headers.get('x-powered-by')]).toEqual([path, null]);
    expect([path, Boolean(headers.get('x-request-id'))]).toEqual([path, true]);
  }
});

test('every process of the system carries its mark, so that a leak check can find it', () => {
  const commands = systemPids(system.dataDirectory).map(({ command }) => command);
  for (const app of APPS)
    expect(commands.filter((each) => each.includes(`apps/${app}/main.js`))).toHaveLength(1);
  expect(commands.some((each) => each.includes('postgres'))).toBe(true);
});
