import { eventually } from '@headroom/testing';
import { createPublicKey, randomBytes, randomUUID, verify } from 'node:crypto';
import { range, sharedSystem, shopClient, startGateway, type components } from '../src';

type User = components['schemas']['AdminUser'];
type Mail = components['schemas']['Mail'];
interface Listed<T> {
  items: T[];
  page: { nextCursor: string | null; total?: number; totalIsEstimate?: boolean };
}

const system = sharedSystem();
const shop = shopClient(system.gateway);
const PASSWORD = 'a-long-enough-password';
let adminToken: string;
let second: Awaited<ReturnType<typeof startGateway>> | undefined;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
  second = await startGateway(system);
});
afterAll(() => second?.stop());

const signIn = (email: string, password: string) =>
  shop.request<{ accessToken: string; code?: string; detail?: string }>('POST', '/v1/sessions', {
    body: { email, password },
  });
const askReset = (email: string) => shop.request('POST', '/v1/password-resets', { body: { email } });
const confirm = (token: string, password: string) =>
  shop.request<{ code: string }>('POST', '/v1/password-resets/confirm', { body: { token, password } });
const patchUser = (id: string, body: object) =>
  shop.request<User>('PATCH', `/v1/admin/users/${id}`, { token: adminToken, body });
const mailsTo = async (email: string) =>
  (
    await shop.request<Listed<Mail>>('GET', `/v1/admin/mails?to=${encodeURIComponent(email)}`, {
      token: adminToken,
    })
  ).body.items;
const mailTo = (email: string, kind: string) =>
  eventually(async () => {
    const found = (await mailsTo(email)).filter((mail) => mail.kind === kind);
    if (found.length === 0) throw new Error(`no mail ${kind} to ${email}`);
    return found;
  }, 30_000);
const claimsOf = (accessToken: string) =>
  accessToken
    .split('.')
    .slice(0, 2)
    .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>);

test('a forgotten password is set anew with the token of the mail, once, and every session ends within 5 s', async () => {
  const { email, password, token, refreshToken } = await shop.customer();
  const unknown = await askReset(`${randomUUID()}@shop.example`);
  const known = await askReset(email.toUpperCase());
  expect([unknown.status, unknown.text]).toEqual([202, known.text]);
  expect(known.status).toBe(202);

  const [mail] = await mailTo(email, 'password-reset');
  expect(mail!.to).toBe(email);
  const alone = mail!.text.split('\n').filter((line) => /^\S{20,}$/.test(line));
  expect(alone).toHaveLength(1);
  const reset = alone[0]!;

  const common = await confirm(reset, 'password123');
  expect([common.status, common.body.code]).toEqual([400, 'PASSWORD_TOO_COMMON']);
  expect((await confirm(reset, 'short')).body.code).toBe('VALIDATION_FAILED');
  const racers = await Promise.all(range(3).map(() => confirm(reset, 'a-new-long-password')));
  expect(racers.map(({ status }) => status).sort()).toEqual([204, 400, 400]);
  for (const { status, body } of [
    ...racers.filter((each) => each.status === 400),
    await confirm(reset, PASSWORD),
  ])
    expect([status, body.code]).toEqual([400, 'RESET_TOKEN_INVALID']);

  await eventually(async () => {
    for (const base of [system.gateway, second!.url])
      expect((await shopClient(base).request('GET', '/v1/me', { token })).status).toBe(401);
  }, 5_000);
  const refreshed = await shop.request('POST', '/v1/sessions/refresh', { body: { refreshToken } });
  expect([refreshed.status, refreshed.body['code']]).toEqual([401, 'REFRESH_REVOKED']);
  expect((await signIn(email, password)).body.code).toBe('CREDENTIALS_INVALID');
  expect((await signIn(email, 'a-new-long-password')).status).toBe(201);
});

test('who registers is welcomed once, and who has paid gets the order confirmed once', async () => {
  const product = await shop.product(adminToken);
  const { email, token } = await shop.customer();
  const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 2 }]);
  await shop.settled(token, order.id);
  const [confirmation] = await mailTo(email, 'order-confirmation');
  expect(confirmation!.text).toContain(order.id);
  await mailTo(email, 'welcome');
  const kinds = (await mailsTo(email)).map((mail) => mail.kind);
  expect(kinds.sort()).toEqual(['order-confirmation', 'welcome']);
});

test('kept mails are listed newest first, over pages, for one address without regard to case', async () => {
  const { email } = await shop.customer();
  await mailTo(email, 'welcome');
  await askReset(email);
  await mailTo(email, 'password-reset');
  const all = await shop.list<Mail>('/v1/admin/mails', adminToken);
  expect(all.length).toBeLessThanOrEqual(1_000);
  expect(all.map(({ id }) => id)).toEqual(
    all
      .map(({ id }) => id)
      .sort()
      .reverse(),
  );
  expect(all.filter(({ to }) => to === email).map(({ kind }) => kind)).toEqual(['password-reset', 'welcome']);
  expect((await mailsTo(email.toUpperCase())).map(({ kind }) => kind)).toEqual(['password-reset', 'welcome']);
});

test('an admin lists users newest first, over all their shards, and finds one by e-mail', async () => {
  const registered: string[] = [];
  for (const _ of range(7)) registered.unshift((await shop.customer()).id);
  const listed: string[] = [];
  for (let cursor = ''; listed.length < 7;) {
    const { status, body } = await shop.request<Listed<User>>(
      'GET',
      `/v1/admin/users?limit=3&include=total${cursor}`,
      { token: adminToken },
    );
    expect(status).toBe(200);
    expect(body.page.total).toBeGreaterThanOrEqual(8);
    listed.push(...body.items.map(({ id }) => id));
    cursor = `&cursor=${encodeURIComponent(body.page.nextCursor!)}`;
  }
  expect(listed.slice(0, 7)).toEqual(registered);
  const { email, id } = await shop.customer();
  const { body } = await shop.request<Listed<User>>(
    'GET',
    `/v1/admin/users?email=${encodeURIComponent(email.toUpperCase())}`,
    { token: adminToken },
  );
  expect(body.items).toEqual([expect.objectContaining({ id, email, disabled: false, tier: 'free' })]);
});

test('an access token is an at+jwt of ten minutes that the published keys verify; its tier follows with the next refresh', async () => {
  const { id, token, refreshToken } = await shop.customer();
  const [header, claims] = claimsOf(token);
  expect(header).toMatchObject({ typ: 'at+jwt', alg: 'EdDSA' });
  expect(claims).toMatchObject({
    iss: expect.any(String) as string,
    aud: 'headroom-api',
    sub: id,
    sid: expect.any(String) as string,
    role: 'customer',
    tier: 'free',
  });
  expect(Number(claims!['exp']) - Number(claims!['iat'])).toBe(600);
  const { body } = await shop.request<{ keys: Array<Record<string, string>> }>(
    'GET',
    '/.well-known/jwks.json',
  );
  const key = body.keys.find(({ kid }) => kid === header!['kid'])!;
  const [signed, signature] = [token.slice(0, token.lastIndexOf('.')), token.split('.')[2]!];
  expect(
    verify(
      null,
      Buffer.from(signed),
      createPublicKey({ key, format: 'jwk' }),
      Buffer.from(signature, 'base64url'),
    ),
  ).toBe(true);

  expect((await patchUser(id, { tier: 'premium' })).body).toMatchObject({ id, tier: 'premium' });
  expect((await shop.request('GET', '/v1/me', { token })).status).toBe(200);
  const refreshed = await shop.request<{ accessToken: string }>('POST', '/v1/sessions/refresh', {
    body: { refreshToken },
  });
  expect(claimsOf(refreshed.body.accessToken)[1]).toMatchObject({ tier: 'premium' });
});

test('an unknown address and a wrong password are told the same', async () => {
  const { email } = await shop.customer();
  const [unknown, wrong] = await Promise.all([
    signIn(`${randomUUID()}@shop.example`, 'not-the-right-password'),
    signIn(email, 'not-the-right-password'),
  ]);
  const told = ({ status, body }: typeof unknown) => [status, body.code, body.detail];
  expect(told(unknown)).toEqual(told(wrong));
});

test('the own name changes under the ETag only, and nothing else does', async () => {
  const { token } = await shop.customer();
  const read = await shop.request('GET', '/v1/me', { token });
  const etag = read.headers.get('etag')!;
  expect(etag).toBe(`"${String(read.body['version'])}"`);
  const patch = (body: object, headers: Record<string, string> = { 'if-match': etag }) =>
    shop.request('PATCH', '/v1/me', { token, body, headers });
  expect((await patch({ name: 'Ada' }, {})).status).toBe(428);
  expect((await patch({ role: 'admin' })).text).toContain('role');
  expect((await patch({ email: 'a@b.example' })).status).toBe(400);
  const changed = await patch({ name: 'Ada' });
  expect([changed.status, changed.body['name'], changed.body['role']]).toEqual([200, 'Ada', 'customer']);
  expect((await patch({ name: 'Too late' })).status).toBe(412);
});

test('a password has 8 to 128 characters and is none of the commonest', async () => {
  const register = async (password: string) => {
    const { status, body } = await shop.request('POST', '/v1/users', {
      body: { email: `${randomUUID()}@shop.example`, password, name: 'Sam' },
    });
    return [status, body['code']];
  };
  expect(await register('x7.q2w9')).toEqual([400, 'VALIDATION_FAILED']);
  expect(await register('x7.q2w9z')).toEqual([201, undefined]);
  const longest = randomBytes(96).toString('base64');
  expect(await register(longest)).toEqual([201, undefined]);
  expect(await register(`${longest}x`)).toEqual([400, 'VALIDATION_FAILED']);
  expect(await register('12345678')).toEqual([400, 'PASSWORD_TOO_COMMON']);
});
