import { readFileSync } from 'node:fs';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** The registry of this process: everything registered here is what its `/metrics` answers. */
const registry = new Registry();

/** Upper bounds in seconds, dense where the service levels lie (300 and 500 ms). */
const SECONDS_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10];

interface Described<L extends string> {
  name: string;
  help: string;
  labels?: readonly L[];
}

/**
 * A histogram of durations in seconds. Label values must come from a closed set (route patterns, statement names, status
 * codes), never ids. Asking twice for one name returns the same metric.
 */
export function durationHistogram<L extends string>(
  options: Described<L>,
): (labels: Record<L, string>, seconds: number) => void {
  return histogram({ ...options, buckets: SECONDS_BUCKETS });
}

/** A histogram with upper bounds of its own; labels as for durations. */
export function histogram<L extends string>(
  options: Described<L> & { buckets: readonly number[] },
): (labels: Record<L, string>, value: number) => void {
  const metric =
    (registry.getSingleMetric(options.name) as Histogram<L> | undefined) ??
    new Histogram({
      name: options.name,
      help: options.help,
      labelNames: [...(options.labels ?? [])],
      buckets: [...options.buckets],
      registers: [registry],
    });
  return (labels, value) => metric.observe(labels, value);
}

/** A counter; the returned function adds `by` (default 1). */
export function counter<L extends string>(
  options: Described<L>,
): (labels: Record<L, string>, by?: number) => void {
  const metric =
    (registry.getSingleMetric(options.name) as Counter<L> | undefined) ??
    new Counter({
      name: options.name,
      help: options.help,
      labelNames: [...(options.labels ?? [])],
      registers: [registry],
    });
  return (labels, by = 1) => metric.inc(labels, by);
}

/** A gauge that the owner sets. */
export function gauge<L extends string>(
  options: Described<L>,
): (labels: Record<L, string>, value: number) => void {
  const metric =
    (registry.getSingleMetric(options.name) as Gauge<L> | undefined) ??
    new Gauge({
      name: options.name,
      help: options.help,
      labelNames: [...(options.labels ?? [])],
      registers: [registry],
    });
  return (labels, value) => metric.set(labels, value);
}

/** Adds CPU, memory, garbage collection, handles, event-loop delay and network bytes of this process. Call once, at start. */
export function collectProcessMetrics(): void {
  collectDefaultMetrics({ register: registry });
  collectNetworkMetrics();
  let last = performance.eventLoopUtilization();
  new Gauge({
    name: 'nodejs_eventloop_utilization_ratio',
    help: 'Share of the time since the last scrape in which the event loop was busy (0..1)',
    registers: [registry],
    collect() {
      const now = performance.eventLoopUtilization();
      this.set(performance.eventLoopUtilization(now, last).utilization);
      last = now;
    },
  });
}

/** Bytes by network device since this machine or container started, from the kernel; nothing where it has no such file. */
function collectNetworkMetrics(): void {
  const column = { receive: 0, transmit: 8 };
  for (const [direction, index] of Object.entries(column)) {
    new Counter({
      name: `process_network_${direction}_bytes_total`,
      help: `Bytes that went ${direction === 'receive' ? 'in' : 'out'}, by network device`,
      labelNames: ['device'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [device, fields] of networkDevices()) this.inc({ device }, Number(fields[index]));
      },
    });
  }
}

function networkDevices(): Array<[device: string, fields: string[]]> {
  try {
    return readFileSync('/proc/self/net/dev', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .flatMap(([device, counts]) =>
        counts === undefined ? [] : [[device!.trim(), counts.trim().split(/\s+/)]],
      );
  } catch {
    return [];
  }
}

/** The scrape: Prometheus text format and its content type. */
export async function scrape(): Promise<{ contentType: string; body: string }> {
  return { contentType: registry.contentType, body: await registry.metrics() };
}
