import { systemClock } from '@headroom/resilience';
import { ManualClock } from '@headroom/testing';
import { startOpenLoop } from './open-loop';

/** Moves time on in steps, letting what became due run. */
async function pass(clock: ManualClock, ms: number, stepMs = 5): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    clock.advance(stepMs);
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }
}

it('sends at its rate whether or not anything is answered, and then drops instead of waiting', async () => {
  const clock = new ManualClock();
  const load = startOpenLoop({
    actions: [{ name: 'stuck', weight: 1, run: () => new Promise<boolean>(() => undefined) }],
    perSecond: 100,
    clock,
  });
  await pass(clock, 5_000);
  expect(load.report()).toMatchObject({ seconds: 5, dropped: 0, maxLagMs: 0 });
  expect(Math.abs(load.report().sent - 500)).toBeLessThanOrEqual(1);
  await pass(clock, 10_000);
  expect(load.report().sent).toBe(1_000);
  expect(Math.abs(load.report().dropped - 500)).toBeLessThanOrEqual(1);
});

it('chooses by weight, and tells failures and latencies by kind', async () => {
  const clock = new ManualClock();
  let turn = 0;
  const load = startOpenLoop({
    actions: [
      { name: 'often', weight: 3, run: () => clock.sleep(100).then(() => true) },
      { name: 'seldom', weight: 1, run: () => Promise.reject(new Error('no such thing')) },
    ],
    perSecond: 40,
    clock,
    random: () => (turn++ % 4) / 4,
  });
  await pass(clock, 10_000);
  const { actions, failed, failures } = load.report();
  expect(actions[0]!.sent / actions[1]!.sent).toBeCloseTo(3, 0);
  expect(actions[1]!.failed).toBe(actions[1]!.sent);
  expect(failed).toBe(actions[1]!.sent);
  expect(failures).toHaveLength(20);
  expect(failures[0]).toBe('seldom: no such thing');
  expect(actions[0]!.p50Ms).toBeGreaterThanOrEqual(100);
  expect(actions[0]!.p50Ms).toBeLessThanOrEqual(110);
});

it('stops only when what it sent has been answered', async () => {
  let answered = 0;
  const load = startOpenLoop({
    actions: [
      {
        name: 'slow',
        weight: 1,
        run: async () => {
          await systemClock.sleep(20);
          answered += 1;
          return true;
        },
      },
    ],
    perSecond: 500,
    clock: systemClock,
  });
  await systemClock.sleep(50);
  const { sent } = await load.stop();
  expect(sent).toBeGreaterThan(0);
  expect(answered).toBe(sent);
});
