import { currentTraceparent, durationHistogram, inSpan } from '@headroom/telemetry';

/** What became of a charge. `unknown`: no answer, or one that says nothing; it may have been taken. */
export type ChargeResult =
  | { kind: 'charged'; chargeId: string }
  | { kind: 'declined' }
  | { kind: 'invalid' }
  | { kind: 'unknown'; cause: unknown };

/** The payment provider as this service uses it. No method rejects: no word from the provider is an outcome too. */
export interface Payments {
  /** Takes the order's total once, however often it is called. */
  charge(order: ChargeOrder, token: string): Promise<ChargeResult>;
  /** Asks what is on record for the order. */
  find(orderId: string): Promise<ChargeResult | { kind: 'absent' }>;
  /** Gives a charge back once, however often it is called. */
  refund(
    order: ChargeOrder,
    chargeId: string,
  ): Promise<{ kind: 'done' } | { kind: 'unknown'; cause: unknown }>;
  /** Rejects when the provider does not answer. */
  ping(): Promise<void>;
}

interface ChargeOrder {
  id: string;
  totalMinor: bigint;
  currency: string;
}

interface ChargeRecord {
  id: string;
  idempotencyKey: string;
  status: string;
}

const observe = durationHistogram({
  name: 'payment_call_seconds',
  help: 'Time of a call to the payment provider, by operation and outcome',
  labels: ['operation', 'outcome'],
});

/** The provider's idempotency key of an order's one charge: made from our own id, never from a client's key. */
export const chargeKey = (orderId: string): string => `charge:${orderId}`;
/** The provider's idempotency key of an order's one refund. */
export const refundKey = (orderId: string): string => `refund:${orderId}`;

/**
 * A client of the provider's HTTP API. Each call ends after `timeoutMs` (default 5 s, longer than the provider's slowest
 * honest answer) as unknown. It repeats nothing by itself: the saga decides what a missing answer means.
 */
export function createPayments(options: { url: string; timeoutMs?: number }): Payments {
  const base = options.url.replace(/\/$/, '');
  const timeoutMs = options.timeoutMs ?? 5_000;

  const send = (method: 'GET' | 'POST', path: string, body?: unknown, key?: string) => {
    const traceparent = currentTraceparent();
    return fetch(`${base}${path}`, {
      method,
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
        ...(traceparent === undefined ? {} : { traceparent }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  };
  const measured = <R extends { kind: string }>(operation: string, work: () => Promise<R>) =>
    inSpan(`payment ${operation}`, { kind: 'client' }, async (span) => {
      const start = performance.now();
      const result = await work().catch((cause: unknown) => ({ kind: 'unknown' as const, cause }));
      span.setAttribute('headroom.outcome', result.kind);
      observe({ operation, outcome: result.kind }, (performance.now() - start) / 1_000);
      return result;
    });

  return {
    charge: (order, token) =>
      measured('charge', async (): Promise<ChargeResult> => {
        const response = await send(
          'POST',
          '/v1/charges',
          { orderId: order.id, amountMinor: Number(order.totalMinor), currency: order.currency, token },
          chargeKey(order.id),
        );
        if (response.status === 400) {
          await response.body?.cancel();
          return { kind: 'invalid' };
        }
        return chargeResult((await readJson(response, 'charge')) as ChargeRecord);
      }),
    find: (orderId) =>
      measured('find', async (): Promise<ChargeResult | { kind: 'absent' }> => {
        const response = await send('GET', `/v1/charges?orderId=${encodeURIComponent(orderId)}`);
        const { items } = (await readJson(response, 'list of charges')) as { items: ChargeRecord[] };
        const ours = items.find((each) => each.idempotencyKey === chargeKey(orderId));
        return ours ? chargeResult(ours) : { kind: 'absent' };
      }),
    refund: (order, chargeId) =>
      measured('refund', async (): Promise<{ kind: 'done' } | { kind: 'unknown'; cause: unknown }> => {
        const response = await send(
          'POST',
          '/v1/refunds',
          { chargeId, amountMinor: Number(order.totalMinor) },
          refundKey(order.id),
        );
        const { status } = (await readJson(response, 'refund')) as { status: string };
        return status === 'succeeded'
          ? { kind: 'done' }
          : { kind: 'unknown', cause: new Error(`the refund is ${status}`) };
      }),
    async ping() {
      const response = await send('GET', '/health');
      await response.body?.cancel();
      if (response.status >= 500)
        throw new Error(`the payment provider answered with status ${response.status}`);
    },
  };
}

function chargeResult(record: ChargeRecord): ChargeResult {
  if (record.status === 'succeeded') return { kind: 'charged', chargeId: record.id };
  if (record.status === 'declined') return { kind: 'declined' };
  return { kind: 'unknown', cause: new Error(`the charge is ${record.status}`) };
}

async function readJson(response: Response, what: string): Promise<unknown> {
  if (response.ok) return response.json();
  await response.body?.cancel();
  throw new Error(`the provider answered the ${what} with status ${response.status}`);
}
