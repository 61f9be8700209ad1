import {
  createMemoryLimiter,
  parseRateLimits,
  type AlgorithmName,
  type RateLimits,
} from '@headroom/ratelimit';
import { ManualClock } from '@headroom/testing';
import { bearer, IDS, startGateway, type TestGateway } from '../test/fakes';
import type { AppOptions } from './deps';
import { createLimits } from './limits';

const open: TestGateway[] = [];
afterEach(async () => {
  for (const gateway of open.splice(0)) await gateway.close();
});

async function limited(
  text: string,
  {
    algorithm = 'token-bucket' as AlgorithmName,
    ...over
  }: Partial<AppOptions> & { algorithm?: AlgorithmName } = {},
) {
  const clock = new ManualClock();
  const limits = parseRateLimits(text) as RateLimits;
  const gateway = await startGateway({
    clock,
    limits:
      limits === 'off'
        ? undefined
        : createLimits({ limits, limiter: createMemoryLimiter({ algorithm, clock }) }),
    ...over,
  });
  open.push(gateway);
  const get = (url: string, headers: Record<string, string> = {}, remoteAddress = '192.0.2.1') =>
    gateway.app.inject({ method: 'GET', url, headers, remoteAddress });
  return { ...gateway, clock, get };
}

it('tells every caller the limit, what is left and when it is whole again', async () => {
  const { get } = await limited('anonymous=600/min');
  expect((await get('/v1/products')).headers).toMatchObject({
    'ratelimit-policy': '"default";q=600;w=60',
    ratelimit: '"default";r=599;t=1',
    'x-ratelimit-limit': '600',
    'x-ratelimit-remaining': '599',
    'x-ratelimit-reset': '1',
  });
});

it.each(['token-bucket', 'sliding-window', 'fixed-window'] as const)(
  'refuses what goes past the limit, and lets in who waited as long as it said (%s)',
  async (algorithm) => {
    const { get, clock } = await limited('anonymous=2/min', { algorithm });
    await get('/v1/products');
    await get('/v1/products');
    const refused = await get('/v1/products');
    expect([refused.statusCode, refused.json()]).toMatchObject([
      429,
      { code: 'RATE_LIMITED', detail: 'at most 2 requests in 60 s' },
    ]);
    expect(refused.headers).toMatchObject({ 'x-ratelimit-remaining': '0' });
    clock.advance(Number(refused.headers['retry-after']) * 1_000);
    expect((await get('/v1/products')).statusCode).toBe(200);
  },
);

it('counts users by themselves, whatever their address, and by their tier', async () => {
  const { get } = await limited('anonymous=1/min,free=2/min');
  const user = bearer('customer');
  expect((await get('/v1/me', user)).headers['x-ratelimit-limit']).toBe('2');
  expect((await get('/v1/me', user, '192.0.2.2')).statusCode).toBe(200);
  expect((await get('/v1/me', user, '192.0.2.3')).statusCode).toBe(429);
  expect((await get('/v1/products')).statusCode).toBe(200);
  expect((await get('/v1/products')).statusCode).toBe(429);
  expect((await get('/v1/products', {}, '192.0.2.2')).statusCode).toBe(200);
});

it('counts a token that does not hold as its address, and refuses it only then for what it is', async () => {
  const { get } = await limited('anonymous=1/min');
  const forged = { authorization: 'Bearer forged' };
  expect((await get('/v1/me', forged)).statusCode).toBe(401);
  expect((await get('/v1/me', forged)).statusCode).toBe(429);
});

it('believes no X-Forwarded-For but that of a trusted proxy', async () => {
  const from = (address: string) => ({ 'x-forwarded-for': address });
  const direct = await limited('anonymous=1/min');
  expect((await direct.get('/v1/products', from('198.51.100.1'))).statusCode).toBe(200);
  expect((await direct.get('/v1/products', from('198.51.100.2'))).statusCode).toBe(429);

  const behind = await limited('anonymous=1/min', { trustedProxies: ['192.0.2.0/24'] });
  expect((await behind.get('/v1/products', from('198.51.100.1'))).statusCode).toBe(200);
  expect((await behind.get('/v1/products', from('198.51.100.2'))).statusCode).toBe(200);
  expect((await behind.get('/v1/products', from('198.51.100.1'))).statusCode).toBe(429);
  // What the client itself puts before the proxy's entry counts for nothing.
  expect((await behind.get('/v1/products', from('203.0.113.9, 198.51.100.1'))).statusCode).toBe(429);
});

it('limits before it looks at sign-in, body or key, but after route and method', async () => {
  const { app, get } = await limited('anonymous=1/min');
  await get('/v1/products');
  expect((await get('/v1/orders')).statusCode).toBe(429);
  const post = await app.inject({
    method: 'POST',
    url: '/v1/orders',
    payload: '{',
    headers: { 'content-type': 'text/plain' },
    remoteAddress: '192.0.2.1',
  });
  expect(post.statusCode).toBe(429);
  expect((await get('/v1/nothing')).statusCode).toBe(404);
  expect(
    (await app.inject({ method: 'DELETE', url: '/v1/products', remoteAddress: '192.0.2.1' })).statusCode,
  ).toBe(405);
});

it('never limits health, keys and the document of the API', async () => {
  const { get } = await limited('anonymous=1/min');
  await get('/v1/products');
  for (const path of ['/health', '/.well-known/jwks.json', '/openapi.json']) {
    const { statusCode, headers } = await get(path);
    expect([path, statusCode, headers['ratelimit']]).toEqual([path, 200, undefined]);
  }
});

it('sends no such headers while limits are off', async () => {
  const { get } = await limited('off');
  const { headers } = await get(`/v1/products/${IDS.product}`);
  expect(Object.keys(headers).filter((name) => /ratelimit/.test(name))).toEqual([]);
});
