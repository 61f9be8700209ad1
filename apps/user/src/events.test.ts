import { readEventFixture } from '@headroom/contracts';
import { ManualClock } from '@headroom/testing';
import { userEvent } from './events';
import { changeUser, TIERS, type User } from './user';

const fixtures = {
  registered: readEventFixture('headroom.user.registered'),
  updated: readEventFixture('headroom.user.updated'),
};
const { createdAt, tier, ...data } = fixtures.registered.event.data;
const registered: User = {
  ...data,
  tier: TIERS.find((each) => each === tier)!,
  version: 1n,
  createdAt: new Date(createdAt),
};
const updated = changeUser(registered, { name: fixtures.updated.event.data.name, tier: 'premium' })!.user;

it.each([
  ['registered', registered],
  ['updated', updated],
] as const)('publishes %s as the contract has it, and nothing that proves a password', (name, user) => {
  const { topic, key, event } = fixtures[name];
  const { traceparent: _, ...published } = event;
  const stored = { ...user, passwordHash: '$argon2id$secret' };
  expect(userEvent(`headroom.user.${name}`, stored, new ManualClock(Date.parse(event.time)))).toEqual({
    topic,
    key,
    event: { ...published, id: expect.any(String) },
  });
});
