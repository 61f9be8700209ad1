import type { Clock } from '@headroom/resilience';

/** A process whose operations port can be asked. */
export interface SoakedProcess {
  name: string;
  opsUrl: string;
}

/** What a process still held after a full garbage collection. */
export interface Held {
  heapBytes: number;
  externalBytes: number;
  residentBytes: number;
  handles: number;
}

export interface SoakedRow {
  name: string;
  early: Held;
  late: Held;
  /** Late against early heap. */
  heapRatio: number;
  /** What is wrong, or undefined. */
  leak: string | undefined;
}

/** A heap may be so many times larger at the end: what grows more than this in minutes grows without end in days. */
export const MOST_HEAP_RATIO = 1.05;
/** Open handles come and go with connections: so many more are no leak, and a fifth; what leaks per request is thousands. */
const MORE_HANDLES = 100;
const MOST_HANDLE_RATIO = 1.2;

/**
 * Compares what each process holds at two moments of a constant load, each time after a forced collection; the least of three
 * looks counts, since requests under way are no leak. `atMs` are milliseconds after the call.
 */
export async function soak(options: {
  processes: readonly SoakedProcess[];
  earlyAtMs: number;
  lateAtMs: number;
  clock: Clock;
  onLook?(held: ReadonlyMap<string, Held>): void;
}): Promise<SoakedRow[]> {
  const { processes, earlyAtMs, lateAtMs, clock, onLook } = options;
  const began = clock.now();
  await clock.sleep(earlyAtMs);
  const early = await look(processes, clock);
  onLook?.(early);
  for (let at = began + earlyAtMs + 60_000; at < began + lateAtMs - 30_000; at += 60_000) {
    await clock.sleep(at - clock.now());
    onLook?.(await look(processes, clock, 1));
  }
  await clock.sleep(began + lateAtMs - clock.now());
  const late = await look(processes, clock);
  onLook?.(late);
  return processes.map(({ name }) => compare(name, early.get(name)!, late.get(name)!));
}

/** The verdict on one process. */
export function compare(name: string, early: Held, late: Held): SoakedRow {
  const heapRatio = late.heapBytes / early.heapBytes;
  const leaks = [
    ...(heapRatio > MOST_HEAP_RATIO
      ? [
          `the heap grew by ${((heapRatio - 1) * 100).toFixed(1)} %, at most ${((MOST_HEAP_RATIO - 1) * 100).toFixed(0)} % is allowed`,
        ]
      : []),
    ...(late.handles > early.handles * MOST_HANDLE_RATIO + MORE_HANDLES
      ? [`open handles grew from ${early.handles} to ${late.handles}`]
      : []),
  ];
  return { name, early, late, heapRatio, leak: leaks.length > 0 ? leaks.join('; ') : undefined };
}

async function look(
  processes: readonly SoakedProcess[],
  clock: Clock,
  times = 3,
): Promise<Map<string, Held>> {
  const least = new Map<string, Held>();
  for (let time = 0; time < times; time += 1) {
    if (time > 0) await clock.sleep(1_000);
    for (const { name, opsUrl } of processes) {
      const response = await fetch(`${opsUrl}/collected-memory`, {
        method: 'POST',
        signal: AbortSignal.timeout(10_000),
      });
      if (!response.ok) throw new Error(`${name} did not tell its memory: status ${response.status}`);
      const held = (await response.json()) as Held;
      const before = least.get(name);
      if (!before) least.set(name, held);
      else
        for (const key of Object.keys(held) as Array<keyof Held>)
          before[key] = Math.min(before[key], held[key]);
    }
  }
  return least;
}
