import { fault } from '@headroom/contracts';
import {
  addressGroup,
  rateLimitHeaders,
  TIERS,
  type RateLimiter,
  type RateLimits,
} from '@headroom/ratelimit';
import type { Principal } from '@headroom/rpc';
import { counter } from '@headroom/telemetry';

/** Who sends a request: a user whose token is valid, or an address. */
export interface Caller {
  principal: Principal | undefined;
  address: string;
}

export interface Limits {
  /**
   * Takes one request off the caller's limit. The headers tell how the limit stands; `refusal` is the fault to answer with when
   * there was nothing left.
   */
  take(caller: Caller): Promise<{ headers: Record<string, string>; refusal: Error | undefined }>;
}

const countLimited = counter({
  name: 'http_requests_limited_total',
  help: 'Requests that were refused since their caller had sent too many, by tier',
  labels: ['tier'],
});

/** Limits users by their tier, whatever address they have, and everybody else by address (an IPv6 network counts as one). */
export function createLimits(options: { limits: Exclude<RateLimits, 'off'>; limiter: RateLimiter }): Limits {
  const { limits, limiter } = options;
  return {
    async take({ principal, address }) {
      const tier = TIERS.find((each) => each === principal?.tier && each !== 'anonymous');
      const decision = await limiter.take(
        principal ? `user ${principal.userId}` : `address ${addressGroup(address)}`,
        limits[tier ?? (principal ? 'free' : 'anonymous')],
      );
      const headers = rateLimitHeaders(decision);
      if (decision.allowed) return { headers, refusal: undefined };
      countLimited({ tier: tier ?? 'anonymous' });
      return {
        headers,
        refusal: fault('RATE_LIMITED', {
          detail: `at most ${decision.limit.quota} requests in ${decision.limit.windowMs / 1_000} s`,
          retryAfterSeconds: Number(headers['retry-after']),
        }),
      };
    },
  };
}
