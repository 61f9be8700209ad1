/** So many requests in so long a time. */
export interface Limit {
  quota: number;
  windowMs: number;
}

/** What became of one request, and what its client may know about the limit. */
export interface Decision {
  allowed: boolean;
  limit: Limit;
  /** Whole requests that would be admitted at this moment, this one taken off. */
  remaining: number;
  /** Milliseconds until the whole quota is there again (token bucket) or the window under way ends (the other two). */
  resetMs: number;
  /** Milliseconds until one request would be admitted, if none comes meanwhile; 0 for an admitted one. */
  retryAfterMs: number;
}

/** What is kept per client: two or three numbers, their meaning the algorithm's own. */
export type State = readonly number[];

/**
 * One step of an algorithm, pure: the state of a client (undefined: never seen) and the time in milliseconds, to the decision
 * and the next state. A refused request costs nothing. A clock that is set back admits no more than one that stands still.
 */
export type Algorithm = (
  state: State | undefined,
  nowMs: number,
  limit: Limit,
) => { decision: Decision; state: State };

/** Sums of fractions miss whole numbers by less than this. */
const ROUNDING = 1e-9;

/**
 * Token bucket (Turner, "New directions in communications", 1986): `quota` tokens at most, refilled evenly over the window; a
 * request takes one. In any time of length t it admits at most quota x (1 + t / window): bursts up to the quota, then the rate.
 * State: tokens, the moment they were counted.
 */
export const tokenBucket: Algorithm = (state, nowMs, limit) => {
  const { quota, windowMs } = limit;
  const [kept = quota, countedAt = nowMs] = state ?? [];
  const at = Math.max(nowMs, countedAt);
  const tokens = Math.min(quota, kept + ((at - countedAt) * quota) / windowMs);
  const allowed = tokens + ROUNDING >= 1;
  const left = allowed ? Math.max(0, tokens - 1) : tokens;
  return {
    decision: {
      allowed,
      limit,
      remaining: Math.floor(left + ROUNDING),
      resetMs: ((quota - left) * windowMs) / quota,
      retryAfterMs: allowed ? 0 : ((1 - tokens) * windowMs) / quota,
    },
    state: [left, at],
  };
};

/**
 * Sliding window from two counters: the requests of this clock window and, in the part that still reaches into the sliding one,
 * those of the window before, as if they had come evenly. In any time of length t up to the window it admits at most
 * quota x (1 + t / window), as the token bucket does; where the requests of the window before did not come evenly, the count
 * is wrong by at most that window's share: a client that sent its quota in the last moment of one window can have sent up to
 * twice the quota within a window, but never more than the quota at once.
 * State: start of the window, its requests, those of the window before.
 */
export const slidingWindow: Algorithm = (state, nowMs, limit) => {
  const { quota, windowMs } = limit;
  const [lastStart = 0, lastCount = 0, earlierCount = 0] = state ?? [];
  const at = Math.max(nowMs, lastStart);
  const start = at - (at % windowMs);
  const current = start === lastStart ? lastCount : 0;
  const previous = start === lastStart ? earlierCount : start === lastStart + windowMs ? lastCount : 0;
  const elapsed = (at - start) / windowMs;
  const used = previous * (1 - elapsed) + current;
  const allowed = used + 1 <= quota + ROUNDING;
  const counted = allowed ? current + 1 : current;
  return {
    decision: {
      allowed,
      limit,
      remaining: Math.max(0, Math.floor(quota - previous * (1 - elapsed) - counted + ROUNDING)),
      resetMs: start + windowMs - at,
      retryAfterMs: allowed ? 0 : untilFree(),
    },
    state: [start, counted, previous],
  };

  function untilFree(): number {
    const shareOf = (requests: number, room: number) => Math.max(0, 1 - room / requests);
    const room = quota - 1 - current;
    // In this window, once enough of the one before has slid out; else in the next, once enough of this one has.
    return room >= 0
      ? (shareOf(previous, room) - elapsed) * windowMs
      : (1 - elapsed + shareOf(current, quota - 1)) * windowMs;
  }
};

/**
 * Fixed window: at most `quota` requests in each window of the clock (whole minutes since the epoch for 60 s). The cheapest and
 * the loosest: around a window's edge twice the quota can pass at once.
 * State: start of the window, its requests.
 */
export const fixedWindow: Algorithm = (state, nowMs, limit) => {
  const { quota, windowMs } = limit;
  const [lastStart = 0, lastCount = 0] = state ?? [];
  const at = Math.max(nowMs, lastStart);
  const start = at - (at % windowMs);
  const current = start === lastStart ? lastCount : 0;
  const allowed = current < quota;
  const counted = allowed ? current + 1 : current;
  const resetMs = start + windowMs - at;
  return {
    decision: { allowed, limit, remaining: quota - counted, resetMs, retryAfterMs: allowed ? 0 : resetMs },
    state: [start, counted],
  };
};

/** The algorithms by the names that `RATE_LIMIT_ALGORITHM` takes. */
export const ALGORITHMS = {
  'token-bucket': tokenBucket,
  'sliding-window': slidingWindow,
  'fixed-window': fixedWindow,
} as const satisfies Record<string, Algorithm>;

export type AlgorithmName = keyof typeof ALGORITHMS;
