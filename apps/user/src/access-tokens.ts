import { ACCESS_TOKEN } from '@headroom/rpc';
import { uuidv7, type Clock } from '@headroom/resilience';
import { SignJWT } from 'jose';
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import type { Role, Tier } from './user';

/** A key of JWT_PRIVATE_KEYS with what the key set shows of it. */
export interface SigningKey {
  privateKey: KeyObject;
  /** RFC 7638 thumbprint. */
  kid: string;
  publicJwk: { kty: 'OKP'; crv: 'Ed25519'; x: string };
}

export interface AccessTokens {
  issue(claims: { userId: string; sid: string; role: Role; tier: Tier }): Promise<string>;
  /** The public parts of all keys, as an RFC 7517 key set. */
  jwks(): { keys: Array<{ kty: 'OKP'; crv: 'Ed25519'; x: string; kid: string; alg: string; use: 'sig' }> };
  ttlSeconds: number;
}

/**
 * Issues access tokens (RFC 9068) signed by the first key; all keys are published. To rotate: add the new key second, wait
 * until verifiers have read it (60 s), make it first, remove the old one after the last of its tokens has expired.
 */
export function createAccessTokens(options: {
  keys: readonly SigningKey[];
  issuer: string;
  ttlSeconds: number;
  clock: Clock;
}): AccessTokens {
  const { keys, issuer, ttlSeconds, clock } = options;
  const [signing] = keys;
  if (!signing) throw new Error('access tokens need a signing key');
  return {
    ttlSeconds,
    issue({ userId, sid, role, tier }) {
      const issuedAt = Math.floor(clock.now() / 1_000);
      return new SignJWT({ sid, role, tier })
        .setProtectedHeader({ alg: ACCESS_TOKEN.algorithm, typ: ACCESS_TOKEN.type, kid: signing.kid })
        .setIssuer(issuer)
        .setAudience(ACCESS_TOKEN.audience)
        .setSubject(userId)
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + ttlSeconds)
        .setJti(uuidv7(clock.now()))
        .sign(signing.privateKey);
    },
    jwks: () => ({
      keys: keys.map(({ kid, publicJwk }) => ({
        ...publicJwk,
        kid,
        alg: ACCESS_TOKEN.algorithm,
        use: 'sig' as const,
      })),
    }),
  };
}

/** Reads concatenated PEM blocks; undefined when there is none, or one that is not an Ed25519 private key. */
export function parseSigningKeys(text: string): SigningKey[] | undefined {
  // Environments that cannot hold line breaks write them as \n.
  const pem = text.replaceAll('\\n', '\n');
  const blocks = pem.match(/-----BEGIN ([A-Z ]+)-----[\s\S]+?-----END \1-----/g) ?? [];
  try {
    const keys = blocks.map((block): SigningKey => {
      const privateKey = createPrivateKey(block);
      if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error('not an Ed25519 key');
      const x = createPublicKey(privateKey).export({ format: 'jwk' }).x!;
      const publicJwk = { crv: 'Ed25519', kty: 'OKP', x } as const; // the members and order that RFC 7638 hashes
      return {
        privateKey,
        publicJwk,
        kid: createHash('sha256').update(JSON.stringify(publicJwk)).digest('base64url'),
      };
    });
    return keys.length > 0 ? keys : undefined;
  } catch {
    return undefined;
  }
}
