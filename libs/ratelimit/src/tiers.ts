import type { Limit } from './algorithms';

/** Who is limited how: visitors by their address, users by their tier. */
export const TIERS = ['anonymous', 'free', 'basic', 'premium', 'enterprise'] as const;

export type Tier = (typeof TIERS)[number];

/** A limit for each tier; undefined: nobody is limited. */
export type RateLimits = Readonly<Record<Tier, Limit>> | undefined;

export const DEFAULT_RATE_LIMITS =
  'anonymous=600/min,free=1200/min,basic=6000/min,premium=30000/min,enterprise=120000/min';

const MINUTE_MS = 60_000;

/**
 * Reads `anonymous=600/min,free=1200/min,...` or `off`. Tiers that are not named keep their default. Returns null for anything
 * else: an unknown or repeated tier, a quota that is not 1 to 9,999,999.
 */
export function parseRateLimits(text: string): RateLimits | null {
  if (text.trim() === 'off') return undefined;
  const limits = text === DEFAULT_RATE_LIMITS ? {} : { ...parseRateLimits(DEFAULT_RATE_LIMITS) };
  const named = new Set<string>();
  for (const part of text.split(',')) {
    const [, tier, quota] = /^\s*([a-z]+)=([1-9]\d{0,6})\/min\s*$/.exec(part) ?? [];
    if (tier === undefined || named.has(tier) || !TIERS.includes(tier as Tier)) return null;
    named.add(tier);
    limits[tier as Tier] = { quota: Number(quota), windowMs: MINUTE_MS };
  }
  return limits as Record<Tier, Limit>;
}
