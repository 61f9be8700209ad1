import fc from 'fast-check';
import { ALGORITHMS, type Algorithm, type AlgorithmName, type Decision, type State } from './algorithms';

const limit = { quota: 10, windowMs: 60_000 };
const START = 1_800_000_000_000; // the beginning of a clock minute

/** Sends requests at the given moments and returns their decisions. */
function run(algorithm: Algorithm, moments: readonly number[], of = limit): Decision[] {
  let state: State | undefined;
  return moments.map((at) => {
    const step = algorithm(state, at, of);
    state = step.state;
    return step.decision;
  });
}
const admittedAt = (algorithm: Algorithm, moments: readonly number[], of = limit) =>
  run(algorithm, moments, of).flatMap(({ allowed }, index) => (allowed ? [moments[index]!] : []));

const arrivals = fc
  .array(fc.integer({ min: 0, max: 4_000 }), { minLength: 1, maxLength: 400 })
  .map((gaps) => gaps.reduce<number[]>((moments, gap) => [...moments, (moments.at(-1) ?? START) + gap], []));

/** The most that was admitted in any time of `length`, both ends included. */
function densest(moments: readonly number[], lengthMs: number): number {
  let from = 0;
  return moments.reduce((most, moment, index) => {
    while (moments[from]! < moment - lengthMs) from += 1;
    return Math.max(most, index - from + 1);
  }, 0);
}

const burst = (at: number, count: number) => Array.from({ length: count }, () => at);
const names = Object.keys(ALGORITHMS) as AlgorithmName[];

describe.each(names)('%s', (name) => {
  const algorithm = ALGORITHMS[name];

  it('admits the quota at once to a client that was never seen, and no more', () => {
    const decisions = run(algorithm, burst(START, 12));
    expect(decisions.map(({ allowed }) => allowed)).toEqual([...Array(10).fill(true), false, false]);
    expect(decisions.map(({ remaining }) => remaining)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
  });

  it('admits again exactly when it said that it would', () => {
    fc.assert(
      fc.property(arrivals, (moments) => {
        let state: State | undefined;
        for (const at of moments) {
          const step = algorithm(state, at, limit);
          if (!step.decision.allowed) {
            const wait = step.decision.retryAfterMs;
            expect(algorithm(step.state, at + Math.ceil(wait + 1e-6), limit).decision.allowed).toBe(true);
            if (wait > 2)
              expect(algorithm(step.state, at + Math.floor(wait) - 1, limit).decision.allowed).toBe(false);
          }
          state = step.state;
        }
      }),
    );
  });

  it('tells how many requests are left so that exactly so many are admitted', () => {
    fc.assert(
      fc.property(arrivals, (moments) => {
        const last = run(algorithm, moments).at(-1)!;
        const more = run(algorithm, [...moments, ...burst(moments.at(-1)!, 11)]).slice(moments.length);
        expect(more.filter(({ allowed }) => allowed)).toHaveLength(last.remaining);
      }),
    );
  });

  it('never forgets what was used when the clock is set back', () => {
    const back = [...burst(START + 30_000, 10), ...burst(START, 10), ...burst(START + 30_000, 10)];
    const decisions = run(algorithm, back);
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(10);
    expect(decisions.slice(10).every(({ remaining }) => remaining === 0)).toBe(true);
  });

  it('is quiet for two windows: the whole quota is there again', () => {
    const decisions = run(algorithm, [...burst(START + 59_999, 10), START + 180_000]);
    expect(decisions.at(-1)).toMatchObject({ allowed: true, remaining: 9, retryAfterMs: 0 });
  });

  it('takes a limit that changes between two requests at its word', () => {
    const used = burst(START, 5).reduce<State | undefined>(
      (state, at) => algorithm(state, at, limit).state,
      undefined,
    );
    expect(algorithm(used, START, { quota: 3, windowMs: 60_000 }).decision.allowed).toBe(
      name === 'token-bucket',
    );
  });
});

describe.each(['token-bucket', 'sliding-window'] as const)('%s', (name) => {
  it('admits at most quota x (1 + t / window) in any time t of up to a window', () => {
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 60_000 }), (moments, lengthMs) => {
        const most = limit.quota * (1 + lengthMs / limit.windowMs);
        expect(densest(admittedAt(ALGORITHMS[name], moments), lengthMs)).toBeLessThanOrEqual(most + 1e-6);
      }),
      { numRuns: 300 },
    );
  });

  it("does not let a window's edge double a burst", () => {
    const edge = [...burst(START + 59_999, 10), ...burst(START + 60_000, 10)];
    expect(admittedAt(ALGORITHMS[name], edge)).toHaveLength(10);
  });
});

it('the fixed window admits at most the quota in a clock minute, and twice that around its edge', () => {
  const edge = [...burst(START + 59_999, 12), ...burst(START + 60_000, 12)];
  expect(admittedAt(ALGORITHMS['fixed-window'], edge)).toHaveLength(20);
  fc.assert(
    fc.property(arrivals, (moments) => {
      const perMinute = new Map<number, number>();
      for (const at of admittedAt(ALGORITHMS['fixed-window'], moments)) {
        const minute = Math.floor(at / 60_000);
        perMinute.set(minute, (perMinute.get(minute) ?? 0) + 1);
      }
      expect(Math.max(...perMinute.values())).toBeLessThanOrEqual(10);
    }),
  );
});

it('the token bucket never refuses a client that keeps to its rate', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 120_000 }), (quota) => {
      const gap = Math.ceil(60_000 / quota);
      const moments = Array.from({ length: 300 }, (_, index) => START + index * gap);
      const decisions = run(ALGORITHMS['token-bucket'], moments, { quota, windowMs: 60_000 });
      expect(decisions.every(({ allowed }) => allowed)).toBe(true);
    }),
  );
});
