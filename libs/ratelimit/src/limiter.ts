import type { Clock } from '@headroom/resilience';
import { LRUCache } from 'lru-cache';
import { ALGORITHMS, type AlgorithmName, type Decision, type Limit, type State } from './algorithms';

/** Counts requests by key; a key's limit may differ from call to call (its user's tier may change). */
export interface RateLimiter {
  take(key: string, limit: Limit): Promise<Decision>;
  /** Keys that are remembered now. */
  size(): number;
}

/** Two or three numbers and a short key each: about 20 MB. */
const MOST_KEYS = 100_000;

/**
 * A limiter in this process: exact within it, forgotten at a restart. It remembers the `maxKeys` clients that came last; one
 * that is forgotten starts afresh, so a flood from more addresses than that is let in as if each were new: such a flood is
 * for the edge to stop.
 */
export function createMemoryLimiter(options: {
  algorithm: AlgorithmName;
  clock: Clock;
  maxKeys?: number;
}): RateLimiter {
  const step = ALGORITHMS[options.algorithm];
  const states = new LRUCache<string, State>({ max: options.maxKeys ?? MOST_KEYS });
  return {
    async take(key, limit) {
      const { decision, state } = step(states.get(key), options.clock.now(), limit);
      states.set(key, state);
      return decision;
    },
    size: () => states.size,
  };
}
