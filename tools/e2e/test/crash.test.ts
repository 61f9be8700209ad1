import { TOPICS, type DomainEvent } from '@headroom/contracts';
import { openEventLog } from '@headroom/messaging';
import { silentLogger } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  databaseUrl,
  inParallel,
  moved,
  paymentRecords,
  range,
  serviceProcess,
  shopClient,
  startSystem,
  type Answer,
  type Order,
  type RunningSystem,
} from '../src';

const CHECKOUTS = 500;
const CUSTOMERS = 20;
const PRODUCTS = 5;
const ON_HAND = 1_000;
/** Those that hold money and units twice. */
const KILLS = ['order', 'catalog', 'gateway', 'payment-sandbox', 'user', 'projector', 'order', 'catalog'];

let system: RunningSystem | undefined;

beforeAll(async () => {
  system = await startSystem({
    env: { SIGN_IN_LIMITS: 'off', LOG_LEVEL: 'error' },
    arguments: ['--products', '0'],
  });
}, 120_000);
afterAll(() => system?.remove(), 60_000);

test('kill -9 of each service process during 500 checkouts loses nothing and charges nothing twice', async () => {
  const running = system!;
  const shop = shopClient(running.gateway);
  const { accessToken: adminToken } = await shop.signIn(running.admin.email, running.admin.password);
  const products = await inParallel(range(PRODUCTS), 2, (index) =>
    shop.product(adminToken, { priceMinor: 1_000 + index, onHand: ON_HAND }),
  );
  const customers = await inParallel(range(CUSTOMERS), 4, () => shop.customer());
  const stock = (productId: string) =>
    shop.request<{ onHand: number; available: number; held: number }>(
      'GET',
      `/v1/admin/products/${productId}/stock`,
      { token: adminToken },
    );

  let answered = 0;
  let killed = 0;
  let repeated = 0;
  const attempts = range(CHECKOUTS).map((index) => ({
    customer: customers[index % CUSTOMERS]!,
    items: [
      { productId: products[index % PRODUCTS]!.id, quantity: 1 + (index % 3) },
      { productId: products[(index + 1) % PRODUCTS]!.id, quantity: 1 },
    ],
    payment: ['tok_declined', 'tok_error', 'tok_timeout_charged'][index % 50] ?? 'tok_ok',
    key: randomUUID(),
  }));
  /** As a careful client: the same request with the same key until there is an answer that stands. */
  const insist = async (send: () => Promise<Answer<Order>>): Promise<Answer<Order>> => {
    for (const until = Date.now() + 60_000; ; repeated += 1) {
      const answer = await send().catch((error: unknown) => ({ failed: String(error) }));
      if ('status' in answer && answer.status < 500 && answer.body.code !== 'IDEMPOTENCY_IN_FLIGHT')
        return answer;
      if (Date.now() > until) throw new Error(`no answer that stands: ${JSON.stringify(answer)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  let stopped = false;
  const killer = async () => {
    for (const app of KILLS) {
      await eventually(() => {
        if (stopped) return;
        if (answered < ((killed + 0.5) * CHECKOUTS) / KILLS.length) throw new Error('not yet');
      }, 120_000);
      if (stopped) return;
      const { pid } = serviceProcess(running, app);
      process.kill(pid, 'SIGKILL');
      await eventually(async () => {
        const next = serviceProcess(running, app);
        if (next.pid === pid) throw new Error(`${app} still runs`);
        const ready = await fetch(`http://127.0.0.1:${next.env['OPS_PORT']}/readyz`);
        if (ready.status !== 200) throw new Error(`${app} is not ready again`);
      }, 30_000);
      killed += 1;
    }
  };
  const began = Date.now();
  const [answers] = await Promise.all([
    inParallel(attempts, 16, async ({ customer, items, payment, key }, index) => {
      // So that each kill falls among checkouts, however fast they are.
      await eventually(() => {
        if (index > ((killed + 1) * CHECKOUTS) / KILLS.length) throw new Error('waiting for the next kill');
      }, 60_000);
      const answer = await insist(() => shop.checkout(customer.token, items, { key, payment }));
      answered += 1;
      return answer;
    }),
    killer(),
  ]).finally(() => (stopped = true));
  const seconds = (Date.now() - began) / 1_000;
  for (const { status, text } of answers) if (status !== 201) throw new Error(`answered ${status}: ${text}`);
  expect(killed).toBe(KILLS.length);

  // Orders = keys: what each client was told, what a repetition tells, and what the histories hold.
  const ids = new Set(answers.map(({ body }) => body.id));
  expect(ids.size).toBe(CHECKOUTS);
  await inParallel(attempts.slice(0, 50), 8, async ({ customer, items, payment, key }, index) => {
    const again = await shop.checkout(customer.token, items, { key, payment });
    expect([again.status, again.text]).toEqual([201, answers[index]!.text]);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
  });
  await inParallel(answers, 8, ({ body }, index) =>
    shop.settled(attempts[index]!.customer.token, body.id, 60_000),
  );
  const orders = (
    await inParallel(customers, 4, ({ token }) => shop.list<Order>('/v1/orders', token))
  ).flat();
  expect(orders.map(({ id }) => id).sort()).toEqual([...ids].sort());
  const declined = attempts.filter(({ payment }) => payment === 'tok_declined').length;
  const confirmed = orders.filter(({ status }) => status === 'confirmed');
  expect(orders.filter(({ status }) => status === 'cancelled')).toHaveLength(declined);
  expect(confirmed).toHaveLength(CHECKOUTS - declined);

  // Charges - refunds = confirmed totals, one charge an order.
  const { charges, refunds } = await paymentRecords(running.payment);
  const taken = charges.filter(({ status }) => status === 'succeeded');
  const total = confirmed.reduce((sum, order) => sum + order.total.amountMinor, 0);
  expect(taken.map(({ orderId }) => orderId).sort()).toEqual(confirmed.map(({ id }) => id).sort());
  expect(moved(charges) - moved(refunds)).toBe(total);

  // Stock is conserved.
  const sold = new Map<string, number>();
  for (const { items } of confirmed)
    for (const { productId, quantity } of items) sold.set(productId, (sold.get(productId) ?? 0) + quantity);
  for (const { id } of products) {
    const left = ON_HAND - sold.get(id)!;
    await eventually(async () =>
      expect((await stock(id)).body).toEqual({ onHand: left, available: left, held: 0 }),
    );
    const ledger = await shop.list<{ delta: number }>(`/v1/admin/products/${id}/stock/ledger`, adminToken);
    expect(ledger.reduce((sum, { delta }) => sum + delta, 0)).toBe(left);
  }

  const versions = await publishedVersions(running);
  for (const id of ids) expect(versions.has(`order/${id}`)).toBe(true);
  for (const [subject, seen] of versions) {
    const inOrder = [...new Set(seen)]; // at least once: a repetition is no fault, a hole or a swap is
    expect([subject, inOrder]).toEqual([subject, range(inOrder.length).map((index) => index + 1)]);
  }
  console.log(
    `${CHECKOUTS} checkouts with ${killed} kills in ${seconds.toFixed(1)} s, ${repeated} repetitions: orders ${orders.length} = keys, ` +
      `charges - refunds ${total} = confirmed totals, ${versions.size} aggregates without a hole`,
  );
}, 240_000);

/** The versions of every aggregate in the order in which a new consumer group reads them, once nothing more comes. */
async function publishedVersions(running: RunningSystem): Promise<Map<string, number[]>> {
  const topics = [TOPICS.user.name, TOPICS.catalog.name, TOPICS.order.name];
  const group = `check-${randomUUID()}`;
  const log = await openEventLog({
    url: databaseUrl(running, 'events'),
    logger: silentLogger,
    name: 'e2e',
  });
  const versions = new Map<string, number[]>();
  try {
    const subscription = await log.subscribe({
      group,
      topics,
      handle: ({ records }) => {
        for (const { value } of records) {
          const { subject, aggregateversion } = JSON.parse(value) as DomainEvent;
          versions.set(subject, [...(versions.get(subject) ?? []), aggregateversion]);
        }
        return Promise.resolve();
      },
    });
    try {
      await eventually(async () => {
        const positions = await log.positions(group, topics);
        expect(positions.length).toBeGreaterThan(0);
        for (const { topic, partition, committed, end } of positions)
          expect([topic, partition, committed]).toEqual([topic, partition, end]);
      }, 30_000);
    } finally {
      await subscription.close();
    }
    await log.deleteGroup(group);
  } finally {
    await log.close();
  }
  return versions;
}

test('kill -9 of the processes that serve them loses no session and no cart', async () => {
  const running = system!;
  const shop = shopClient(running.gateway);
  const { accessToken: adminToken } = await shop.signIn(running.admin.email, running.admin.password);
  const product = await shop.product(adminToken);
  const customer = await shop.customer();
  const cart = () => shop.request('GET', '/v1/cart', { token: customer.token });
  const filled = await shop.request('PUT', `/v1/cart/items/${product.id}`, {
    token: customer.token,
    body: { quantity: 3 },
  });
  expect(filled.status).toBe(200);

  for (const app of ['order', 'user', 'gateway']) {
    const { pid } = serviceProcess(running, app);
    process.kill(pid, 'SIGKILL');
    await eventually(() => expect(serviceProcess(running, app).pid).not.toBe(pid), 20_000);
  }

  await eventually(async () => expect((await cart()).body).toEqual(filled.body), 20_000);
  const refreshed = await eventually(async () => {
    const answer = await shop.request<{ accessToken: string }>('POST', '/v1/sessions/refresh', {
      body: { refreshToken: customer.refreshToken },
    });
    expect(answer.status).toBe(200);
    return answer.body;
  }, 20_000);
  const me = await shop.request('GET', '/v1/me', { token: refreshed.accessToken });
  expect(me).toMatchObject({ status: 200, body: { id: customer.id } });
}, 90_000);
