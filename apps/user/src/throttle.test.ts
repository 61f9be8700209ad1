import { parseSignInLimits } from './throttle';

it('reads limits, either or both, or off', () => {
  expect(parseSignInLimits('account=10/15min,address=100/15min')).toEqual({
    account: { count: 10, windowMs: 900_000 },
    address: { count: 100, windowMs: 900_000 },
  });
  expect(parseSignInLimits('address=5/30s')).toEqual({ address: { count: 5, windowMs: 30_000 } });
  expect(parseSignInLimits('account=1/h')).toEqual({ account: { count: 1, windowMs: 3_600_000 } });
  expect(parseSignInLimits('off')).toEqual({});
});

it.each([
  '',
  'on',
  'account=0/15min',
  'account=5',
  'account=5/0min',
  'account=5/1d',
  'account=1/s,account=2/s',
  'user=1/s',
])('refuses %j', (text) => expect(parseSignInLimits(text)).toBeUndefined());
