import { fault, type orderV1 } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import { get as httpGet, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { anOrder, bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
let base: string;
/** The watches that the gateway opened, as the test drives them. */
let watches: Array<{
  after: bigint;
  send(order: orderV1.Order): void;
  break(error?: Error): void;
  aborted(): boolean;
}>;

beforeEach(async () => {
  gateway = await startGateway();
  watches = [];
  gateway.services.order.watchOrder = ({ afterVersion }, options) => {
    const queue: orderV1.Order[] = [];
    let wake = () => {};
    let end: { error: Error | undefined } | undefined;
    const signal = options!.signal!;
    signal.addEventListener('abort', () => wake(), { once: true });
    watches.push({
      after: afterVersion,
      send: (order) => (queue.push(order), wake()),
      break: (error) => ((end = { error }), wake()),
      aborted: () => signal.aborted,
    });
    return (async function* () {
      for (;;) {
        if (signal.aborted) return;
        const next = queue.shift();
        if (next) yield next;
        else if (end?.error) throw end.error;
        else if (end) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    })();
  };
  await gateway.app.listen({ port: 0, host: '127.0.0.1' });
  base = `http://127.0.0.1:${(gateway.app.server.address() as AddressInfo).port}`;
});
afterEach(() => gateway.close());

const state = (version: bigint, status = 'pending', paymentStatus = 'pending') =>
  anOrder({ version, status, paymentStatus });

async function open(headers: Record<string, string> = {}) {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    httpGet(
      `${base}/v1/orders/${IDS.order}/events`,
      { headers: { ...bearer('customer'), ...headers } },
      resolve,
    ).on('error', reject),
  );
  const stream = { response, text: '', ended: false };
  response.setEncoding('utf8').on('data', (chunk: string) => (stream.text += chunk));
  response.on('end', () => (stream.ended = true)).on('error', () => undefined);
  return stream;
}
const idsIn = (text: string) => [...text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
const watched = (count: number) => eventually(() => expect(watches.length).toBe(count));

test('the state now comes first, then each later one, and the stream ends with the last', async () => {
  const stream = await open();
  expect(stream.response.headers).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  await watched(1);
  expect(watches[0]!.after).toBe(0n);
  watches[0]!.send(state(1n));
  await eventually(() => expect(idsIn(stream.text)).toEqual([1]));
  expect(stream.text).toMatch(/event: order\nid: 1\ndata: \{"id":"[^"]+","status":"pending".*\}\n\n/);
  watches[0]!.send(state(2n, 'cancelled', 'refund_pending'));
  await eventually(() => expect(idsIn(stream.text)).toEqual([1, 2]));
  expect(stream.ended).toBe(false);
  watches[0]!.send(state(3n, 'cancelled', 'refunded'));
  await eventually(() => expect(stream.ended).toBe(true));
  expect(idsIn(stream.text)).toEqual([1, 2, 3]);
});

test('who has seen the last state is told so, who has seen an earlier one gets what is newer', async () => {
  gateway.services.order.getOrder = async () => state(5n, 'confirmed', 'paid');
  const done = await gateway.app.inject({
    url: `/v1/orders/${IDS.order}/events`,
    headers: { ...bearer('customer'), 'last-event-id': '5' },
  });
  expect([done.statusCode, done.body]).toEqual([204, '']);
  for (const [sent, after] of [
    ['4', 4n],
    ['6', 0n],
    ['nonsense', 0n],
  ] as const) {
    const count = watches.length;
    const stream = await open({ 'last-event-id': sent });
    await watched(count + 1);
    expect([sent, watches.at(-1)!.after]).toEqual([sent, after]);
    watches.at(-1)!.send(state(5n, 'confirmed', 'paid'));
    await eventually(() => expect(stream.ended).toBe(true));
  }
});

test('another user’s order, or none, is a problem and no stream', async () => {
  gateway.services.order.getOrder = async () => {
    throw fault('NOT_FOUND');
  };
  const { response } = await open();
  expect([response.statusCode, response.headers['content-type']]).toEqual([404, 'application/problem+json']);
});

test('a watch that breaks is taken up where it was, unnoticed by the reader', async () => {
  const stream = await open();
  await watched(1);
  watches[0]!.send(state(1n));
  await eventually(() => expect(idsIn(stream.text)).toEqual([1]));
  watches[0]!.break(fault('DEPENDENCY_UNAVAILABLE'));
  await eventually(() => {
    gateway.clock.advance(100);
    expect(watches.length).toBe(2);
  });
  expect(watches[1]!.after).toBe(1n);
  watches[1]!.send(state(1n)); // told twice, passed on once
  watches[1]!.send(state(2n, 'confirmed', 'paid'));
  await eventually(() => expect(stream.ended).toBe(true));
  expect(idsIn(stream.text)).toEqual([1, 2]);
});

test('a comment keeps a quiet stream alive', async () => {
  const stream = await open();
  await watched(1);
  await eventually(() => {
    gateway.clock.advance(1_000);
    expect(stream.text).toContain(': still here');
  });
  expect(gateway.clock.now() - Date.UTC(2026, 0, 1)).toBeGreaterThanOrEqual(15_000);
});

test('a revoked session ends its open streams', async () => {
  const stream = await open();
  await watched(1);
  gateway.revoke();
  await eventually(() => {
    gateway.clock.advance(1_000);
    expect(stream.ended).toBe(true);
  });
  expect(watches[0]!.aborted()).toBe(true);
});

test('a stream ends with the access token that opened it', async () => {
  const stream = await open();
  await watched(1);
  gateway.clock.advance(599_000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(stream.ended).toBe(false);
  await eventually(() => {
    gateway.clock.advance(1_000);
    expect(stream.ended).toBe(true);
  });
});

test('a reader that leaves ends the watch behind it', async () => {
  const stream = await open();
  await watched(1);
  stream.response.destroy();
  await eventually(() => expect(watches[0]!.aborted()).toBe(true));
});

test('stopping ends all streams, so that the server can close', async () => {
  const stream = await open();
  await watched(1);
  gateway.closeStreams();
  await eventually(() => expect(stream.ended).toBe(true));
  const late = await open();
  expect(late.response.statusCode).toBe(503);
  await gateway.app.close();
});
