import { uuidv7 } from '@headroom/resilience';
import { newEmail, createTestShards, eventsOf, PASSWORD, startUserService, type TestShards } from './harness';

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
let admin: string;
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({ shards });
  admin = await service.admin();
});
afterAll(async () => {
  await service.close();
  await shards.drop();
});

it('a new user is a customer of the free tier, with its event, and can sign in whatever the case of the e-mail', async () => {
  const email = `Ada.${newEmail()}`;
  const user = await service.client.register({ email, password: PASSWORD, name: 'Ada' });
  expect(user).toMatchObject({
    email,
    name: 'Ada',
    role: 'customer',
    tier: 'free',
    disabled: false,
    version: 1n,
  });
  const { accessToken, user: signedIn } = await service.client.signIn({
    email: email.toUpperCase(),
    password: PASSWORD,
    clientAddress: '',
  });
  expect(signedIn).toEqual(user);
  expect(await service.as(accessToken, () => service.client.getMe({}))).toEqual(user);
  const [event, ...more] = await eventsOf(shards, user.id);
  expect(more).toEqual([]);
  expect(event).toMatchObject({
    type: 'headroom.user.registered',
    subject: `user/${user.id}`,
    aggregateversion: 1,
    data: { id: user.id, email, name: 'Ada', role: 'customer', tier: 'free', disabled: false },
  });
  expect(JSON.stringify(event)).not.toMatch(/password|argon/);
});

it('an invalid registration names every member that is wrong; a common password is refused', async () => {
  const register = (change: object) =>
    service.client.register({ email: newEmail(), password: PASSWORD, name: 'Ada', ...change });
  await expect(register({ email: 'nobody', password: 'short', name: '' })).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    errors: [{ path: 'email' }, { path: 'password' }, { path: 'name' }],
  });
  for (const bad of [
    { email: `${'a'.repeat(64)}@${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)}` },
    { email: 'a\0b@shop.example' },
    { password: 'x'.repeat(129) },
    { name: 'x'.repeat(101) },
    { name: 'a\0b' },
  ])
    await expect(register(bad)).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  await expect(register({ password: 'Password123' })).rejects.toMatchObject({ code: 'PASSWORD_TOO_COMMON' });
});

it('a profile changes with its version; a stale version is refused; the same name changes nothing', async () => {
  const { accessToken, user } = await service.customer();
  const rename = (name: string, ifVersion?: bigint) =>
    service.as(accessToken, () => service.client.updateMe({ name, ...(ifVersion ? { ifVersion } : {}) }));
  expect(await rename('Grace', 1n)).toMatchObject({ name: 'Grace', version: 2n });
  await expect(rename('Joan', 1n)).rejects.toMatchObject({ code: 'VERSION_MISMATCH' });
  expect(await rename('Grace', 2n)).toMatchObject({ version: 2n });
  await expect(rename(' ')).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  expect((await eventsOf(shards, user.id)).map((event) => [event.type, event.aggregateversion])).toEqual([
    ['headroom.user.registered', 1],
    ['headroom.user.updated', 2],
  ]);
});

it('changes of one user at once become one version after another, each with its event', async () => {
  const { accessToken, user } = await service.customer();
  await Promise.all(
    Array.from({ length: 8 }, (_, n) =>
      service.as(accessToken, () => service.client.updateMe({ name: `Name ${n}` })),
    ),
  );
  const events = await eventsOf(shards, user.id);
  expect(events.map((event) => event.aggregateversion)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const last = events.at(-1)!.data['name'];
  expect(await service.as(accessToken, () => service.client.getMe({}))).toMatchObject({
    name: last,
    version: 9n,
  });
});

it('an admin finds and changes users; nobody else does', async () => {
  const { accessToken, user, email } = await service.customer();
  const { client } = service;
  const calls: Array<() => Promise<unknown>> = [
    () => client.getUser({ userId: user.id }),
    () => client.findUserByEmail({ email }),
    () => client.updateUser({ userId: user.id, tier: 'premium' }),
  ];
  for (const call of calls) {
    await expect(service.as(accessToken, call)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(service.as(undefined, call)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  }
  const asAdmin = <T>(call: () => Promise<T>) => service.as(admin, call);
  expect(await asAdmin(() => client.getUser({ userId: user.id }))).toEqual(user);
  expect(await asAdmin(() => client.findUserByEmail({ email: email.toUpperCase() }))).toEqual({ user });
  for (const unknown of [newEmail(), 'no e-mail'])
    expect((await asAdmin(() => client.findUserByEmail({ email: unknown }))).user).toBeUndefined();
  expect(
    await asAdmin(() => client.updateUser({ userId: user.id, tier: 'premium', role: 'admin' })),
  ).toMatchObject({ tier: 'premium', role: 'admin', version: 2n });
  expect((await eventsOf(shards, user.id)).at(-1)).toMatchObject({
    type: 'headroom.user.updated',
    aggregateversion: 2,
    data: { tier: 'premium', role: 'admin' },
  });
  await expect(
    asAdmin(() => client.updateUser({ userId: user.id, tier: 'gold', role: 'root' })),
  ).rejects.toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path: 'role' }, { path: 'tier' }] });
  for (const userId of [uuidv7(), 'nonsense', ''])
    await expect(asAdmin(() => client.getUser({ userId }))).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

it('the admin is made once, however many replicas start at once, and again is left alone', async () => {
  const email = newEmail();
  const replicas = await Promise.all([1, 2, 3].map(() => startUserService({ shards })));
  await Promise.all(replicas.map(({ accounts }) => accounts.ensureAdmin({ email, password: PASSWORD })));
  await service.accounts.ensureAdmin({ email, password: 'another password' });
  const tokens = await service.client.signIn({ email, password: PASSWORD, clientAddress: '' });
  expect(tokens.user).toMatchObject({ role: 'admin', version: 1n });
  await Promise.all(replicas.map((replica) => replica.close()));
});

it("a customer who has the admin's e-mail becomes the admin with the operator's password, and loses the sessions", async () => {
  const { email, refreshToken } = await service.customer();
  await service.accounts.ensureAdmin({ email, password: 'the password of the operator' });
  await expect(service.client.refresh({ refreshToken })).rejects.toMatchObject({ code: 'REFRESH_REVOKED' });
  const signIn = (password: string) => service.client.signIn({ email, password, clientAddress: '' });
  await expect(signIn(PASSWORD)).rejects.toMatchObject({ code: 'CREDENTIALS_INVALID' });
  expect((await signIn('the password of the operator')).user).toMatchObject({ role: 'admin' });
});
