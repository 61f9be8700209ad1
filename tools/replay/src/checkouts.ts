import { Bulkhead, type Clock } from '@headroom/resilience';
import { describeAnswer, inParallel, UnexpectedAnswer, type Account, type Http } from '@headroom/shop-api';
import { countryCode } from './countries';
import { schedule, type Plan, type PlannedOrder } from './plan';
import type { ShopOrder, ShopProduct } from './shop';

/** What became of one checkout: an order, or why there is none. */
export type Placed = { order: PlannedOrder; lagMs: number; tookMs: number } & (
  { id: string; placedAt: string } | { refused: string }
);

/** Where parcels go whose country has no code that is known here. */
export const FALLBACK_COUNTRY = 'GB';

export interface CheckoutOptions {
  plan: Plan;
  products: ReadonlyMap<string, ShopProduct>;
  accounts: ReadonlyMap<string, Account>;
  /** How many times faster than the file. */
  speed: number;
  /** Most checkouts at a time; when all are taken, the next ones start late, and their lag says so. */
  concurrency: number;
  /** Names the run in the idempotency keys: the same name again finds the orders that it has placed. */
  run: string;
  clock: Clock;
  onPlaced(placed: Placed): void;
}

/**
 * Places every order of the plan when it is due, whether or not earlier ones have been answered. One that is refused or given up
 * does not stop the others. Ends when all are answered.
 */
export async function placeOrders(options: CheckoutOptions): Promise<Placed[]> {
  const { plan, speed, clock } = options;
  const due = schedule(plan.orders, speed);
  const slots = new Bulkhead({ concurrency: options.concurrency, queue: Infinity });
  const start = clock.now();
  const running: Array<Promise<Placed>> = [];
  for (const [index, order] of plan.orders.entries()) {
    const dueAt = start + due[index]!;
    const early = dueAt - clock.now();
    if (early > 0) await clock.sleep(early);
    running.push(
      slots.run(async () => {
        const began = clock.now();
        const lagMs = Math.max(0, began - dueAt);
        const result = await placeOrder(order, options).catch((error: unknown) => ({
          refused: error instanceof Error ? error.message : String(error),
        }));
        const placed: Placed = { order, lagMs, tookMs: clock.now() - began, ...result };
        options.onPlaced(placed);
        return placed;
      }),
    );
  }
  return Promise.all(running);
}

async function placeOrder(
  order: PlannedOrder,
  { accounts, products, run }: CheckoutOptions,
): Promise<{ id: string; placedAt: string } | { refused: string }> {
  const answer = await accounts.get(order.customer)!.call<ShopOrder>('POST', '/v1/orders', {
    idempotencyKey: `replay-${run}-${order.name}`,
    body: {
      items: order.lines.map(({ stockCode, quantity }) => ({
        productId: products.get(stockCode)!.id,
        quantity,
      })),
      shippingAddress: {
        name: order.customer,
        line1: `Invoice ${order.invoice}`,
        postalCode: '0',
        city: order.country || 'unknown',
        country: countryCode(order.country) ?? FALLBACK_COUNTRY,
      },
      payment: { method: 'card', token: 'tok_ok' },
    },
  });
  return answer.status === 201
    ? { id: answer.body.id, placedAt: answer.body.placedAt }
    : { refused: describeAnswer(answer) };
}

/** True once nothing more will happen to an order by itself. */
export const isSettled = (order: ShopOrder): boolean =>
  order.status !== 'pending' && order.paymentStatus !== 'refund_pending';

/**
 * Asks for every order until it is settled; gives up on the rest when none has become so for `patienceMs`. Returns the last
 * state of each by id.
 */
export async function awaitSettled(
  placed: ReadonlyArray<{ id: string; customer: string }>,
  options: {
    accounts: ReadonlyMap<string, Account>;
    clock: Clock;
    concurrency: number;
    patienceMs: number;
    onSettled(): void;
  },
): Promise<Map<string, ShopOrder>> {
  const { accounts, clock } = options;
  const orders = new Map<string, ShopOrder>();
  let waiting = [...placed];
  let lastProgress = clock.now();
  for (let pauseMs = 100; waiting.length > 0; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    await inParallel(waiting, options.concurrency, async ({ id, customer }) => {
      const answer = await accounts.get(customer)!.call<ShopOrder>('GET', `/v1/orders/${id}`);
      if (answer.status !== 200) throw new UnexpectedAnswer(`order ${id}`, answer);
      orders.set(id, answer.body);
      if (isSettled(answer.body)) options.onSettled();
    });
    const still = waiting.filter(({ id }) => !isSettled(orders.get(id)!));
    if (still.length < waiting.length) lastProgress = clock.now();
    else if (clock.now() - lastProgress > options.patienceMs) break;
    waiting = still;
    if (waiting.length > 0) await clock.sleep(pauseMs);
  }
  return orders;
}

/** An order as the history of its customer shows it. */
export interface Listed {
  id: string;
  customer: string;
}

/** The newest order of each customer, or '' where there is none: what is newer was placed later. */
export async function newestOrders(
  accounts: ReadonlyMap<string, Account>,
  concurrency: number,
): Promise<Map<string, string>> {
  const newest = new Map<string, string>();
  await inParallel([...accounts], concurrency, async ([customer, account]) => {
    newest.set(customer, '');
    for await (const { id } of account.list<ShopOrder>('/v1/orders', () => false)) {
      newest.set(customer, id);
      break;
    }
  });
  return newest;
}

/** Every order that the histories of the customers show after those named, and since `sinceIso` if that is earlier. */
export async function listOrders(
  accounts: ReadonlyMap<string, Account>,
  options: { after: ReadonlyMap<string, string>; sinceIso: string; concurrency: number },
): Promise<Listed[]> {
  const found: Listed[] = [];
  await inParallel([...accounts], options.concurrency, async ([customer, account]) => {
    const isWanted = ({ id, placedAt }: ShopOrder) =>
      id > options.after.get(customer)! || placedAt >= options.sinceIso;
    for await (const order of account.list<ShopOrder>('/v1/orders', isWanted))
      if (isWanted(order)) found.push({ id: order.id, customer });
  });
  return found;
}

/** What the payment provider took and gave back for one order. */
export interface Payments {
  charges: number;
  chargedMinor: bigint;
  refundedMinor: bigint;
}

interface PaymentRecord {
  amountMinor: number;
  status: string;
}

/** Asks the payment provider what it has on record for each order; declined charges moved nothing. */
export async function readPayments(
  provider: Http,
  orderIds: readonly string[],
  options: { concurrency: number; onRead(): void },
): Promise<Map<string, Payments>> {
  const list = async (kind: 'charges' | 'refunds', orderId: string) => {
    const answer = await provider.call<{ items: PaymentRecord[]; page: { nextCursor: string | null } }>(
      'GET',
      `/v1/${kind}?orderId=${encodeURIComponent(orderId)}&limit=100`,
    );
    if (answer.status !== 200) throw new UnexpectedAnswer(`the list of ${kind}`, answer);
    if (answer.body.page.nextCursor !== null) throw new Error(`order ${orderId} has more than 100 ${kind}`);
    return answer.body.items
      .filter(({ status }) => status === 'succeeded')
      .map(({ amountMinor }) => BigInt(amountMinor));
  };
  const sum = (amounts: readonly bigint[]) => amounts.reduce((a, b) => a + b, 0n);
  const payments = new Map<string, Payments>();
  await inParallel(orderIds, options.concurrency, async (orderId) => {
    const [charges, refunds] = await Promise.all([list('charges', orderId), list('refunds', orderId)]);
    payments.set(orderId, {
      charges: charges.length,
      chargedMinor: sum(charges),
      refundedMinor: sum(refunds),
    });
    options.onRead();
  });
  return payments;
}
