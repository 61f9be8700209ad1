import type { Decision } from './algorithms';

const secondsUp = (ms: number) => Math.ceil(ms / 1_000);

/**
 * The headers that tell a client about its limit: `RateLimit-Policy` and `RateLimit` (IETF draft-ietf-httpapi-ratelimit-headers-10),
 * the older `X-RateLimit-*` (reset in seconds from now), and `Retry-After` with a refusal. All times are whole seconds, rounded
 * up, so that who waits that long is not refused again.
 */
export function rateLimitHeaders({
  allowed,
  limit,
  remaining,
  resetMs,
  retryAfterMs,
}: Decision): Record<string, string> {
  const reset = secondsUp(resetMs);
  return {
    'ratelimit-policy': `"default";q=${limit.quota};w=${secondsUp(limit.windowMs)}`,
    ratelimit: `"default";r=${remaining};t=${reset}`,
    'x-ratelimit-limit': String(limit.quota),
    'x-ratelimit-remaining': String(remaining),
    'x-ratelimit-reset': String(reset),
    ...(allowed ? {} : { 'retry-after': String(Math.max(1, secondsUp(retryAfterMs))) }),
  };
}
