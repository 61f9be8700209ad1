import { sql } from '@headroom/postgres';
import { decodeJwt } from 'jose';
import { newEmail, createTestShards, PASSWORD, pemKey, startUserService, type TestShards } from './harness';

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
let replica: Awaited<ReturnType<typeof startUserService>>;
let admin: string;
beforeAll(async () => {
  shards = await createTestShards();
  const keys = pemKey();
  service = await startUserService({ shards, keys });
  replica = await startUserService({ shards, keys, clock: service.clock });
  admin = await service.admin();
});
afterAll(async () => {
  await replica.close();
  await service.close();
  await shards.drop();
});

const refresh = (refreshToken: string, by = service) => by.client.refresh({ refreshToken });
const refused = (promise: Promise<unknown>, code: string) => expect(promise).rejects.toMatchObject({ code });
const sidOf = (accessToken: string) => String(decodeJwt(accessToken)['sid']);
const isActive = async (accessToken: string) => {
  const { sub } = decodeJwt(accessToken);
  return (await service.client.checkSession({ sessionId: sidOf(accessToken), userId: sub! })).active;
};
const change = (userId: string, fields: { role?: string; tier?: string; disabled?: boolean }) =>
  service.as(admin, () => service.client.updateUser({ userId, ...fields }));

it('an access token says for whom and in which role and tier it speaks, and expires after ten minutes', async () => {
  const { accessToken, user, expiresInSeconds } = await service.customer();
  expect(expiresInSeconds).toBe(600);
  const claims = decodeJwt(accessToken);
  expect(claims).toMatchObject({ sub: user!.id, aud: 'headroom-api', role: 'customer', tier: 'free' });
  expect(claims.exp! - claims.iat!).toBe(600);
  await expect(service.verifyToken(accessToken)).resolves.toMatchObject({
    userId: user!.id,
    sessionId: sidOf(accessToken),
  });
});

it('a wrong password and an unknown e-mail are told apart by nothing', async () => {
  const { email } = await service.customer();
  const signIn = (address: string) =>
    service.client
      .signIn({ email: address, password: 'not the right one', clientAddress: '' })
      .catch((error: unknown) => error);
  const [wrong, unknown] = [await signIn(email), await signIn(newEmail())];
  expect(wrong).toMatchObject({ code: 'CREDENTIALS_INVALID' });
  const shown = (error: unknown) => {
    const { kind, code, detail, extra } = error as Record<string, unknown>;
    return { kind, code, detail, extra };
  };
  expect(shown(unknown)).toEqual(shown(wrong));
});

it('refreshing rotates the pair; an answer that was lost is given again for 10 s, by any replica', async () => {
  const { refreshToken, accessToken } = await service.customer();
  const first = await refresh(refreshToken);
  expect(first.refreshToken).not.toBe(refreshToken);
  service.clock.advance(10_000);
  const again = await refresh(refreshToken, replica);
  expect(again.refreshToken).toBe(first.refreshToken);
  expect(again.accessToken).not.toBe(first.accessToken);
  for (const token of [first.accessToken, again.accessToken]) expect(sidOf(token)).toBe(sidOf(accessToken));
  await refresh(first.refreshToken);
});

it('one token refreshed many times at once has one successor', async () => {
  const { refreshToken } = await service.customer();
  const pairs = await Promise.all(
    Array.from({ length: 10 }, (_, n) => refresh(refreshToken, n % 2 ? service : replica)),
  );
  expect(new Set(pairs.map((pair) => pair.refreshToken)).size).toBe(1);
});

it('a token used again after the grace ends the session: itself is REUSED, all others of it REVOKED', async () => {
  const { refreshToken, accessToken, email } = await service.customer();
  const other = await service.client.signIn({ email, password: PASSWORD, clientAddress: '' });
  const first = await refresh(refreshToken);
  service.clock.advance(10_001);
  await refused(refresh(refreshToken), 'REFRESH_REUSED');
  await refused(refresh(first.refreshToken), 'REFRESH_REVOKED');
  await refused(refresh(refreshToken), 'REFRESH_REUSED');
  expect(await isActive(accessToken)).toBe(false);
  expect(await isActive(other.accessToken)).toBe(true);
  await refresh(other.refreshToken);
});

it('a token whose successor has been used is REUSED even within the grace', async () => {
  const { refreshToken } = await service.customer();
  const first = await refresh(refreshToken);
  const second = await refresh(first.refreshToken);
  await refused(refresh(refreshToken), 'REFRESH_REUSED');
  for (const token of [first.refreshToken, second.refreshToken])
    await refused(refresh(token), 'REFRESH_REVOKED');
});

it('a refresh token lives 30 days from its issue; what nobody was given is unknown', async () => {
  const [old, renewed] = [await service.customer(), await service.customer()];
  service.clock.advance(30 * 24 * 3_600_000 - 1_000);
  const next = await refresh(renewed.refreshToken);
  service.clock.advance(1_000);
  await refused(refresh(old.refreshToken), 'REFRESH_INVALID');
  await refresh(next.refreshToken);
  for (const token of ['', 'A'.repeat(43), 'A'.repeat(44), '~', `${next.refreshToken}=`])
    await refused(refresh(token), 'REFRESH_INVALID');
  admin = await service.admin();
});

it('refresh tokens are not kept, only their hashes', async () => {
  const { refreshToken } = await service.customer();
  const { refreshToken: successor } = await refresh(refreshToken);
  for (const { db } of shards.all) {
    const kept = await db.rows<{ text: string }>(sql('test.tokens')`
      select t::text || encode(hash, 'base64') || encode(hash, 'escape') as text from refresh_tokens t`);
    for (const { text } of kept)
      for (const token of [refreshToken, successor]) expect(text).not.toContain(token);
  }
});

it('signing out ends this session or all; doing so again changes nothing', async () => {
  const { accessToken, refreshToken, email } = await service.customer();
  const signIn = () => service.client.signIn({ email, password: PASSWORD, clientAddress: '' });
  const [second, third] = [await signIn(), await signIn()];
  const signOut = (token: string, everywhere: boolean) =>
    service.as(token, () => service.client.signOut({ everywhere }));
  await signOut(accessToken, false);
  await signOut(accessToken, false);
  await refused(refresh(refreshToken), 'REFRESH_REVOKED');
  expect([await isActive(accessToken), await isActive(second.accessToken)]).toEqual([false, true]);
  await signOut(second.accessToken, true);
  for (const each of [second, third]) {
    expect(await isActive(each.accessToken)).toBe(false);
    await refused(refresh(each.refreshToken), 'REFRESH_REVOKED');
  }
  await expect(
    service.as(undefined, () => service.client.signOut({ everywhere: false })),
  ).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
  });
});

it('disabling ends every session; then the right password is USER_DISABLED, a wrong one CREDENTIALS_INVALID', async () => {
  const { accessToken, refreshToken, user, email } = await service.customer();
  expect(await change(user.id, { disabled: true })).toMatchObject({ disabled: true });
  expect(await isActive(accessToken)).toBe(false);
  await refused(refresh(refreshToken), 'REFRESH_REVOKED');
  const signIn = (password: string) => service.client.signIn({ email, password, clientAddress: '' });
  await refused(signIn(PASSWORD), 'USER_DISABLED');
  await refused(signIn('not the right one'), 'CREDENTIALS_INVALID');
  await change(user.id, { disabled: false });
  await refused(refresh(refreshToken), 'REFRESH_REVOKED');
  await signIn(PASSWORD);
});

it('a change of role ends the access tokens, and the refresh token gives one with the new role', async () => {
  const { accessToken, refreshToken, user } = await service.customer();
  await change(user.id, { role: 'admin' });
  expect(await isActive(accessToken)).toBe(false);
  const next = await refresh(refreshToken);
  expect(await service.verifyToken(next.accessToken)).toMatchObject({ role: 'admin' });
  expect(await isActive(next.accessToken)).toBe(true);
  expect(await isActive(accessToken)).toBe(false);
});

it('a change of tier leaves the access tokens alone and holds from the next refresh', async () => {
  const { accessToken, refreshToken, user } = await service.customer();
  await change(user.id, { tier: 'premium' });
  expect(await isActive(accessToken)).toBe(true);
  expect(await service.verifyToken((await refresh(refreshToken)).accessToken)).toMatchObject({
    tier: 'premium',
  });
});

it('no session that begins while a user is disabled, or whose role changes, stays with the old state', async () => {
  for (let round = 0; round < 6; round += 1) {
    const { user, email, refreshToken } = await service.customer();
    const [signedIn, refreshed] = await Promise.allSettled([
      replica.client.signIn({ email, password: PASSWORD, clientAddress: '' }),
      refresh(refreshToken),
      change(user.id, { role: 'admin', disabled: round % 2 === 0 }),
    ]);
    for (const result of [signedIn, refreshed]) {
      if (result.status === 'rejected') continue;
      const { role } = await service.verifyToken(result.value.accessToken);
      const mayLive = round % 2 === 1 && role === 'admin';
      expect(await isActive(result.value.accessToken)).toBe(mayLive);
    }
  }
});
