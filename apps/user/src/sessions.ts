import { fault } from '@headroom/contracts';
import type { FaultCode } from '@headroom/contracts';
import { uuidv7, type Clock } from '@headroom/resilience';
import type { Tx } from '@headroom/postgres';
import { createHash, createHmac, randomBytes, randomUUID } from 'node:crypto';
import type { AccessTokens } from './access-tokens';
import type { Passwords } from './passwords';
import type { Registration } from './registration';
import {
  endSessions,
  findRefreshToken,
  findUser,
  findUserForSession,
  insertSession,
  isSessionActive,
  lockSessionOfToken,
  renewSessions,
  rotateRefreshToken,
  touchSession,
  type Session,
  type SessionChoice,
  type StoredRefreshToken,
  type StoredUser,
} from './repository';
import { LOGICAL_SHARDS, logicalShardOf, type Shards } from './shards';
import type { createThrottle } from './throttle';
import { checkEmail, normalizePassword, type SessionEffect, type User } from './user';

/** What a client gets to act for a user with. */
export interface SessionTokens {
  accessToken: string;
  refreshToken: string;
  expiresInSeconds: number;
  user: User;
}

export interface Sessions {
  /** Throws `CREDENTIALS_INVALID` (in the same time, whether the e-mail is known or not), `USER_DISABLED`, `SIGN_IN_THROTTLED`. */
  signIn(
    credentials: { email: string; password: string; clientAddress: string },
    signal?: AbortSignal,
  ): Promise<SessionTokens>;
  /** Throws `REFRESH_INVALID`, `REFRESH_REUSED`, `REFRESH_REVOKED`. */
  refresh(refreshToken: string): Promise<SessionTokens>;
  /** Ends the session whose access tokens carry this `sid`, or all of the user; doing it again changes nothing. */
  signOut(userId: string, which: { sid: string } | 'all'): Promise<void>;
  isActive(userId: string, sid: string): Promise<boolean>;
  /** Does to a user's sessions what a change of the user asks for, in the transaction of that change. */
  follow(tx: Tx, userId: string, effect: SessionEffect): Promise<void>;
}

/** How long a refresh token can be used, from its issue. */
const REFRESH_TTL_MS = 30 * 24 * 3_600_000;
/** How long a used refresh token returns its successor again: for answers lost on the way, and for tabs that refresh at once. */
const GRACE_MS = 10_000;

/**
 * Sessions of users. A session is a family of refresh tokens of which only the newest is good: each use rotates it. The access
 * tokens of a session carry its `sid`; where they must end and the session goes on (a change of role) it gets another `sid`, so
 * a revoked one never comes back.
 *
 * Locks are taken in the order user, session; a refresh locks the session alone.
 */
export function createSessions(deps: {
  shards: Shards;
  registration: Registration;
  passwords: Passwords;
  accessTokens: AccessTokens;
  throttle: ReturnType<typeof createThrottle>;
  signingSecret: string;
  clock: Clock;
  /** Called after access tokens were revoked. */
  revoked: () => void;
}): Sessions {
  const { shards, registration, passwords, accessTokens, throttle, signingSecret, clock, revoked } = deps;
  const now = () => new Date(clock.now());
  const refreshExpiry = () => new Date(clock.now() + REFRESH_TTL_MS);
  /** Access tokens issued before are dead; a minute is kept for clocks that differ. */
  const aliveSince = () => new Date(clock.now() - accessTokens.ttlSeconds * 1_000 - 60_000);
  const change = (userId: string, which: SessionChoice) => ({
    userId,
    which,
    now: now(),
    aliveSince: aliveSince(),
  });

  const tokensOf = async (stored: StoredUser, sid: string, refreshToken: string): Promise<SessionTokens> => {
    const { passwordHash: _secret, ...user } = stored;
    const { id: userId, role, tier } = user;
    return {
      accessToken: await accessTokens.issue({ userId, sid, role, tier }),
      refreshToken,
      expiresInSeconds: accessTokens.ttlSeconds,
      user,
    };
  };

  const start = async (found: StoredUser): Promise<SessionTokens> => {
    const refreshToken = newRefreshToken(logicalShardOf(found.id));
    const sid = randomUUID();
    const user = await shards.of(found.id).db.transaction(async (tx) => {
      // Locked, so that a change that ends all sessions comes before this one and is seen, or after and ends it.
      const current = await findUserForSession(tx, found.id);
      if (!current || current.passwordHash !== found.passwordHash) throw fault('CREDENTIALS_INVALID');
      if (current.disabled) throw fault('USER_DISABLED');
      await insertSession(tx, {
        id: uuidv7(clock.now()),
        userId: current.id,
        sid,
        now: now(),
        expiresAt: refreshExpiry(),
        tokenHash: hashOf(refreshToken),
      });
      return current;
    });
    return tokensOf(user, sid, refreshToken);
  };

  return {
    async signIn({ email, password, clientAddress }, signal) {
      checkEmail(email);
      const attempt = throttle(email, clientAddress);
      await attempt.admit();
      const user = await registration.findByEmail(email);
      const matches = await passwords.verify(user?.passwordHash, normalizePassword(password), signal);
      if (!user || !matches) {
        await attempt.failed();
        throw fault('CREDENTIALS_INVALID');
      }
      await attempt.succeeded();
      return start(user);
    },

    async refresh(refreshToken) {
      const logical = logicalShardOfToken(refreshToken);
      if (logical === undefined) throw fault('REFRESH_INVALID');
      const successor = successorOf(refreshToken, signingSecret);
      const tokenHash = hashOf(refreshToken);
      const successorHash = hashOf(successor);
      // What ends a session has to be committed, so a refusal is a result here, not an exception.
      const outcome = await shards.databaseOf(logical).db.transaction(
        async (tx): Promise<FaultCode | { user: StoredUser; sid: string }> => {
          const session = await lockSessionOfToken(tx, tokenHash);
          const token = session && (await findRefreshToken(tx, tokenHash, successorHash));
          if (!session || !token) return 'REFRESH_INVALID';
          const verdict = judgeRefresh(session, token, tokenHash, clock.now());
          if (verdict === 'REFRESH_REUSED' && !session.endedAt)
            await endSessions(tx, {
              ...change(session.userId, { sessionId: session.id }),
              reusedToken: tokenHash,
            });
          if (verdict !== 'rotate' && verdict !== 'repeat') return verdict;
          const user = await findUser(tx, session.userId);
          if (!user || user.disabled) return 'REFRESH_REVOKED';
          const expiresAt = refreshExpiry();
          if (verdict === 'rotate')
            await rotateRefreshToken(tx, {
              sessionId: session.id,
              tokenHash,
              successorHash,
              now: now(),
              expiresAt,
            });
          await touchSession(tx, session.id, now(), expiresAt);
          return { user, sid: session.sid };
        },
        { retry: true },
      );
      if (outcome === 'REFRESH_REUSED') revoked();
      if (typeof outcome === 'string') throw fault(outcome);
      return tokensOf(outcome.user, outcome.sid, successor);
    },

    async signOut(userId, which) {
      await endSessions(shards.of(userId).db, change(userId, which));
      revoked();
    },

    isActive: (userId, sid) => isSessionActive(shards.of(userId).db, { userId, sid, now: now() }),

    async follow(tx, userId, effect) {
      if (effect === 'none') return;
      if (effect === 'end') await endSessions(tx, change(userId, 'all'));
      else await renewSessions(tx, change(userId, 'all'));
      tx.afterCommit(revoked);
    },
  };
}

/**
 * What becomes of a refresh token that is presented: `rotate` (its first use), `repeat` (used a moment ago, and its successor not
 * yet: the same one is given again), or a refusal. `REFRESH_REUSED` means that the token was copied, by whichever of the two
 * presents it: the session has to end.
 */
export function judgeRefresh(
  session: Pick<Session, 'endedAt' | 'expiresAt' | 'reusedToken'>,
  token: StoredRefreshToken,
  tokenHash: Buffer,
  nowMs: number,
): 'rotate' | 'repeat' | 'REFRESH_INVALID' | 'REFRESH_REUSED' | 'REFRESH_REVOKED' {
  if (token.expiresAt.getTime() <= nowMs) return 'REFRESH_INVALID';
  if (session.endedAt) return session.reusedToken?.equals(tokenHash) ? 'REFRESH_REUSED' : 'REFRESH_REVOKED';
  if (!token.rotatedAt) return 'rotate';
  const fresh = nowMs - token.rotatedAt.getTime() <= GRACE_MS;
  return fresh && !token.successorUsed ? 'repeat' : 'REFRESH_REUSED';
}

/** Refresh tokens: one byte that leads to the logical shard, then 256 bits; base64url. Only their SHA-256 is kept. */
const TOKEN_BYTES = 33;

function newRefreshToken(logical: number): string {
  return Buffer.concat([Buffer.of(logical), randomBytes(TOKEN_BYTES - 1)]).toString('base64url');
}

/** The logical shard that a refresh token names; undefined when it does not have the form of one. */
export function logicalShardOfToken(token: string): number | undefined {
  const bytes = Buffer.from(token, 'base64url');
  const wellFormed = bytes.length === TOKEN_BYTES && bytes.toString('base64url') === token;
  return wellFormed && bytes[0]! < LOGICAL_SHARDS ? bytes[0] : undefined;
}

/** The one token that follows `token`: known to whoever holds the secret, so it need not be kept to be given again. */
function successorOf(token: string, secret: string): string {
  const bytes = createHmac('sha256', secret).update('refresh-successor\0').update(token).digest();
  return Buffer.concat([Buffer.of(logicalShardOfToken(token)!), bytes]).toString('base64url');
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();
