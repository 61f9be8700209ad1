import type { Clock } from '@headroom/resilience';

/** One kind of request; how often it is chosen is its weight among all. */
export interface Action {
  name: string;
  weight: number;
  /** Sends one request; false or a rejection counts as failed. */
  run(): Promise<boolean>;
}

export interface ActionReport {
  name: string;
  sent: number;
  failed: number;
  p50Ms: number;
  p99Ms: number;
}

export interface LoadReport {
  seconds: number;
  sent: number;
  failed: number;
  /** Requests that were due but not sent, since too many were under way: the system, or this generator, was too slow. */
  dropped: number;
  /** How late requests were sent at worst, milliseconds: this generator's own fault. */
  maxLagMs: number;
  actions: ActionReport[];
  /** The first failures, as they were said. */
  failures: string[];
}

export interface Load {
  report(): LoadReport;
  /** Sends no more and waits for what is under way. */
  stop(): Promise<LoadReport>;
}

const MOST_UNDER_WAY = 1_000;
const MOST_FAILURES = 20;
/** Latencies are kept in buckets of 5 %, so that a run of any length takes the same memory. */
const GROWTH = 1.05;

/**
 * Sends requests at a constant rate, whether or not earlier ones have been answered (an open loop: a slow system is not spared;
 * see "Open Versus Closed: A Cautionary Tale", Schroeder et al., NSDI 2006).
 */
export function startOpenLoop(options: {
  actions: readonly Action[];
  perSecond: number;
  clock: Clock;
  random?: () => number;
}): Load {
  const { actions, perSecond, clock, random = Math.random } = options;
  const weights = actions.reduce((sum, { weight }) => sum + weight, 0);
  const counts = actions.map(() => ({ sent: 0, failed: 0, buckets: new Map<number, number>() }));
  const failures: string[] = [];
  const underWay = new Set<Promise<void>>();
  const stopped = new AbortController();
  const began = clock.now();
  let dropped = 0;
  let maxLagMs = 0;

  const choose = () => {
    let rest = random() * weights;
    const chosen = actions.findIndex(({ weight }) => (rest -= weight) < 0);
    return chosen < 0 ? actions.length - 1 : chosen;
  };
  const send = async (index: number) => {
    const { name, run } = actions[index]!;
    const count = counts[index]!;
    count.sent += 1;
    const started = clock.now();
    let failure: string | undefined;
    try {
      if (!(await run())) failure = `${name} failed`;
    } catch (error) {
      failure = `${name}: ${error instanceof Error ? error.message : String(error)}`;
    }
    const bucket = Math.ceil(Math.log(Math.max(1, clock.now() - started)) / Math.log(GROWTH));
    count.buckets.set(bucket, (count.buckets.get(bucket) ?? 0) + 1);
    if (failure === undefined) return;
    count.failed += 1;
    if (failures.length < MOST_FAILURES) failures.push(failure);
  };
  const loop = (async () => {
    for (let due = began; !stopped.signal.aborted; due += 1_000 / perSecond) {
      const early = due - clock.now();
      if (early > 0) await clock.sleep(early, stopped.signal);
      if (stopped.signal.aborted) return;
      maxLagMs = Math.max(maxLagMs, clock.now() - due);
      if (underWay.size >= MOST_UNDER_WAY) {
        dropped += 1;
        continue;
      }
      const sent: Promise<void> = send(choose()).finally(() => underWay.delete(sent));
      underWay.add(sent);
    }
  })();

  const report = (): LoadReport => ({
    seconds: (clock.now() - began) / 1_000,
    sent: counts.reduce((sum, each) => sum + each.sent, 0),
    failed: counts.reduce((sum, each) => sum + each.failed, 0),
    dropped,
    maxLagMs: Math.round(maxLagMs),
    actions: actions.map(({ name }, index) => {
      const { sent, failed, buckets } = counts[index]!;
      return { name, sent, failed, p50Ms: percentileOf(buckets, 0.5), p99Ms: percentileOf(buckets, 0.99) };
    }),
    failures: [...failures],
  });
  return {
    report,
    async stop() {
      stopped.abort();
      await loop;
      await Promise.all(underWay);
      return report();
    },
  };
}

/** The upper bound of the bucket in which the percentile falls, so at most 5 % too high; 0 of none. */
function percentileOf(buckets: ReadonlyMap<number, number>, share: number): number {
  const total = [...buckets.values()].reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (const [bucket, count] of [...buckets].sort(([a], [b]) => a - b)) {
    seen += count;
    if (seen >= total * share) return Math.round(GROWTH ** bucket);
  }
  return 0;
}
