import fc from 'fast-check';
import { assignedTo, murmur2 } from './leases';
import { partitionOf } from './postgres-log';

it('places keys as Kafka does', () => {
  // The vectors of Kafka's own tests (org.apache.kafka.common.utils.UtilsTest), without their sign bit.
  const vectors: Record<string, number> = {
    '21': -973932308,
    foobar: -790332482,
    'a-little-bit-long-string': -985981536,
    'a-little-bit-longer-string': -1486304829,
    lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
    abc: 479470107,
  };
  for (const [text, hash] of Object.entries(vectors))
    expect([text, murmur2(text)]).toEqual([text, hash & 0x7fffffff]);
  expect(partitionOf('foobar', 6)).toBe((-790332482 & 0x7fffffff) % 6);
});

it('gives every item one member that works on its kind, and no member two more than another', () => {
  const kinds = ['a', 'b', 'c'];
  fc.assert(
    fc.property(
      fc.array(fc.subarray(kinds, { minLength: 1 }), { minLength: 1, maxLength: 9 }),
      fc.integer({ min: 1, max: 30 }),
      (subscriptions, count) => {
        const alive = subscriptions.map((each, index) => ({ member: `m${index}`, kinds: each }));
        for (const kind of kinds) {
          const able = alive.filter((each) => each.kinds.includes(kind)).map((each) => each.member);
          const shares = new Map(able.map((member) => [member, 0]));
          for (let number = 0; number < count; number += 1) {
            const member = assignedTo({ kind, number }, alive);
            if (able.length === 0) expect(member).toBeUndefined();
            else shares.set(member!, (shares.get(member!) ?? NaN) + 1);
          }
          const sizes = [...shares.values()];
          if (sizes.length > 0) expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        }
      },
    ),
  );
});
