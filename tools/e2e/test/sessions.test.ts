import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { openEventStream, sharedSystem, shopClient, startGateway } from '../src';

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
let second: Awaited<ReturnType<typeof startGateway>> | undefined;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  second = await startGateway(system);
});
afterAll(() => second?.stop());

interface Tokens {
  accessToken: string;
  refreshToken: string;
  code?: string;
}
const refresh = (refreshToken: string, base = system.gateway) =>
  shopClient(base).request<Tokens>('POST', '/v1/sessions/refresh', { body: { refreshToken } });
const me = (token: string, base = system.gateway) => shopClient(base).request('GET', '/v1/me', { token });

/** Within the 5 seconds that the contract gives, at every gateway. */
const refusedEverywhere = (token: string) =>
  eventually(async () => {
    for (const base of [system.gateway, second!.url]) {
      const { status, body } = await me(token, base);
      expect([status, body['code']]).toEqual([401, 'UNAUTHENTICATED']);
    }
  }, 5_000);

test('a refresh rotates the pair, and repeating it at once returns the same successor', async () => {
  const { refreshToken } = await shop.customer();
  const first = await refresh(refreshToken);
  expect(first.status).toBe(200);
  expect(first.body.refreshToken).not.toBe(refreshToken);
  const repeated = await refresh(refreshToken, second!.url);
  expect(repeated.status).toBe(200);
  expect(repeated.body.refreshToken).toBe(first.body.refreshToken);
  expect((await me(repeated.body.accessToken)).status).toBe(200);
  expect((await refresh(first.body.refreshToken)).status).toBe(200);
});

test('a stolen refresh token that is used again ends the whole session, at every gateway within 5 s', async () => {
  const victim = await shop.customer();
  const first = await refresh(victim.refreshToken);
  const next = await refresh(first.body.refreshToken);
  expect((await me(next.body.accessToken, second!.url)).status).toBe(200);
  const stolen = await refresh(victim.refreshToken);
  expect([stolen.status, stolen.body.code]).toEqual([401, 'REFRESH_REUSED']);
  const successor = await refresh(next.body.refreshToken);
  expect([successor.status, successor.body.code]).toEqual([401, 'REFRESH_REVOKED']);
  await refusedEverywhere(next.body.accessToken);
  await shop.signIn(victim.email, victim.password);
});

test('a refresh token that nobody was given is unknown', async () => {
  const { status, body } = await refresh('A'.repeat(43));
  expect([status, body.code]).toEqual([401, 'REFRESH_INVALID']);
});

test('signing out here ends this session and no other', async () => {
  const { token, email, password } = await shop.customer();
  const elsewhere = await shop.signIn(email, password);
  expect((await shop.request('DELETE', '/v1/sessions/current', { token })).status).toBe(204);
  await refusedEverywhere(token);
  expect((await me(elsewhere.accessToken)).status).toBe(200);
});

test('signing out everywhere ends every session', async () => {
  const { token, email, password, refreshToken } = await shop.customer();
  const elsewhere = await shop.signIn(email, password);
  expect((await shop.request('DELETE', '/v1/sessions', { token })).status).toBe(204);
  await refusedEverywhere(token);
  await refusedEverywhere(elsewhere.accessToken);
  for (const each of [refreshToken, elsewhere.refreshToken])
    expect((await refresh(each)).body.code).toBe('REFRESH_REVOKED');
});

test('disabling a user ends the sessions, and the right password then answers USER_DISABLED, a wrong one does not', async () => {
  const { id, token, email, password, refreshToken } = await shop.customer();
  const disabled = await shop.request('PATCH', `/v1/admin/users/${id}`, {
    token: adminToken,
    body: { disabled: true },
  });
  expect([disabled.status, disabled.body['disabled']]).toEqual([200, true]);
  await refusedEverywhere(token);
  expect((await refresh(refreshToken)).status).toBe(401);
  const signIn = (word: string) =>
    shop.request<{ code: string }>('POST', '/v1/sessions', { body: { email, password: word } });
  const right = await signIn(password);
  expect([right.status, right.body.code]).toEqual([403, 'USER_DISABLED']);
  const wrong = await signIn('not-the-right-password');
  expect([wrong.status, wrong.body.code]).toEqual([401, 'CREDENTIALS_INVALID']);
});

test('a change of role ends the access tokens; the refresh token then gives one with the new role', async () => {
  const { id, token, refreshToken } = await shop.customer();
  const admins = (bearer: string) =>
    shop.request('GET', '/v1/admin/users?email=a%40b.example', { token: bearer });
  expect((await admins(token)).status).toBe(403);
  const changed = await shop.request('PATCH', `/v1/admin/users/${id}`, {
    token: adminToken,
    body: { role: 'admin' },
  });
  expect(changed.status).toBe(200);
  await refusedEverywhere(token);
  const { status, body } = await refresh(refreshToken);
  expect(status).toBe(200);
  expect((await admins(body.accessToken)).status).toBe(200);
});

test('an open event stream ends with the session', async () => {
  const product = await shop.product(adminToken);
  const { token } = await shop.customer();
  const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }], {
    payment: 'tok_down',
  });
  const stream = await openEventStream(`${system.gateway}/v1/orders/${order.id}/events`, {
    authorization: `Bearer ${token}`,
  });
  try {
    expect(stream.status).toBe(200);
    const ended = (async () => {
      for await (const event of stream.events) expect(event.event).toBe('order');
      return 'ended';
    })();
    expect((await shop.request('DELETE', '/v1/sessions/current', { token })).status).toBe(204);
    await expect(
      Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 6_000, 'still open').unref())]),
    ).resolves.toBe('ended');
  } finally {
    stream.close();
  }
});

test('wrong passwords are throttled for one account, over all gateways, with Retry-After', async () => {
  const { email, password } = await shop.customer();
  const bases = [system.gateway, second!.url];
  const signIn = (index: number, word: string) =>
    shopClient(bases[index % 2]!).request<{ code: string }>('POST', '/v1/sessions', {
      body: { email, password: word },
    });
  for (let count = 0; count < 10; count += 1)
    expect((await signIn(count, 'not-the-right-password')).body.code).toBe('CREDENTIALS_INVALID');
  for (const word of ['not-the-right-password', password]) {
    const { status, body, headers } = await signIn(1, word);
    expect([status, body.code]).toEqual([429, 'SIGN_IN_THROTTLED']);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  }
  await shop.customer(); // others still come in from the same address
});

test('a stranger who guesses from elsewhere does not lock the owner out', async () => {
  const { email, password } = await shop.customer();
  const gateway = await startGateway(system, { TRUSTED_PROXIES: '127.0.0.0/8' });
  const signIn = (address: string, word: string) =>
    shopClient(gateway.url).request<{ code?: string }>('POST', '/v1/sessions', {
      headers: { 'x-forwarded-for': address },
      body: { email, password: word },
    });
  try {
    for (let count = 0; count < 11; count += 1) await signIn('198.51.100.7', 'not-the-right-password');
    expect((await signIn('198.51.100.7', password)).body.code).toBe('SIGN_IN_THROTTLED');
    expect((await signIn('203.0.113.9', password)).status).toBe(201);
  } finally {
    await gateway.stop();
  }
});

test('another user cannot see, follow or cancel an order: it is not found', async () => {
  const product = await shop.product(adminToken);
  const [owner, other] = [await shop.customer(), await shop.customer()];
  const { body: order } = await shop.checkout(owner.token, [{ productId: product.id, quantity: 1 }]);
  await shop.settled(owner.token, order.id);
  const attempts = [
    shop.request('GET', `/v1/orders/${order.id}`, { token: other.token }),
    shop.request('GET', `/v1/orders/${order.id}/events`, { token: other.token }),
    shop.request('POST', `/v1/orders/${order.id}/cancel`, {
      token: other.token,
      headers: { 'idempotency-key': randomUUID() },
    }),
  ];
  for (const { status, body } of await Promise.all(attempts))
    expect([status, body['code']]).toEqual([404, 'NOT_FOUND']);
  const { body } = await shop.request<{ items: unknown[] }>('GET', '/v1/orders', { token: other.token });
  expect(body.items).toEqual([]);
});

test('an e-mail belongs to one account, compared without case', async () => {
  const email = `${randomUUID()}@shop.example`;
  const register = (address: string) =>
    shop.request<{ code?: string }>('POST', '/v1/users', {
      body: { email: address, password: 'a-long-enough-password', name: 'Sam' },
    });
  const answers = await Promise.all([
    register(email),
    register(email.toUpperCase()),
    register(email.replace('shop', 'Shop')),
  ]);
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
  for (const { status, body } of answers) if (status === 409) expect(body.code).toBe('EMAIL_TAKEN');
});

test('identity headers from outside count for nothing', async () => {
  const { id } = await shop.customer();
  const { status } = await shop.request('GET', '/v1/me', {
    headers: { 'x-user-id': id, 'x-user-role': 'admin', 'x-session-id': id, 'x-principal': id },
  });
  expect(status).toBe(401);
});
