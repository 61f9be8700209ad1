/**
 * Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the delay before
 * try `attempt` (1 = the first repetition) is uniform in [0, min(cap, base * 2^(attempt-1))] milliseconds.
 */
export function backoffMs(
  attempt: number,
  options: { baseMs: number; capMs: number; random?: () => number },
): number {
  const ceiling = Math.min(options.capMs, options.baseMs * 2 ** Math.min(attempt - 1, 30));
  return (options.random ?? Math.random)() * ceiling;
}
