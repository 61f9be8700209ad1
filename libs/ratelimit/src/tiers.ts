import type { Limit } from './algorithms';

/** Who is limited how: visitors by their address, users by their tier. */
export const TIERS = ['anonymous', 'free', 'basic', 'premium', 'enterprise'] as const;

export type Tier = (typeof TIERS)[number];

/** A limit for each tier, or none for anybody. */
export type RateLimits = Readonly<Record<Tier, Limit>> | 'off';

export const DEFAULT_RATE_LIMITS =
  'anonymous=600/min,free=1200/min,basic=6000/min,premium=30000/min,enterprise=120000/min';

const MINUTE_MS = 60_000;

/**
 * Reads `anonymous=600/min,free=1200/min,...` or `off`. Tiers that are not named keep their default. Undefined for anything else:
 * an unknown or repeated tier, a quota that is not 1 to 9,999,999.
 */
export function parseRateLimits(text: string): RateLimits | undefined {
  if (text.trim() === 'off') return 'off';
  const named = readTiers(text);
  return named && ({ ...readTiers(DEFAULT_RATE_LIMITS), ...named } as Record<Tier, Limit>);
}

function readTiers(text: string): Partial<Record<Tier, Limit>> | undefined {
  const limits: Partial<Record<Tier, Limit>> = {};
  for (const part of text.split(',')) {
    const [, name, quota] = /^\s*([a-z]+)=([1-9]\d{0,6})\/min\s*$/.exec(part) ?? [];
    const tier = TIERS.find((each) => each === name);
    if (tier === undefined || limits[tier]) return undefined;
    limits[tier] = { quota: Number(quota), windowMs: MINUTE_MS };
  }
  return limits;
}
