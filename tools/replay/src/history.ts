import { systemClock, type Clock } from '@headroom/resilience';
import {
  awaitJob,
  checkSystem,
  createHttp,
  inParallel,
  jobLines,
  signInAdmin,
  startProgress,
  UnexpectedAnswer,
  upload,
  UsageError,
  type Account,
  type BackgroundJob,
} from '@headroom/shop-api';
import { Readable } from 'node:stream';
import { emptyDaySales, historyOf, type DaySales, type HistoryOrder } from './history-plan';
import type { ReplayOptions } from './options';
import { planOf } from './plan';
import { badRowLines, countBadRows, historyTable } from './report';
import { readSalesFile } from './sales-file';
import { readSalesReport } from './sales-report';
import { createProducts, registerCustomer } from './shop';

/** Each registration costs the shop a slow hash. */
const REGISTRATION_CONCURRENCY = 4;
const WRITE_CONCURRENCY = 8;

/** One day of the file against the report. */
export interface ComparedDay {
  day: string;
  file: DaySales;
  shop: Pick<DaySales, 'orders' | 'units' | 'revenueMinor'>;
}

/**
 * Brings the file's customers, products and invoices into the shop and compares the days; returns the exit code. Fails with a
 * UsageError, a FileError or the reason why it could not go on.
 */
export async function replayHistory(options: ReplayOptions): Promise<number> {
  const { file, currency, skuPrefix, gateway } = options;
  const output = options.json ? process.stderr : process.stdout;
  const say = (line: string) => void output.write(`${line}\n`);
  const phase = (name: string, total: number) => startProgress(output, name, total);
  const clock = systemClock;

  const reading = phase('file', 1);
  const { sales, badRows } = await readSalesFile(file, currency);
  const history = historyOf(sales, { currency, skuPrefix });
  const { products } = planOf(sales);
  const customers = [...new Set(sales.flatMap(({ customer }) => customer ?? []))];
  reading.done(
    `${sales.length} rows: ${new Set(sales.map(({ invoice }) => invoice)).size} invoices, ${products.length} products, ${customers.length} customers; ${badRows.length} rows are no sales`,
  );
  badRowLines(badRows).forEach(say);
  for (const { invoice, orders } of history.split)
    say(`     invoice ${invoice} is more than one order may hold: imported as ${orders} orders`);
  if (sales.length === 0) throw new UsageError(`${file} has no row that is a sale`, 65);

  await checkSystem({ gateway });
  const shop = createHttp(gateway, { clock });
  const admin = await signInAdmin(shop, clock, options.admin);

  const registering = phase('customers', customers.length);
  let registered = 0;
  await inParallel(customers, REGISTRATION_CONCURRENCY, async (customer) => {
    if (await registerCustomer(shop, customer, options.admin.password)) registered += 1;
    registering.step();
  });
  registering.done(`${registered} registered, ${customers.length - registered} were there`);

  const making = phase('products', products.length);
  const made = await createProducts(admin, products, {
    currency,
    skuPrefix,
    onHand: () => 0,
    concurrency: WRITE_CONCURRENCY,
    onDone: () => making.step(),
  });
  making.done(`${made.created.size} created, ${made.taken.size} were there and stay as they are`);

  const job = await importOrders(history.orders, { admin, gateway, clock, phase });
  jobLines(job).slice(1).forEach(say);

  const comparing = phase('comparison', 1);
  const days = await compare(history.days, {
    admin,
    currency,
    clock,
    patienceMs: options.patienceSeconds * 1_000,
  });
  const differences = days.filter(isDifferent);
  comparing.done(`${days.length} days read from the sales report`);
  say('');
  historyTable(days, currency).forEach(say);
  say('');
  say(
    `${differences.length} days differ; ${job.created} invoices were new, ${job.unchanged} were there, ${job.rejected} were rejected; ${badRows.length} rows of the file are no sales`,
  );
  if (options.json) {
    const report = {
      file,
      currency,
      rows: sales.length + badRows.length,
      badRows: countBadRows(badRows),
      splitInvoices: history.split,
      customers: { registered, existing: customers.length - registered },
      products: { created: made.created.size, existing: made.taken.size },
      job,
      days: days.map((each) => ({ ...each, differs: isDifferent(each) })),
      differences: differences.length,
    };
    // Amounts fit: the API itself gives no larger ones.
    process.stdout.write(
      `${JSON.stringify(report, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value), 2)}\n`,
    );
  }
  return differences.length === 0 && job.rejected === 0 && job.status === 'succeeded' ? 0 : 1;
}

async function importOrders(
  orders: readonly HistoryOrder[],
  deps: {
    admin: Account;
    gateway: string;
    clock: Clock;
    phase: (name: string, total: number) => ReturnType<typeof startProgress>;
  },
): Promise<BackgroundJob> {
  const { admin, gateway, clock, phase } = deps;
  const importing = phase('orders', orders.length);
  const accepted = await upload<BackgroundJob>({
    url: `${gateway}/v1/admin/order-imports`,
    method: 'POST',
    token: await admin.token(),
    contentType: 'application/x-ndjson',
    body: Readable.from(
      (function* () {
        for (const order of orders) yield Buffer.from(`${JSON.stringify(order)}\n`);
      })(),
    ),
  });
  if (accepted.status !== 202) throw new UnexpectedAnswer('the upload of the orders', accepted);
  const job = await awaitJob(admin, accepted.body.id, {
    clock,
    onProgress: ({ processed }) => importing.reach(processed),
  });
  importing.done(jobLines(job)[0]!);
  return job;
}

/** Reads the report until it says what the file says, or for as long as it may lag behind. */
async function compare(
  days: ReadonlyMap<string, DaySales>,
  deps: { admin: Account; currency: string; clock: Clock; patienceMs: number },
): Promise<ComparedDay[]> {
  const { admin, currency, clock, patienceMs } = deps;
  const began = clock.now();
  for (;;) {
    const reported = await readSalesReport(admin, days.keys(), currency);
    const compared = [...new Set([...days.keys(), ...reported.keys()])].sort().map((day) => ({
      day,
      file: days.get(day) ?? emptyDaySales(),
      shop: reported.get(day) ?? emptyDaySales(),
    }));
    if (!compared.some(isDifferent) || clock.now() - began >= patienceMs) return compared;
    await clock.sleep(1_000);
  }
}

export const isDifferent = ({ file, shop }: ComparedDay): boolean =>
  file.orders !== shop.orders || file.units !== shop.units || file.revenueMinor !== shop.revenueMinor;
