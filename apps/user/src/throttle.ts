import { fault } from '@headroom/contracts';
import { addressGroup } from '@headroom/ratelimit';
import type { Clock } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import { countFailure, throttledForMs, type FailureCounter } from './repository';
import type { Shards } from './shards';
import { emailKeyOf } from './user';

/** How many wrong passwords in how long; undefined: no limit. */
export interface SignInLimits {
  account?: { count: number; windowMs: number } | undefined;
  address?: { count: number; windowMs: number } | undefined;
}

/** One try to sign in: throws `SIGN_IN_THROTTLED` when there were too many wrong passwords. */
export interface SignInAttempt {
  /** Before the password is looked at. */
  admit(): Promise<void>;
  /** The password was right; still refused when wrong ones, tried at the same time, have used the limit up. */
  succeeded(): Promise<void>;
  /** The password was wrong. */
  failed(): Promise<void>;
}

const UNITS = { s: 1_000, min: 60_000, h: 3_600_000 } as const;

/** Reads `account=10/15min,address=100/15min` (either may be left out) or `off`; undefined when it is neither. */
export function parseSignInLimits(text: string): SignInLimits | undefined {
  if (text.trim() === 'off') return {};
  const limits: SignInLimits = {};
  for (const part of text.split(',')) {
    const [, scope, count, length, unit] =
      /^\s*(account|address)=([1-9]\d{0,5})\/(\d{0,4})(s|min|h)\s*$/.exec(part) ?? [];
    if (!scope || limits[scope as keyof SignInLimits]) return undefined;
    const windowMs = Number(length === '' ? 1 : length) * UNITS[unit as keyof typeof UNITS];
    if (windowMs === 0) return undefined;
    limits[scope as keyof SignInLimits] = { count: Number(count), windowMs };
  }
  return limits;
}

/**
 * Slows guessing down, counted in the databases and so over all replicas: wrong passwords for one account from one address
 * (a stranger cannot lock somebody out elsewhere) and from one address over all accounts, known or not. A window begins with
 * its first failure.
 *
 * Only wrong passwords are counted, and after they were found wrong. A burst of tries at once therefore gets in, but learns
 * nothing: exactly the limit is answered as wrong, all others, the right one among them, as throttled.
 */
export function createThrottle(deps: { shards: Shards; clock: Clock; limits: SignInLimits }) {
  const { shards, clock, limits } = deps;
  const now = () => new Date(clock.now());

  return (email: string, clientAddress: string): SignInAttempt => {
    const address = addressGroup(clientAddress);
    const counters: FailureCounter[] = [
      ...(limits.account
        ? [
            {
              ...counter(limits.account, 'account', emailKeyOf(email), address),
              account: accountHash(email),
            },
          ]
        : []),
      ...(limits.address ? [counter(limits.address, 'address', address)] : []),
    ];
    const db = ({ key }: FailureCounter) => shards.of(key.toString('hex')).db;
    const admit = async () => {
      const waits = await Promise.all(counters.map((each) => throttledForMs(db(each), each, now())));
      const waitMs = Math.max(0, ...waits);
      if (waitMs > 0) throw throttled(waitMs);
    };
    return {
      admit,
      succeeded: admit,
      async failed() {
        for (const each of counters)
          if (!(await countFailure(db(each), each, now()))) {
            await admit();
            throw throttled(each.windowMs);
          }
      },
    };
  };
}

/** What the counters of one account have in common, whatever the address. */
export const accountHash = (email: string): Buffer =>
  createHash('sha256')
    .update(`account\0${emailKeyOf(email)}`)
    .digest();

function throttled(waitMs: number) {
  return fault('SIGN_IN_THROTTLED', {
    detail: 'too many wrong passwords: try again later',
    retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)),
  });
}

function counter(
  { count, windowMs }: { count: number; windowMs: number },
  ...parts: string[]
): FailureCounter {
  const key = createHash('sha256').update(parts.join('\0')).digest();
  return { key, limit: count, windowMs };
}
