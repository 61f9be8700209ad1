import { startTracing } from '@headroom/telemetry';
import { eventually } from '@headroom/testing';
import { bearer, IDS, startGateway, type TestGateway } from '../test/fakes';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';

interface SpanRecord {
  name: string;
  parentSpanContext?: { traceId: string; spanId: string };
  attributes: Record<string, unknown>;
  status: { code: number };
  spanContext(): { traceId: string; spanId: string };
}
const spans: SpanRecord[] = [];
let gateway: TestGateway;
let tracing: Awaited<ReturnType<typeof startTracing>>;

beforeAll(async () => {
  tracing = await startTracing({
    service: 'gateway',
    exporter: {
      export(batch, done) {
        spans.push(...(batch as unknown as SpanRecord[]));
        done({ code: 0 });
      },
      shutdown: async () => undefined,
    },
  });
  gateway = await startGateway();
});
afterAll(async () => {
  await gateway.close();
  await tracing.close();
});
beforeEach(() => gateway.reset());

const traced = { traceparent: `00-${TRACE}-${PARENT}-01` };

test('the trace of the caller goes on through the gateway into the services, also behind a body', async () => {
  await gateway.app.inject({
    method: 'PUT',
    url: `/v1/cart/items/${IDS.product}`,
    headers: { ...bearer('customer'), ...traced, 'x-request-id': 'traced-1' },
    payload: { quantity: 1 },
  });
  const server = await eventually(() => {
    const found = spans.find(({ attributes }) => attributes['headroom.request_id'] === 'traced-1');
    expect(found).toBeDefined();
    return found!;
  });
  expect(server.name).toBe('HTTP PUT /v1/cart/items/:productId');
  expect(server.spanContext().traceId).toBe(TRACE);
  expect(server.parentSpanContext?.spanId).toBe(PARENT);
  expect(server.attributes['http.response.status_code']).toBe(200);
  expect(gateway.received[0]!.traceparent).toBe(`00-${TRACE}-${server.spanContext().spanId}-01`);
});

test('a request that is refused has its span, and a malformed traceparent begins a new trace', async () => {
  await gateway.app.inject({
    url: '/v1/me',
    headers: { traceparent: 'nonsense', 'x-request-id': 'traced-2' },
  });
  const span = await eventually(() => {
    const found = spans.find(({ attributes }) => attributes['headroom.request_id'] === 'traced-2');
    expect(found).toBeDefined();
    return found!;
  });
  expect(span.attributes['http.response.status_code']).toBe(401);
  expect(span.parentSpanContext).toBeUndefined();
});

test('a span is marked as failed exactly when the fault is ours', async () => {
  gateway.services.catalog.getProduct = async () => {
    throw new Error('a defect');
  };
  for (const [id, url] of [
    ['traced-3', `/v1/products/${IDS.product}`],
    ['traced-4', '/v1/nothing'],
  ] as const)
    await gateway.app.inject({ url, headers: { 'x-request-id': id } });
  await eventually(() => {
    const status = (id: string) =>
      spans.find(({ attributes }) => attributes['headroom.request_id'] === id)?.status.code;
    expect([status('traced-3'), status('traced-4')]).toEqual([2, 0]);
  });
});
