import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface ChargeState {
  id: string;
  orderId: string;
  idempotencyKey: string;
  amountMinor: number;
  currency: string;
  status: 'succeeded' | 'declined';
}

interface RefundState {
  id: string;
  chargeId: string;
  orderId: string;
  idempotencyKey: string;
  amountMinor: number;
  status: 'succeeded';
}

/** A payment provider with state behind a real HTTP server: idempotent by key, with the test tokens of the sandbox. */
export interface PaymentDouble {
  url: string;
  charges: ChargeState[];
  refunds: RefundState[];
  /** What came in, e.g. `POST /v1/charges`, in order. */
  requests: string[];
  /** `traceparent` headers that came in. */
  traceparents: string[];
  /** Every connection is cut. */
  down: boolean;
  /** The effect happens, the connection is cut before the answer. */
  loseAnswers: boolean;
  /** Resolves before a charge is answered, after it took effect. */
  beforeAnswer: (orderId: string) => Promise<void> | void;
  close(): Promise<void>;
}

/** Starts the double on a free port. */
export async function startPaymentDouble(options: { slowMs: number }): Promise<PaymentDouble> {
  const charges: ChargeState[] = [];
  const refunds: RefundState[] = [];
  const triedKeys = new Set<string>();

  const charge = async (
    key: string,
    body: { orderId: string; amountMinor: number; currency: string; token: string },
    response: ServerResponse,
  ) => {
    const { orderId, amountMinor, currency, token } = body;
    const first = !triedKeys.has(key);
    triedKeys.add(key);
    if (token === 'tok_down') return send(response, 503, {});
    if (token === 'tok_error' && first) return send(response, 500, {});
    if (token === 'tok_invalid') return send(response, 400, {});
    let record = charges.find((each) => each.idempotencyKey === key);
    if (!record) {
      if (token === 'tok_slow') await new Promise((resolve) => setTimeout(resolve, options.slowMs));
      const status = token === 'tok_declined' ? 'declined' : 'succeeded';
      record = { id: randomUUID(), orderId, idempotencyKey: key, amountMinor, currency, status };
      charges.push(record);
    }
    await double.beforeAnswer(orderId);
    if (double.loseAnswers) return void response.destroy();
    if (token === 'tok_timeout_charged' && first) return; // never answered
    send(response, 201, record);
  };
  const refund = (key: string, body: { chargeId: string; amountMinor: number }, response: ServerResponse) => {
    const charged = charges.find((each) => each.id === body.chargeId && each.status === 'succeeded');
    if (!charged) return send(response, 404, {});
    let record = refunds.find((each) => each.idempotencyKey === key);
    if (!record) {
      const before = refunds
        .filter((each) => each.chargeId === body.chargeId)
        .reduce((sum, each) => sum + each.amountMinor, 0);
      if (before + body.amountMinor > charged.amountMinor) return send(response, 422, {});
      const { orderId } = charged;
      record = { id: randomUUID(), ...body, orderId, idempotencyKey: key, status: 'succeeded' };
      refunds.push(record);
    }
    if (double.loseAnswers) return void response.destroy();
    send(response, 201, record);
  };

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://double');
    double.requests.push(`${request.method} ${url.pathname}`);
    const traceparent = request.headers['traceparent'];
    if (typeof traceparent === 'string') double.traceparents.push(traceparent);
    if (double.down) return void response.destroy();
    const key = String(request.headers['idempotency-key'] ?? '');
    void (async () => {
      if (request.method === 'GET' && url.pathname === '/v1/charges') {
        const orderId = url.searchParams.get('orderId');
        return send(response, 200, { items: charges.filter((each) => each.orderId === orderId).reverse() });
      }
      if (request.method === 'GET') return send(response, 200, {});
      const body = JSON.parse(await read(request)) as never;
      if (key === '') return send(response, 400, {});
      return url.pathname === '/v1/charges' ? charge(key, body, response) : refund(key, body, response);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const double: PaymentDouble = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    charges,
    refunds,
    requests: [],
    traceparents: [],
    down: false,
    loseAnswers: false,
    beforeAnswer: () => undefined,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return double;
}

async function read(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
