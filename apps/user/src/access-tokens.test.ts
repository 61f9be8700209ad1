import { createTokenVerifier } from '@headroom/rpc';
import { ManualClock } from '@headroom/testing';
import { calculateJwkThumbprint, decodeProtectedHeader } from 'jose';
import { generateKeyPairSync } from 'node:crypto';
import { createAccessTokens, parseSigningKeys } from './access-tokens';

const pem = (type: 'ed25519' | 'x25519' = 'ed25519') =>
  (type === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('x25519')).privateKey
    .export({ type: 'pkcs8', format: 'pem' })
    .toString();
const claims = { userId: 'u1', sid: 's1', role: 'customer', tier: 'free' } as const;
const issuer = 'https://shop.example';
const clock = new ManualClock();
const issuerOf = (...pems: string[]) =>
  createAccessTokens({ keys: parseSigningKeys(pems.join(''))!, issuer, ttlSeconds: 600, clock });

it('every key is published with its RFC 7638 thumbprint, and nothing private', async () => {
  const { keys } = issuerOf(pem(), pem()).jwks();
  expect(keys).toHaveLength(2);
  for (const key of keys) {
    expect(key.kid).toBe(await calculateJwkThumbprint(key));
    expect(Object.keys(key).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
  }
});

it('keys are rotated without a token that fails: added second, made first, removed when its tokens are dead', async () => {
  const [old, next] = [pem(), pem()];
  let current = issuerOf(old);
  const verify = createTokenVerifier({ issuer, clock, fetchKeys: async () => current.jwks() });
  const tokenOfOld = await current.issue(claims);
  await verify(tokenOfOld);

  current = issuerOf(old, next);
  clock.advance(61_000);
  await verify(await current.issue(claims));

  current = issuerOf(next, old);
  const tokenOfNext = await current.issue(claims);
  expect(decodeProtectedHeader(tokenOfNext)).toMatchObject({
    alg: 'EdDSA',
    typ: 'at+jwt',
    kid: current.jwks().keys[0]!.kid,
  });
  await expect(verify(tokenOfNext)).resolves.toMatchObject({ userId: 'u1', sessionId: 's1' });
  await expect(verify(tokenOfOld)).resolves.toMatchObject({ userId: 'u1' });

  clock.advance(606_000);
  current = issuerOf(next);
  await expect(verify(tokenOfOld)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  await expect(verify(await current.issue(claims))).resolves.toMatchObject({ userId: 'u1' });
});

it('no two tokens are the same', async () => {
  const tokens = issuerOf(pem());
  expect(await tokens.issue(claims)).not.toBe(await tokens.issue(claims));
});

it('keys that cannot sign are refused', () => {
  expect(parseSigningKeys('')).toBeUndefined();
  expect(parseSigningKeys('no key')).toBeUndefined();
  expect(parseSigningKeys(pem('x25519'))).toBeUndefined();
  expect(parseSigningKeys(pem() + pem('x25519'))).toBeUndefined();
  expect(parseSigningKeys(pem().replaceAll('\n', '\\n'))).toHaveLength(1);
});
