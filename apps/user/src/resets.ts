import { fault } from '@headroom/contracts';
import type { Tx } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { Passwords } from './passwords';
import type { Registration } from './registration';
import {
  countFailure,
  findReset,
  findUserForUpdate,
  forgetFailures,
  putReset,
  updateUser,
  useReset,
} from './repository';
import { logicalShardOfToken, type Sessions } from './sessions';
import { logicalShardOf, type Shards } from './shards';
import { accountHash } from './throttle';
import { checkEmail, checkPassword, emailKeyOf, normalizePassword, type User } from './user';

/** What a job needs to make the reset mail; the token is no part of it. */
export interface ResetRequest {
  email: string;
  requestedAtMs: number;
  /** Makes the token of this request, together with the secret. */
  nonce: string;
}

export interface PasswordResets {
  /**
   * Asks for a mail, as the same one short transaction whether an account has the e-mail or not: who asks cannot tell. Throws
   * `VALIDATION_FAILED` for what is no e-mail, `OVERLOADED` when too many mails wait. More than five an hour are ignored.
   */
  request(email: string): Promise<void>;
  /**
   * Sets the password and ends every session, in one transaction. Throws `VALIDATION_FAILED` and `PASSWORD_TOO_COMMON`, after
   * which the token still works, and `RESET_TOKEN_INVALID`. A disabled account gets its password and stays disabled.
   */
  confirm(request: { token: string; password: string }, signal?: AbortSignal): Promise<void>;
}

const MAILS_AN_HOUR = 5;

/**
 * Password resets. A request becomes a job and nothing else; the job looks the account up and puts the token's hash beside the
 * user (`createResetIssuer`), where a confirmation finds token, password and sessions in one database and so in one transaction.
 */
export function createPasswordResets(deps: {
  shards: Shards;
  passwords: Pick<Passwords, 'hash'>;
  sessions: Pick<Sessions, 'follow'>;
  /** Enqueues the mail's job in the first database. */
  enqueueMail: (tx: Tx, request: ResetRequest) => Promise<unknown>;
  clock: Clock;
  logger: Logger;
}): PasswordResets {
  const { shards, passwords, sessions, enqueueMail, clock, logger } = deps;
  const home = shards.all[0]!.db;
  const now = () => new Date(clock.now());

  return {
    async request(email) {
      checkEmail(email);
      const requests = {
        key: createHash('sha256')
          .update(`password-reset\0${emailKeyOf(email)}`)
          .digest(),
        limit: MAILS_AN_HOUR,
        windowMs: 3_600_000,
      };
      await home.transaction(
        async (tx) => {
          if (await countFailure(tx, requests, now()))
            await enqueueMail(tx, { email, requestedAtMs: clock.now(), nonce: randomUUID() });
        },
        { retry: true },
      );
    },

    async confirm({ token, password }, signal) {
      checkPassword(password);
      const logical = logicalShardOfToken(token);
      if (logical === undefined) throw fault('RESET_TOKEN_INVALID');
      const { db } = shards.databaseOf(logical);
      const tokenHash = hashOf(token);
      // Looked up first, so that guesses cost no hashing.
      const userId = await findReset(db, tokenHash, now());
      if (userId === undefined) throw fault('RESET_TOKEN_INVALID');
      const passwordHash = await passwords.hash(normalizePassword(password), signal);
      const { email } = await db.transaction(
        async (tx) => {
          const user = await findUserForUpdate(tx, userId);
          if (!user || !(await useReset(tx, tokenHash, now()))) throw fault('RESET_TOKEN_INVALID');
          await updateUser(tx, { ...user, passwordHash });
          await sessions.follow(tx, userId, 'end');
          return user;
        },
        { retry: true },
      );
      // Their windows end by themselves: a database that is away must not make the new password look refused.
      const account = accountHash(email);
      const forgotten = await Promise.allSettled(
        shards.all.map((shard) => forgetFailures(shard.db, account)),
      );
      for (const result of forgotten)
        if (result.status === 'rejected')
          logger.warn('failed sign-ins were not forgotten after a reset', { err: result.reason, userId });
    },
  };
}

/**
 * Gives the account and the token of a request to its mail's job; undefined where there is no mail to send: no account has the
 * e-mail, or the token has been replaced by a newer request's, used, or has expired.
 *
 * The token is an HMAC of the request's nonce: a job that is repeated makes the same one, which once it was used never works
 * again, and only the mail holds it in clear. It has the form of a refresh token, whose first byte leads to the shard.
 */
export function createResetIssuer(deps: {
  shards: Shards;
  registration: Pick<Registration, 'findByEmail'>;
  signingSecret: string;
  ttlSeconds: number;
  clock: Clock;
}) {
  const { shards, registration, signingSecret, ttlSeconds, clock } = deps;
  return async ({
    email,
    requestedAtMs,
    nonce,
  }: ResetRequest): Promise<{ user: User; token: string } | undefined> => {
    const expiresAt = new Date(requestedAtMs + ttlSeconds * 1_000);
    if (expiresAt.getTime() <= clock.now()) return undefined;
    const user = await registration.findByEmail(email);
    if (!user) return undefined;
    const token = tokenOf(user.id, nonce, signingSecret);
    const works = await shards.of(user.id).db.transaction(
      (tx) =>
        putReset(tx, {
          userId: user.id,
          tokenHash: hashOf(token),
          requestedAt: new Date(requestedAtMs),
          expiresAt,
        }),
      { retry: true },
    );
    return works ? { user, token } : undefined;
  };
}

function tokenOf(userId: string, nonce: string, secret: string): string {
  const bytes = createHmac('sha256', secret).update(`password-reset\0${userId}\0${nonce}`).digest();
  return Buffer.concat([Buffer.of(logicalShardOf(userId)), bytes]).toString('base64url');
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();
