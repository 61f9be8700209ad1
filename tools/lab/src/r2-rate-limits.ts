import { ALGORITHMS, type AlgorithmName, type State } from '@headroom/ratelimit';
import type { Lab } from './lab';

const QUOTA = 600;
const WINDOW_MS = 60_000;
const EDGE = 1_800_000_000_000; // the beginning of a clock minute

/** A client that sends twice its quota around the edge of a clock minute: what each algorithm lets through. */
export const rateLimits: Lab = {
  id: 'R2',
  title: 'rate limits: a burst around a window’s edge, per algorithm',
  options: {},
  run() {
    const rows = (Object.keys(ALGORITHMS) as AlgorithmName[]).map((name) => {
      const admitted = admit(name);
      const within = (fromMs: number, toMs: number) =>
        admitted.filter((at) => at >= EDGE + fromMs && at < EDGE + toMs).length;
      return {
        name,
        atEdge: within(-1_000, 1_000),
        inMinute: within(-1_000, 59_000),
        steady: within(60_000, 120_000),
      };
    });
    return Promise.resolve({
      table: rows.map(({ name, atEdge, inMinute, steady }) => ({
        algorithm: name,
        'in the 2 s around the edge': `${atEdge} (${(atEdge / QUOTA).toFixed(2)}x)`,
        'in 60 s from the first': `${inMinute} (${(inMinute / QUOTA).toFixed(2)}x)`,
        'in a later full minute': `${steady} (${(steady / QUOTA).toFixed(2)}x)`,
      })),
      result: rows,
      summary: `a client that never stops sending; quota ${QUOTA} a minute`,
      passed: rows.every(({ name, atEdge }) =>
        name === 'fixed-window' ? atEdge === 2 * QUOTA : atEdge <= QUOTA * (1 + 2_000 / WINDOW_MS),
      ),
    });
  },
};

/** When requests are admitted of a client that sends one every millisecond from a second before the edge on. */
function admit(name: AlgorithmName): number[] {
  const admitted: number[] = [];
  let state: State | undefined;
  for (let at = EDGE - 1_000; at < EDGE + 2 * WINDOW_MS; at += 1) {
    const step = ALGORITHMS[name](state, at, { quota: QUOTA, windowMs: WINDOW_MS });
    state = step.state;
    if (step.decision.allowed) admitted.push(at);
  }
  return admitted;
}
