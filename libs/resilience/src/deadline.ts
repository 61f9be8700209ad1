import { Fault } from './fault';

/**
 * Rejects with a `timeout` fault when `promise` has not settled after `ms` milliseconds. The work itself is not
 * stopped: pass a signal into it where it can be.
 */
export async function withTimeout<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new Fault('timeout', 'DEPENDENCY_UNAVAILABLE', { detail: `${what} took longer than ${ms} ms` }),
        ),
      ms,
    );
  });
  try {
    return await Promise.race([promise, expiry]);
  } finally {
    clearTimeout(timer);
  }
}
