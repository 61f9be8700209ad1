import { systemClock } from '@headroom/resilience';
import {
  checkSystem,
  createHttp,
  inParallel,
  signInAdmin,
  startProgress,
  UsageError,
  type Account,
} from '@headroom/shop-api';
import {
  awaitSettled,
  FALLBACK_COUNTRY,
  listOrders,
  newestOrders,
  placeOrders,
  readPayments,
  type Placed,
} from './checkouts';
import { countryCode } from './countries';
import type { ReplayOptions } from './options';
import { planOf, type Plan } from './plan';
import { reconcile } from './reconcile';
import { badRowLines, countBadRows, reconciliationTable, timings } from './report';
import { readSalesFile } from './sales-file';
import { openCustomer, stockProducts } from './shop';

/** `npm run replay -- FILE --live`: a sales history as live checkouts, reconciled. */
const MOST_DIFFERENCES = 20;
/** Each registration and sign-in costs the shop a slow hash: few at a time, all before the clock starts. */
const SIGN_IN_CONCURRENCY = 4;
const READ_CONCURRENCY = 8;

/** Places the invoices; returns the exit code. Fails with a UsageError, a FileError or the reason why it could not go on. */
export async function replayLive(options: ReplayOptions): Promise<number> {
  const output = options.json ? process.stderr : process.stdout;
  const say = (line: string) => void output.write(`${line}\n`);
  const phase = (name: string, total: number) => startProgress(output, name, total);

  const reading = phase('file', 1);
  const { sales, badRows } = await readSalesFile(options.file, options.currency);
  const plan = planOf(sales);
  reading.done(
    `${sales.length} rows: ${plan.invoices.size} invoices, ${plan.products.length} products, ${plan.customers.length} customers; ${badRows.length} rows cannot be replayed`,
  );
  badRowLines(badRows).forEach(say);
  notesOn(plan).forEach(say);
  if (plan.orders.length === 0) throw new UsageError(`${options.file} has no row that can be replayed`, 65);

  await checkSystem({ gateway: options.gateway, payment: options.payment });
  const clock = systemClock;
  const shop = createHttp(options.gateway, { clock });
  const provider = createHttp(options.payment, { clock });
  const admin = await signInAdmin(shop, clock, options.admin);

  const stocking = phase('products', plan.products.length);
  const stocked = await stockProducts(admin, plan.products, {
    currency: options.currency,
    skuPrefix: options.skuPrefix,
    concurrency: READ_CONCURRENCY,
    onDone: () => stocking.step(),
  });
  const { products } = stocked;
  stocking.done(
    `${stocked.created} created, ${stocked.existing} existed and have stock enough${stocked.restored > 0 ? `, ${stocked.restored} of them restored` : ''}`,
  );

  const opening = phase('customers', plan.customers.length);
  const accounts = new Map<string, Account>();
  await inParallel(plan.customers, SIGN_IN_CONCURRENCY, async (customer) => {
    accounts.set(customer, await openCustomer(shop, clock, customer, options.admin.password));
    opening.step();
  });
  opening.done(`${accounts.size} signed in`);

  const after = await newestOrders(accounts, READ_CONCURRENCY);

  process.once('SIGINT', () => {
    say(`\ninterrupted. Go on with the same orders within 24 hours: add --run ${options.run}`);
    process.exit(130);
  });
  say(`     run ${options.run}: ${plan.orders.length} checkouts at ${options.speed} times the file's pace`);
  const placing = phase('checkouts', plan.orders.length);
  const placed = await placeOrders({
    plan,
    products,
    accounts,
    clock,
    speed: options.speed,
    concurrency: options.concurrency,
    run: options.run,
    onPlaced: ({ lagMs, tookMs }) =>
      placing.step(`answered in ${Math.round(tookMs)} ms, began ${Math.round(lagMs)} ms late`),
  });
  const successes = placed.filter((each): each is Extract<Placed, { id: string }> => 'id' in each);
  const { lagMs, tookMs } = timings(placed);
  placing.done(
    `${successes.length} placed; answered in p50 ${tookMs.p50} ms, p99 ${tookMs.p99} ms; began late by p99 ${lagMs.p99} ms, at most ${lagMs.max} ms`,
  );

  const settling = phase('payments', successes.length);
  const orders = await awaitSettled(
    successes.map(({ id, order }) => ({ id, customer: order.customer })),
    {
      accounts,
      clock,
      concurrency: READ_CONCURRENCY,
      patienceMs: options.settleSeconds * 1_000,
      onSettled: () => settling.step(),
    },
  );
  const confirmed = [...orders.values()].filter(({ status }) => status === 'confirmed').length;
  settling.done(`${confirmed} of ${orders.size} orders confirmed`);

  const comparing = phase('comparison', successes.length);
  const sinceIso = successes.map(({ placedAt }) => placedAt).reduce((a, b) => (a < b ? a : b), '9999');
  const listed = await listOrders(accounts, { after, sinceIso, concurrency: READ_CONCURRENCY });
  const payments = await readPayments(provider, [...orders.keys()], {
    concurrency: READ_CONCURRENCY,
    onRead: () => comparing.step(),
  });
  const result = reconcile({ plan, products, placed, orders, listed, payments });
  comparing.done(
    `${listed.length} orders in the customers' histories, ${payments.size} orders' payments read`,
  );

  const retries = Object.fromEntries([...shop.retries, ...provider.retries]);
  say('');
  reconciliationTable(result, options.currency).forEach(say);
  say('');
  if (Object.keys(retries).length > 0)
    say(
      `tried again: ${Object.entries(retries)
        .map(([cause, count]) => `${count} x ${cause}`)
        .join(', ')}`,
    );
  result.differences.slice(0, MOST_DIFFERENCES).forEach((difference) => say(`  ✗  ${difference}`));
  if (result.differences.length > MOST_DIFFERENCES)
    say(`     and ${result.differences.length - MOST_DIFFERENCES} more; --json lists all`);
  say(`${result.differences.length} differences; ${badRows.length} rows of the file could not be replayed`);
  if (options.json) {
    const { speed, run, file, currency } = options;
    const report = {
      file,
      run,
      speed,
      currency,
      rows: sales.length + badRows.length,
      badRows: countBadRows(badRows),
      splitInvoices: plan.split,
      products: { created: stocked.created, existing: stocked.existing, restored: stocked.restored },
      customers: accounts.size,
      checkouts: { planned: plan.orders.length, placed: successes.length, lagMs, tookMs, retries },
      ...result,
    };
    // Amounts fit: the API itself gives no larger ones.
    process.stdout.write(
      `${JSON.stringify(report, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value), 2)}\n`,
    );
  }
  return result.differences.length === 0 ? 0 : 1;
}

function notesOn(plan: Plan): string[] {
  const notes = plan.split.map(
    ({ invoice, orders }) =>
      `     invoice ${invoice} is more than one order may hold: placed as ${orders} orders`,
  );
  const unknown = new Set(
    plan.orders.map(({ country }) => country).filter((country) => !countryCode(country)),
  );
  if (unknown.size > 0)
    notes.push(
      `     no country code is known for ${[...unknown].map((name) => JSON.stringify(name)).join(', ')}: sent to ${FALLBACK_COUNTRY}`,
    );
  return notes;
}
