import { ManualClock } from '@headroom/testing';
import fc from 'fast-check';
import {
  backoffMs,
  Bulkhead,
  Fault,
  FAULT_KINDS,
  isRetriable,
  isUuidv7,
  startPoller,
  uuidv7,
  uuidv7TimeMs,
  withTimeout,
} from './index';

describe('faults', () => {
  it('are retriable by their kind alone, and only where the call had no effect', () => {
    const retriable = Object.keys(FAULT_KINDS).filter((kind) =>
      isRetriable(new Fault(kind as keyof typeof FAULT_KINDS, 'X')),
    );
    expect(retriable).toEqual(['unavailable']);
    expect(isRetriable(new TypeError('a programming error'))).toBe(false);
  });
});

describe('backoff', () => {
  it('stays between nothing and the cap for every attempt and every random number', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (attempt, random) => {
          const delay = backoffMs(attempt, { baseMs: 100, capMs: 5_000, random: () => random });
          return delay >= 0 && delay <= Math.min(5_000, 100 * 2 ** Math.min(attempt - 1, 30));
        },
      ),
    );
  });
});

describe('ids', () => {
  it('are valid version 7 UUIDs that carry their time, for every time and every random bits', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 48 - 1 }),
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        (time, random) => {
          const id = uuidv7(time, Buffer.from(random));
          return isUuidv7(id) && uuidv7TimeMs(id) === time;
        },
      ),
    );
  });

  it('sort as text in the order of their times', () => {
    expect(uuidv7(1_000) < uuidv7(1_001)).toBe(true);
  });
});

describe('a bulkhead', () => {
  it('runs so many at once, queues so many, and refuses the next one at once', async () => {
    const bulkhead = new Bulkhead({ concurrency: 2, queue: 1 });
    const finish: Array<() => void> = [];
    let running = 0;
    const work = () =>
      bulkhead.run(async () => {
        running += 1;
        await new Promise<void>((resolve) => finish.push(resolve));
        running -= 1;
      });
    const admitted = [work(), work(), work()];
    await expect(work()).rejects.toMatchObject({ kind: 'overloaded', code: 'OVERLOADED' });
    expect([running, bulkhead.queued]).toEqual([2, 1]);
    for (let n = 0; n < 3; n += 1) {
      finish.shift()!();
      await admitted[n];
    }
    expect(running).toBe(0);
    await expect(bulkhead.run(async () => 'free again')).resolves.toBe('free again');
  });

  it('gives its place back when the work throws', async () => {
    const bulkhead = new Bulkhead({ concurrency: 1, queue: 0 });
    await expect(bulkhead.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(bulkhead.run(async () => 'yes')).resolves.toBe('yes');
  });
});

describe('a time limit', () => {
  it('ends the wait with a timeout fault that names what was late', async () => {
    await expect(withTimeout(new Promise(() => undefined), 5, 'the broker')).rejects.toMatchObject({
      kind: 'timeout',
      detail: 'the broker took longer than 5 ms',
    });
    await expect(withTimeout(Promise.resolve('in time'), 1_000, 'it')).resolves.toBe('in time');
  });
});

describe('a poller', () => {
  it('goes on at once while there is work, pauses when there is none, and a kick ends the pause', async () => {
    const clock = new ManualClock();
    const rounds: boolean[] = [true, true, false];
    let count = 0;
    let paused: () => void = () => undefined;
    const idle = new Promise<void>((resolve) => (paused = resolve));
    const sleep = clock.sleep.bind(clock);
    clock.sleep = (ms, signal) => {
      paused();
      return sleep(ms, signal);
    };
    const poller = startPoller({
      round: async () => rounds[count++] ?? false,
      idleMs: 1_000,
      onError: fail,
      clock,
    });
    await idle;
    expect(count).toBe(3);
    poller.kick();
    await new Promise(setImmediate);
    expect(count).toBe(4);
    clock.advance(1_000);
    await new Promise(setImmediate);
    expect(count).toBe(5);
    await poller.close();
  });

  it('outlives a round that throws, and waits before the next one', async () => {
    const clock = new ManualClock();
    const errors: unknown[] = [];
    let count = 0;
    const poller = startPoller({
      round: async () => {
        count += 1;
        throw new Error('down');
      },
      idleMs: 10,
      onError: (error) => errors.push(error),
      clock,
    });
    await new Promise(setImmediate);
    expect([count, errors.length]).toEqual([1, 1]);
    clock.advance(6_000);
    await new Promise(setImmediate);
    expect(count).toBe(2);
    await poller.close();
  });
});

function fail(error: unknown): never {
  throw error;
}
