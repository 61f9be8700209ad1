import { inSpan, startTracing } from '@headroom/telemetry';
import { uuidv7 } from '@headroom/resilience';
import { startPaymentDouble, type PaymentDouble } from '../test/payment-double';
import { createPayments, type Payments } from './payment';

let provider: PaymentDouble;
let payments: Payments;
beforeAll(async () => {
  provider = await startPaymentDouble({ slowMs: 400 });
  payments = createPayments({ url: `${provider.url}/`, timeoutMs: 200 });
});
afterAll(() => provider.close());

const order = () => ({ id: uuidv7(), totalMinor: 1_999n, currency: 'EUR' });

it('charges once under the key of the order, and finds the charge again', async () => {
  const bought = order();
  expect(await payments.find(bought.id)).toEqual({ kind: 'absent' });
  const first = await payments.charge(bought, 'tok_ok');
  expect(first).toEqual({ kind: 'charged', chargeId: expect.any(String) });
  expect(await payments.charge(bought, 'tok_ok')).toEqual(first);
  expect(await payments.find(bought.id)).toEqual(first);
  expect(provider.charges.filter((charge) => charge.orderId === bought.id)).toMatchObject([
    { idempotencyKey: `charge:${bought.id}`, amountMinor: 1_999, currency: 'EUR' },
  ]);
});

it('tells a decline, a refused card and silence apart', async () => {
  expect(await payments.charge(order(), 'tok_declined')).toEqual({ kind: 'declined' });
  expect(await payments.charge(order(), 'tok_invalid')).toEqual({ kind: 'invalid' });
  for (const token of ['tok_slow', 'tok_error', 'tok_down', 'tok_timeout_charged'])
    expect(await payments.charge(order(), token)).toMatchObject({ kind: 'unknown' });
});

it('refunds once under the key of the order, and takes a refusal for no answer', async () => {
  const bought = order();
  const charged = await payments.charge(bought, 'tok_ok');
  const chargeId = charged.kind === 'charged' ? charged.chargeId : '';
  expect(await payments.refund(bought, chargeId)).toEqual({ kind: 'done' });
  expect(await payments.refund(bought, chargeId)).toEqual({ kind: 'done' });
  expect(provider.refunds).toMatchObject([{ idempotencyKey: `refund:${bought.id}`, amountMinor: 1_999 }]);
  expect(await payments.refund(order(), chargeId)).toMatchObject({ kind: 'unknown' });
});

it('has no answer, rather than an error, when the provider is away', async () => {
  const away = createPayments({ url: 'http://127.0.0.1:1', timeoutMs: 200 });
  expect(await away.charge(order(), 'tok_ok')).toMatchObject({ kind: 'unknown' });
  expect(await away.find(uuidv7())).toMatchObject({ kind: 'unknown' });
  expect(await away.refund(order(), 'x')).toMatchObject({ kind: 'unknown' });
  await expect(away.ping()).rejects.toThrow();
  await payments.ping();
});

it('hands its trace on to the provider', async () => {
  const tracing = await startTracing({ service: 'order' });
  const traceId = await inSpan('test', {}, async (span) => {
    await payments.charge(order(), 'tok_ok');
    return span.spanContext().traceId;
  });
  await tracing.close();
  expect(provider.traceparents.at(-1)).toContain(traceId);
});
