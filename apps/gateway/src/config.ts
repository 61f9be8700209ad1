import {
  ALGORITHMS,
  DEFAULT_RATE_LIMITS,
  parseRateLimits,
  type AlgorithmName,
  type RateLimits,
} from '@headroom/ratelimit';
import { SHOP_CONFIG, address, choice, parsed, port, text, type ConfigSpec } from '@headroom/service';
import { BlockList, isIP } from 'node:net';

/** What the gateway reads from its environment, beside what every service reads. */
export const CONFIG = {
  PORT: port({ default: 8080 }),
  USER_ADDRESS: address(),
  CATALOG_ADDRESS: address(),
  ORDER_ADDRESS: address(),
  QUERY_ADDRESS: address(),
  RECOMMENDATION_ADDRESS: address(),
  ISSUER: text(),
  SIGNING_SECRET: parsed<string>(
    'at least 32 characters, the same for all replicas',
    (value) => (value.length >= 32 ? value : undefined),
    { secret: true },
  ),
  CORS_ORIGINS: parsed<string[]>(
    'a comma-separated list of origins such as https://shop.example',
    (value) => {
      const origins = split(value);
      return origins.every((each) => URL.canParse(each) && new URL(each).origin === each)
        ? origins
        : undefined;
    },
    { default: [] },
  ),
  TRUSTED_PROXIES: parsed<string[]>(
    'a comma-separated list of addresses or CIDRs such as 10.0.0.0/8',
    (value) => {
      const ranges = split(value);
      return ranges.every(isCidr) ? ranges : undefined;
    },
    { default: [] },
  ),
  RATE_LIMITS: parsed<RateLimits>(
    `off, or requests per minute by tier such as ${DEFAULT_RATE_LIMITS}`,
    parseRateLimits,
    { default: parseRateLimits(DEFAULT_RATE_LIMITS)! },
  ),
  RATE_LIMIT_ALGORITHM: choice(Object.keys(ALGORITHMS) as AlgorithmName[], { default: 'token-bucket' }),
  ...SHOP_CONFIG,
} satisfies ConfigSpec;

const split = (value: string) =>
  value
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');

function isCidr(range: string): boolean {
  const [base = '', prefix, ...rest] = range.split('/');
  const family = isIP(base);
  if (family === 0 || rest.length > 0) return false;
  if (prefix === undefined) return true;
  if (!/^\d{1,3}$/.test(prefix)) return false;
  try {
    new BlockList().addSubnet(base, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
    return true;
  } catch {
    return false;
  }
}
