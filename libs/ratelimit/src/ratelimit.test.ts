import { ManualClock } from '@headroom/testing';
import {
  addressGroup,
  createMemoryLimiter,
  DEFAULT_RATE_LIMITS,
  parseRateLimits,
  rateLimitHeaders,
} from './index';

const minute = (quota: number) => ({ quota, windowMs: 60_000 });

describe('limits by tier', () => {
  it('are read from their text; tiers that are not named keep their default', () => {
    expect(parseRateLimits(DEFAULT_RATE_LIMITS)).toEqual({
      anonymous: minute(600),
      free: minute(1_200),
      basic: minute(6_000),
      premium: minute(30_000),
      enterprise: minute(120_000),
    });
    expect(parseRateLimits(' anonymous=5/min , basic=7/min')).toMatchObject({
      anonymous: minute(5),
      free: minute(1_200),
      basic: minute(7),
    });
    expect(parseRateLimits('off')).toBe('off');
  });

  it.each([
    '',
    'on',
    'free=0/min',
    'free=1/s',
    'free=-1/min',
    'gold=5/min',
    'free=1/min,free=2/min',
    'free=1.5/min',
    'free=1/min,',
  ])('are refused as %j', (text) => expect(parseRateLimits(text)).toBeUndefined());
});

describe('the limiter in memory', () => {
  it('counts every key by itself', async () => {
    const limiter = createMemoryLimiter({ algorithm: 'token-bucket', clock: new ManualClock() });
    const taken = async (key: string) => (await limiter.take(key, minute(2))).allowed;
    expect([await taken('a'), await taken('a'), await taken('a'), await taken('b')]).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });

  it('remembers no more keys than it may, the ones that came last', async () => {
    const limiter = createMemoryLimiter({
      algorithm: 'token-bucket',
      clock: new ManualClock(),
      maxKeys: 100,
    });
    await limiter.take('regular', minute(2));
    for (let key = 0; key < 10_000; key += 1) {
      await limiter.take(`flood ${key}`, minute(2));
      if (key % 50 === 0) await limiter.take('regular', minute(2));
    }
    expect(limiter.size()).toBe(100);
    expect((await limiter.take('regular', minute(2))).allowed).toBe(false);
  });
});

describe('the headers', () => {
  it('tell quota, window, what is left and when it is whole again', async () => {
    const limiter = createMemoryLimiter({ algorithm: 'token-bucket', clock: new ManualClock() });
    expect(rateLimitHeaders(await limiter.take('a', minute(600)))).toEqual({
      'ratelimit-policy': '"default";q=600;w=60',
      ratelimit: '"default";r=599;t=1',
      'x-ratelimit-limit': '600',
      'x-ratelimit-remaining': '599',
      'x-ratelimit-reset': '1',
    });
  });

  it('tell a refused client when to come again, and who comes then is admitted', async () => {
    const clock = new ManualClock();
    const limiter = createMemoryLimiter({ algorithm: 'token-bucket', clock });
    await limiter.take('a', minute(1));
    const headers = rateLimitHeaders(await limiter.take('a', minute(1)));
    expect(headers).toMatchObject({ ratelimit: '"default";r=0;t=60', 'retry-after': '60' });
    clock.advance(Number(headers['retry-after']) * 1_000);
    expect((await limiter.take('a', minute(1))).allowed).toBe(true);
  });
});

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
  ['2001:DB8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['64:ff9b::192.0.2.33', '64:ff9b:0:0::/64'],
  ['2001:db8::5:6:7:8:9', '2001:db8:0:5::/64'],
  ['not an address', 'not an address'],
  ['', ''],
])('counts the address %j as %j', (address, group) => expect(addressGroup(address)).toBe(group));
