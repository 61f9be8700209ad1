import { addressGroup, parseSignInLimits } from './throttle';

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
])('counts %j as %j', (address, group) => expect(addressGroup(address)).toBe(group));
