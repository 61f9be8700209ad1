import { backoffMs } from './backoff';
import { systemClock, type Clock } from './clock';

export interface Poller {
  /** Asks for a round now instead of after the idle pause; cheap, may be called often. */
  kick(): void;
  /** Lets the round under way finish and ends the loop. */
  close(): Promise<void>;
}

/**
 * Runs `round` again and again: at once while it reports work (true), after `idleMs` when it found none, with backoff
 * (100 ms to 5 s, full jitter) when it throws. Rounds never overlap.
 */
export function startPoller(options: {
  round: (signal: AbortSignal) => Promise<boolean>;
  idleMs: number;
  onError: (error: unknown) => void;
  clock?: Clock;
}): Poller {
  const clock = options.clock ?? systemClock;
  const stop = new AbortController();
  let kicked = false;
  let wake: AbortController | undefined;

  const pause = async (ms: number) => {
    if (kicked || stop.signal.aborted) return;
    wake = new AbortController();
    await clock.sleep(ms, wake.signal);
    wake = undefined;
  };
  const loop = async () => {
    let failures = 0;
    while (!stop.signal.aborted) {
      kicked = false;
      try {
        const worked = await options.round(stop.signal);
        failures = 0;
        if (!worked) await pause(options.idleMs);
      } catch (error) {
        failures += 1;
        if (!stop.signal.aborted) options.onError(error);
        kicked = false; // a kick must not turn a failing dependency into a busy loop
        await pause(100 + backoffMs(failures, { baseMs: 100, capMs: 5_000 }));
      }
    }
  };
  const done = loop();
  return {
    kick() {
      kicked = true;
      wake?.abort();
    },
    async close() {
      stop.abort();
      wake?.abort();
      await done;
    },
  };
}
