import { startSystem } from '@headroom/e2e';
import { systemClock } from '@headroom/resilience';
import { createHttp, inParallel, signIn } from '@headroom/shop-api';
import { randomUUID } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { SMTPServer } from 'smtp-server';
import type { Lab } from './lab';

const PRODUCTS = 10;
/** Mails are tried again after a growing pause: the last ones come some minutes after the server is back. */
const PATIENCE_MS = 300_000;
/** What noise may make of 1.0 on a shared machine. */
const MOST_RATIO = 1.3;

/** Registrations and checkouts while the mail server answers and while it hangs, by turns; then it comes back. */
export const frozenMail: Lab = {
  id: 'A6',
  title: 'decoupled side effects: registration and checkout beside a frozen mail server',
  options: {
    rounds: { type: 'string', default: '3' },
    customers: { type: 'string', default: '40' },
    clients: { type: 'string', default: '2' },
  },
  async run({ values, say }) {
    const [rounds, customers, clients] = ['rounds', 'customers', 'clients'].map((name) =>
      Number(values[name]),
    ) as [number, number, number];
    const mail = await startFreezableMailServer();
    const system = await startSystem({
      arguments: ['--products', '20'],
      env: { SMTP_URL: `smtp://127.0.0.1:${mail.port}`, LOG_LEVEL: 'error' },
    });
    try {
      const clock = systemClock;
      const shop = createHttp(system.gateway, { clock });
      const admin = await signIn(shop, clock, system.admin);
      const products: string[] = [];
      for (let n = 0; n < PRODUCTS; n += 1) {
        const made = await admin.call<{ id: string }>('POST', '/v1/admin/products', {
          body: {
            sku: `A6-${n}`,
            name: `Product ${n}`,
            description: '',
            category: 'lab',
            price: { amountMinor: 1_000, currency: 'EUR' },
            onHand: 1_000_000,
          },
        });
        products.push(made.body.id);
      }

      const phase = async () => {
        const took = { registration: [] as number[], checkout: [] as number[] };
        await inParallel(
          Array.from({ length: customers }, (_, index) => index),
          clients,
          async (index) => {
            const account = { email: `a6-${randomUUID()}@lab.example`, password: randomUUID() };
            const register = async () => {
              const answer = await shop.call('POST', '/v1/users', {
                body: { ...account, name: 'Lab Customer' },
              });
              if (answer.status !== 201) throw new Error(`a registration answered ${answer.status}`);
            };
            took.registration.push(await timed(register));
            const customer = await signIn(shop, clock, account);
            const checkOut = async () => {
              const answer = await customer.call('POST', '/v1/orders', {
                idempotencyKey: randomUUID(),
                body: orderOf(products[index % PRODUCTS]!),
              });
              if (answer.status !== 201) throw new Error(`a checkout answered ${answer.status}`);
            };
            took.checkout.push(await timed(checkOut));
          },
        );
        return took;
      };

      await phase(); // what is compiled once belongs to neither
      const found: Array<{ mode: 'answers' | 'frozen'; registration: number; checkout: number }> = [];
      for (let round = 1; round <= rounds; round += 1)
        for (const mode of ['answers', 'frozen'] as const) {
          mail.set(mode);
          const { registration, checkout } = await phase();
          found.push({ mode, registration: median(registration), checkout: median(checkout) });
          say(
            `round ${round}, mail server ${mode}: p50 of registration ${median(registration).toFixed(0)} ms, of checkout ${median(checkout).toFixed(0)} ms`,
          );
        }
      mail.set('answers');
      const expected = customers * (2 * rounds + 1);
      const receivers = (subject: RegExp) =>
        new Set(
          mail.received
            .filter((each) => each.to.endsWith('@lab.example') && subject.test(each.subject))
            .map(({ to }) => to),
        ).size;
      const counts = () => ({ welcome: receivers(/^Welcome/), confirmation: receivers(/^Your order/) });
      const began = clock.now();
      while (clock.now() - began < PATIENCE_MS) {
        const { welcome, confirmation } = counts();
        if (welcome >= expected && confirmation >= expected) break;
        await clock.sleep(1_000);
      }
      const arrived = counts();
      const best = (mode: string, what: 'registration' | 'checkout') =>
        Math.min(...found.filter((each) => each.mode === mode).map((each) => each[what]));
      const rows = (['registration', 'checkout'] as const).map((what) => ({
        what,
        answersMs: best('answers', what),
        frozenMs: best('frozen', what),
        ratio: best('frozen', what) / best('answers', what),
      }));
      return {
        table: rows.map(({ what, answersMs, frozenMs, ratio }) => ({
          request: what,
          'p50 ms, mail answers': answersMs.toFixed(0),
          'p50 ms, mail frozen': frozenMs.toFixed(0),
          ratio: `${ratio.toFixed(2)}x`,
        })),
        result: { rows, expected, arrived },
        summary: `best of ${rounds} rounds; after the server came back ${arrived.welcome} of ${expected} welcomes and ${arrived.confirmation} of ${expected} confirmations had arrived within ${Math.round((clock.now() - began) / 1_000)} s`,
        passed:
          arrived.welcome === expected &&
          arrived.confirmation === expected &&
          rows.every(({ ratio }) => ratio <= MOST_RATIO),
      };
    } finally {
      await system.remove();
      mail.close();
    }
  },
};

const orderOf = (productId: string) => ({
  items: [{ productId, quantity: 1 }],
  shippingAddress: {
    name: 'Lab',
    line1: '1 Long Street',
    postalCode: '10115',
    city: 'Berlin',
    country: 'DE',
  },
  payment: { method: 'card', token: 'tok_ok' },
});

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** A real mail server behind a door that can be shut: connections are then taken, and nothing ever comes back. */
async function startFreezableMailServer() {
  const received: Array<{ to: string; subject: string }> = [];
  const smtp = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    logger: false,
    onData(stream, { envelope }, done) {
      let text = '';
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
      stream.on('end', () => {
        const subject = /^Subject: (.*)\r$/im.exec(text)?.[1] ?? '';
        for (const { address } of envelope.rcptTo) received.push({ to: address, subject });
        done();
      });
    },
  });
  smtp.on('error', () => undefined); // connections that break
  await new Promise<void>((resolve) => smtp.listen(0, '127.0.0.1', resolve));
  const { port: behind } = smtp.server.address() as AddressInfo;

  let mode: 'answers' | 'frozen' = 'answers';
  const sockets = new Set<Socket>();
  const door: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    if (mode === 'frozen') return;
    const inner = connect(behind, '127.0.0.1');
    inner.on('error', () => socket.destroy());
    socket.once('close', () => inner.destroy());
    socket.pipe(inner).pipe(socket);
  });
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
  return {
    port: (door.address() as AddressInfo).port,
    received,
    /** Connections of the other mode end. */
    set(next: 'answers' | 'frozen') {
      mode = next;
      for (const socket of sockets) socket.destroy();
    },
    close() {
      for (const socket of sockets) socket.destroy();
      door.close();
      smtp.close();
    },
  };
}
