import { systemClock, Fault, type Clock } from '@headroom/resilience';
import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify, type JSONWebKeySet } from 'jose';

/** Who a verified access token speaks for. */
export interface Principal {
  userId: string;
  sessionId: string;
  role: 'customer' | 'admin';
  tier: string;
  issuedAtSeconds: number;
  expiresAtSeconds: number;
}

export const ACCESS_TOKEN = {
  audience: 'headroom-api',
  type: 'at+jwt',
  algorithm: 'EdDSA',
  clockToleranceSeconds: 5,
} as const;

export type TokenVerifier = (token: string) => Promise<Principal>;

/**
 * Verifies access tokens (RFC 9068) against a key set fetched from the issuer: algorithm, type, issuer and audience come
 * from allow-lists, header members that name keys (`jku`, `x5u`, `jwk`) are never followed. The key set is cached for
 * `refreshMs` and read again, at most every 5 s, for an unknown key id, so a new key works as soon as it is used.
 * Throws `unauthenticated` for any token that does not verify, and whatever `fetchKeys` throws when no key was ever read.
 */
export function createTokenVerifier(options: {
  issuer: string;
  fetchKeys: () => Promise<JSONWebKeySet>;
  refreshMs?: number;
  clock?: Clock;
}): TokenVerifier {
  const clock = options.clock ?? systemClock;
  const refreshMs = options.refreshMs ?? 60_000;
  let keys: { set: ReturnType<typeof createLocalJWKSet>; ids: Set<string>; readAt: number } | undefined;
  let pending: Promise<void> | undefined;

  const read = () =>
    (pending ??= (async () => {
      try {
        const set = await options.fetchKeys();
        keys = {
          set: createLocalJWKSet(set),
          ids: new Set(set.keys.map((key) => String(key.kid))),
          readAt: clock.now(),
        };
      } finally {
        pending = undefined;
      }
    })());
  const keysFor = async (kid: string | undefined) => {
    if (!keys) await read();
    else if (kid !== undefined && !keys.ids.has(kid)) {
      if (clock.now() - keys.readAt > 5_000) await read();
    } else if (clock.now() - keys.readAt > refreshMs) {
      keys.readAt = clock.now(); // one refresh at a time, in the background: the old set still holds
      void read().catch(() => undefined);
    }
    return keys!.set;
  };

  return async (token) => {
    let kid: string | undefined;
    try {
      kid = decodeProtectedHeader(token).kid;
    } catch {
      throw unauthenticated('the access token is malformed');
    }
    const set = await keysFor(kid);
    try {
      const { payload } = await jwtVerify(token, set, {
        algorithms: [ACCESS_TOKEN.algorithm],
        typ: ACCESS_TOKEN.type,
        issuer: options.issuer,
        audience: ACCESS_TOKEN.audience,
        clockTolerance: ACCESS_TOKEN.clockToleranceSeconds,
        currentDate: new Date(clock.now()),
        requiredClaims: ['sub', 'sid', 'role', 'tier', 'iat', 'exp'],
      });
      return {
        userId: payload.sub!,
        sessionId: String(payload['sid']),
        role: payload['role'] === 'admin' ? 'admin' : 'customer',
        tier: String(payload['tier']),
        issuedAtSeconds: payload.iat!,
        expiresAtSeconds: payload.exp!,
      };
    } catch (error) {
      throw unauthenticated(
        error instanceof errors.JWTExpired ? 'the access token has expired' : 'the access token is not valid',
      );
    }
  };
}

export function unauthenticated(detail: string): Fault {
  return new Fault('unauthenticated', 'UNAUTHENTICATED', { detail });
}
