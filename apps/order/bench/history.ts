import { systemClock } from '@headroom/resilience';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/**
 * Brings a generated history into a running system (`npm start`) by its API, twice: orders a second, the largest memory of the
 * order service, and whether the report of sales by day agrees with the file to the penny. With `--kills N` the order service is
 * killed with SIGKILL so many times during the first import. The exit code tells whether every count and sum is exact.
 * `npx tsx --tsconfig tsconfig.base.json apps/order/bench/history.ts --orders 50000 --kills 3 --password ...`
 */
const { values: options } = parseArgs({
  options: {
    gateway: { type: 'string', default: 'http://127.0.0.1:8080' },
    'order-port': { type: 'string', default: '7102' },
    email: { type: 'string', default: 'admin@headroom.example' },
    password: { type: 'string', default: process.env['ADMIN_PASSWORD'] ?? '' },
    orders: { type: 'string', default: '50000' },
    lines: { type: 'string', default: '4' },
    kills: { type: 'string', default: '0' },
  },
});
const orders = Number(options.orders);
const linesPerOrder = Number(options.lines);
const run = Date.now().toString(36);
/** A currency of its own for each run, so that its report stands alone. */
const currency = `Z${run
  .slice(-2)
  .toUpperCase()
  .replaceAll(/\d/g, (digit) => 'ABCDEFGHIJ'[Number(digit)]!)}`;
const FIRST_DAY = Date.UTC(2009, 11, 1);
const DAYS = 700;

interface Job {
  id: string;
  status: string;
  processed: number;
  created: number;
  unchanged: number;
  rejected: number;
  errors: Array<{ line: number; code: string; reason: string }>;
}
interface Session {
  accessToken: string;
}
interface Report {
  items: Array<{ currency: string; orders: number; units: number; revenue: { amountMinor: number } }>;
  page: { nextCursor: string | null };
}

let session: { token: string; sinceMs: number } | undefined;

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(`${options.gateway}${path}`, init);
    if (response.ok) return (await response.json()) as T;
    const text = await response.text();
    if ((response.status !== 503 && response.status !== 429) || tries === 300)
      throw new Error(`${path}: ${response.status} ${text}`);
    await systemClock.sleep(200);
  }
}

async function asAdmin(): Promise<Record<string, string>> {
  if (!session || performance.now() - session.sinceMs > 240_000) {
    const { email, password } = options;
    const { accessToken } = await call<Session>('/v1/sessions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email, password }),
    });
    session = { token: accessToken, sinceMs: performance.now() };
  }
  return { authorization: `Bearer ${session.token}` };
}

/** The file, and what the report must say about it. */
function generate(skus: readonly string[]): { file: string; units: number; revenueMinor: number } {
  const lines: string[] = [];
  let units = 0;
  let revenueMinor = 0;
  for (let n = 0; n < orders; n += 1) {
    const items = Array.from({ length: linesPerOrder }, (_, index) => {
      const quantity = 1 + ((n + index) % 24);
      const amountMinor = (n * 31 + index * 7) % 5_000;
      units += quantity;
      revenueMinor += quantity * amountMinor;
      return { sku: skus[(n * 13 + index) % skus.length], quantity, unitPrice: { amountMinor, currency } };
    });
    const placedAt = new Date(FIRST_DAY + ((n * 60_000 * 37) % (DAYS * 86_400_000))).toISOString();
    lines.push(
      JSON.stringify({ externalId: `${run}-${n}`, email: `c${n % 500}@example.com`, placedAt, items }),
    );
  }
  return { file: lines.join('\n'), units, revenueMinor };
}

async function reported() {
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  const sum = { orders: 0, units: 0, revenueMinor: 0 };
  let cursor = '';
  do {
    const range = `from=${day(FIRST_DAY)}&to=${day(FIRST_DAY + DAYS * 86_400_000)}&by=day&limit=100`;
    const report = await call<Report>(
      `/v1/admin/reports/sales?${range}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
      { headers: await asAdmin() },
    );
    for (const item of report.items.filter((each) => each.currency === currency)) {
      sum.orders += item.orders;
      sum.units += item.units;
      sum.revenueMinor += item.revenue.amountMinor;
    }
    cursor = report.page.nextCursor ?? '';
  } while (cursor !== '');
  return sum;
}

/** The process that listens where the order service does, by /proc. */
function orderProcess(): number | undefined {
  const port = Number(options['order-port']).toString(16).toUpperCase().padStart(4, '0');
  const socket = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
    .find((columns) => columns[1]?.endsWith(`:${port}`) && columns[3] === '0A')?.[9];
  if (socket === undefined) return undefined;
  const holds = (pid: string) => {
    const links = spawnSync('ls', ['-l', `/proc/${pid}/fd`], { encoding: 'utf8' }).stdout;
    return links.includes(`socket:[${socket}]`);
  };
  const pid = readdirSync('/proc').find((name) => /^\d+$/.test(name) && holds(name));
  return pid === undefined ? undefined : Number(pid);
}

function peakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024);
}

async function importFile(file: string, kills: number) {
  const begunMs = performance.now();
  const { id } = await call<Job>('/v1/admin/order-imports', {
    method: 'POST',
    headers: { ...(await asAdmin()), 'content-type': 'application/x-ndjson' },
    body: file,
  });
  const sentMs = performance.now();
  let killed = 0;
  let peak = 0;
  for (;;) {
    const job = await call<Job>(`/v1/admin/jobs/${id}`, { headers: await asAdmin() });
    process.stderr.write(`\r${job.status} ${job.processed} of ${orders} `);
    if (job.status === 'succeeded' || job.status === 'failed') {
      const pid = orderProcess();
      if (pid !== undefined) peak = Math.max(peak, peakMiB(pid));
      process.stderr.write('\n');
      return { job, seconds: (performance.now() - sentMs) / 1_000, uploadMs: sentMs - begunMs, killed, peak };
    }
    const pid = orderProcess();
    if (pid !== undefined) peak = Math.max(peak, peakMiB(pid));
    if (pid !== undefined && killed < kills && job.processed >= ((killed + 1) / (kills + 1)) * orders) {
      process.kill(pid, 'SIGKILL');
      killed += 1;
    }
    await systemClock.sleep(250);
  }
}

async function measureHistory(): Promise<void> {
  const { items } = await call<{ items: Array<{ sku: string }> }>('/v1/products?limit=100');
  const { file, units, revenueMinor } = generate(items.map(({ sku }) => sku));
  let exact = true;
  for (const round of ['first', 'again'] as const) {
    const kills = round === 'first' ? Number(options.kills) : 0;
    const { job, seconds, uploadMs, killed, peak } = await importFile(file, kills);
    const counts = round === 'first' ? job.created : job.unchanged;
    exact &&=
      job.status === 'succeeded' && counts === orders && job.processed === orders && job.rejected === 0;
    for (const { line, code, reason } of job.errors.slice(0, 5))
      process.stderr.write(`line ${line}: ${code} ${reason}\n`);
    const visibleFromMs = performance.now();
    let report = await reported();
    while (report.orders < orders && performance.now() - visibleFromMs < 60_000) {
      await systemClock.sleep(250);
      report = await reported();
    }
    const agrees = report.orders === orders && report.units === units && report.revenueMinor === revenueMinor;
    exact &&= agrees;
    process.stdout.write(
      `${round}: ${orders} orders of ${linesPerOrder} lines (${Math.round(file.length / 1_048_576)} MiB, sent in ${(uploadMs / 1_000).toFixed(1)} s) ` +
        `in ${seconds.toFixed(1)} s, ${Math.round(orders / seconds)} orders/s; in the report ${((performance.now() - visibleFromMs) / 1_000).toFixed(1)} s later; ` +
        `${killed} kills; created ${job.created}, unchanged ${job.unchanged}, rejected ${job.rejected}; ` +
        `report ${agrees ? 'agrees to the penny' : `WRONG: ${JSON.stringify(report)}`} (${units} units, ${revenueMinor} ${currency} minor); peak ${peak} MiB\n`,
    );
  }
  process.exitCode = exact ? 0 : 1;
}

void measureHistory();
