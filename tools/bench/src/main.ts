import { checkSystem, checkUnlimited, runningPorts, UsageError } from '@headroom/shop-api';
import autocannon from 'autocannon';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/**
 * `npm run bench`: product list, product detail and checkout against the running system, one after the other, closed loop.
 * Figures hold for the machine that printed them: compare within one run.
 */
const { values: options } = parseArgs({
  options: {
    gateway: { type: 'string' },
    data: { type: 'string', default: '.data' },
    requests: { type: 'string', default: '10000' },
    concurrency: { type: 'string', default: '32' },
    customers: { type: 'string', default: '8' },
    json: { type: 'boolean', default: false },
  },
});
const gateway = options.gateway ?? `http://127.0.0.1:${runningPorts(options.data).gateway}`;
const amount = Number(options.requests);
const connections = Number(options.concurrency);
const say = (text: string) => void process.stderr.write(`${text}\n`);

interface Row {
  name: string;
  requests: number;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  failed: number;
}

async function call<T>(method: string, path: string, body?: unknown, token?: string): Promise<T> {
  const response = await fetch(`${gateway}${path}`, {
    method,
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

async function measure(name: string, requests: autocannon.Request[], expected: number): Promise<Row> {
  say(`${name}: ${amount} requests, ${connections} at a time`);
  let failed = 0;
  let answered = 0;
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const run = autocannon({ url: gateway, amount, connections, requests, timeout: 30 }, (error, value) =>
      error ? reject(error) : resolve(value),
    );
    run.on('response', (_client, statusCode) => {
      answered += 1;
      if (statusCode !== expected) failed += 1;
      if (answered % Math.ceil(amount / 10) === 0) say(`  ${Math.round((answered / amount) * 100)} %`);
    });
  });
  return {
    name,
    requests: answered,
    requestsPerSecond: Math.round(answered / result.duration),
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    failed: failed + result.errors,
  };
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = error instanceof UsageError ? error.exitCode : 1;
});

async function main(): Promise<void> {
  await checkSystem({ gateway });
  await checkUnlimited(gateway);
  const admin = JSON.parse(readFileSync(`${options.data}/admin.json`, 'utf8')) as {
    email: string;
    password: string;
  };
  const { accessToken: adminToken } = await call<{ accessToken: string }>('POST', '/v1/sessions', admin);
  const { items } = await call<{ items: Array<{ id: string }> }>('GET', '/v1/products?limit=100');
  if (items.length === 0) throw new Error('there are no products to ask for: npm start makes some');

  // Checkouts go to products of their own, with stock for all, by several customers.
  const products: string[] = [];
  for (let n = 0; n < 20; n += 1) {
    const made = await call<{ id: string }>(
      'POST',
      '/v1/admin/products',
      {
        sku: `BENCH-${randomUUID()}`,
        name: `Bench product ${n}`,
        description: 'Made for a measurement.',
        category: 'bench',
        price: { amountMinor: 1_000, currency: 'EUR' },
        onHand: amount * 2,
      },
      adminToken,
    );
    products.push(made.id);
  }
  const tokens: string[] = [];
  for (let n = 0; n < Number(options.customers); n += 1) {
    const account = { email: `bench-${randomUUID()}@bench.example`, password: randomUUID() };
    await call('POST', '/v1/users', { ...account, name: 'Bench Customer' });
    tokens.push((await call<{ accessToken: string }>('POST', '/v1/sessions', account)).accessToken);
  }
  let turn = 0;
  const checkout: autocannon.Request = {
    method: 'POST',
    path: '/v1/orders',
    setupRequest(request) {
      turn += 1;
      return {
        ...request,
        headers: {
          'content-type': 'application/json',
          authorization: `Bearer ${tokens[turn % tokens.length]}`,
          'idempotency-key': randomUUID(),
        },
        body: JSON.stringify({
          items: [{ productId: products[turn % products.length], quantity: 1 }],
          shippingAddress: {
            name: 'Bench Customer',
            line1: '1 Long Street',
            postalCode: '10115',
            city: 'Berlin',
            country: 'DE',
          },
          payment: { method: 'card', token: 'tok_ok' },
        }),
      };
    },
  };

  const rows = [
    await measure('product list', [{ method: 'GET', path: '/v1/products?limit=20' }], 200),
    await measure('product search', [{ method: 'GET', path: '/v1/products?limit=20&q=oak' }], 200),
    await measure(
      'product detail',
      items.map(({ id }) => ({ method: 'GET' as const, path: `/v1/products/${id}` })),
      200,
    ),
    await measure('checkout', [checkout], 201),
  ];
  for (const id of products) await call('DELETE', `/v1/admin/products/${id}`, undefined, adminToken);

  if (options.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else {
    console.log('\n                  requests  requests/s   p50 ms   p99 ms   failed');
    for (const row of rows)
      console.log(
        `${row.name.padEnd(16)} ${String(row.requests).padStart(9)} ${String(row.requestsPerSecond).padStart(11)} ${row.p50Ms.toFixed(0).padStart(8)} ${row.p99Ms.toFixed(0).padStart(8)} ${String(row.failed).padStart(8)}`,
      );
  }
  process.exitCode = rows.every((row) => row.failed === 0) ? 0 : 1;
}
