import { eventually } from '@headroom/testing';
import { randomBytes, randomUUID } from 'node:crypto';
import {
  ADDRESS,
  shopClient,
  startSpanReceiver,
  startSystem,
  type Order,
  type ReceivedSpan,
  type RunningSystem,
} from '../src';

let receiver: Awaited<ReturnType<typeof startSpanReceiver>> | undefined;
let system: RunningSystem | undefined;

beforeAll(async () => {
  receiver = await startSpanReceiver();
  system = await startSystem({
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint, LOG_LEVEL: 'warn' },
    arguments: ['--products', '0'],
  });
}, 120_000);
afterAll(async () => {
  await system?.remove();
  await receiver?.close();
}, 60_000);

test('one checkout is one trace: gateway, gRPC, SQL, payment call, outbox, event log and projector', async () => {
  const shop = shopClient(system!.gateway);
  const { accessToken } = await shop.signIn(system!.admin.email, system!.admin.password);
  const product = await shop.product(accessToken);
  const { token } = await shop.customer();
  const traceId = randomBytes(16).toString('hex');
  const callerSpanId = randomBytes(8).toString('hex');
  const placed = await shop.request<Order>('POST', '/v1/orders', {
    token,
    headers: { 'idempotency-key': randomUUID(), traceparent: `00-${traceId}-${callerSpanId}-01` },
    body: {
      items: [{ productId: product.id, quantity: 1 }],
      shippingAddress: ADDRESS,
      payment: { method: 'card', token: 'tok_ok' },
    },
  });
  expect(placed.status).toBe(201);
  await shop.settled(token, placed.body.id);

  /** The spans of one kind in one process, each with its chain of ancestors, nearest first. */
  const find = (service: string, kind: ReceivedSpan['kind'], name: RegExp) => {
    const spans = receiver!.trace(traceId);
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const chain = (span: ReceivedSpan): ReceivedSpan[] => {
      const parent = byId.get(span.parentSpanId);
      return parent ? [parent, ...chain(parent)] : [];
    };
    const found = spans.filter(
      (span) => span.service === service && span.kind === kind && name.test(span.name),
    );
    if (found.length === 0)
      throw new Error(
        `no ${kind} span ${String(name)} of ${service} among\n${spans.map((each) => `${each.service} ${each.kind} ${each.name}`).join('\n')}`,
      );
    return found.map((span) => ({ ...span, ancestors: chain(span) }));
  };
  const under = (child: { ancestors: ReceivedSpan[] }, spanId: string) =>
    child.ancestors.some((each) => each.spanId === spanId);

  await eventually(() => {
    const [edge] = find('gateway', 'server', /./);
    expect(edge!.parentSpanId).toBe(callerSpanId);
    const [call] = find('gateway', 'client', /OrderService\/PlaceOrder/);
    expect(under(call!, edge!.spanId)).toBe(true);
    const [served] = find('order', 'server', /OrderService\/PlaceOrder/);
    expect(served!.parentSpanId).toBe(call!.spanId);
    const [hold] = find('order', 'client', /CatalogService\/PlaceHold/);
    expect(under(hold!, served!.spanId)).toBe(true);
    const [held] = find('catalog', 'server', /CatalogService\/PlaceHold/);
    expect(held!.parentSpanId).toBe(hold!.spanId);
    expect(find('catalog', 'client', /^sql /).some((span) => under(span, held!.spanId))).toBe(true);
    expect(find('order', 'client', /^sql /).some((span) => under(span, served!.spanId))).toBe(true);
    // Payment follows the answer, in the same trace.
    const [charge] = find('order', 'client', /payment|charge/i);
    const [charged] = find('payment-sandbox', 'server', /./);
    expect(under(charged!, charge!.spanId)).toBe(true);
    // The event goes from the transaction to the log and on to the views.
    const published = find('order', 'producer', /publish/);
    expect(published.some((span) => under(span, served!.spanId))).toBe(true);
    const consumed = find('projector', 'consumer', /headroom\.order\.placed/);
    expect(consumed.some((span) => published.some(({ spanId }) => span.parentSpanId === spanId))).toBe(true);
    expect(find('projector', 'consumer', /headroom\.order\.confirmed/).length).toBeGreaterThan(0);
    expect(
      find('projector', 'client', /^sql /).some((span) => consumed.some(({ spanId }) => under(span, spanId))),
    ).toBe(true);
    // Nothing in the trace hangs in the air.
    const spans = receiver!.trace(traceId);
    const ids = new Set([...spans.map(({ spanId }) => spanId), callerSpanId]);
    expect(spans.filter(({ parentSpanId }) => !ids.has(parentSpanId))).toEqual([]);
  }, 20_000);
}, 60_000);
