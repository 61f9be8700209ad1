import { openDatabase, sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { runHealthChecks } from '@headroom/service';
import { silentLogger, startTracing } from '@headroom/telemetry';
import {
  createTestDatabase,
  eventually,
  ManualClock,
  unindexedForeignKeys,
  type TestDatabase,
} from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buildApi } from './api';
import { CARDS } from './payments';

interface Body {
  id: string;
  status: string;
  code: string;
  detail: string;
  errors: Array<{ path: string; message: string }>;
  items: Array<Record<string, unknown> & { id: string; amountMinor: number }>;
  page: { limit: number; nextCursor: string | null };
}

let test: TestDatabase;
let sandbox: Awaited<ReturnType<typeof open>>;
const opened: Array<() => Promise<void>> = [];
beforeAll(async () => {
  test = await createTestDatabase(join(__dirname, '../migrations'));
  sandbox = await open();
});
afterAll(async () => {
  for (const close of opened) await close();
  await test.drop();
});

/** The API on a port of its own, over its own pool: a process of the service without the process. */
async function open() {
  const db: Database = openDatabase({ url: test.url, name: 'payment', logger: silentLogger });
  const clock = new ManualClock(Date.now());
  const sleeps: number[] = [];
  const sleep = clock.sleep.bind(clock);
  clock.sleep = (ms, signal) => {
    sleeps.push(ms);
    return sleep(ms, signal);
  };
  const lines: Array<{ message: string; fields: unknown }> = [];
  const logger = {
    ...silentLogger,
    info: (message: string, fields?: unknown) => void lines.push({ message, fields }),
    error: (message: string, fields?: unknown) => void lines.push({ message, fields }),
  };
  const report = () => runHealthChecks([{ name: 'database', severity: 'unhealthy', check: () => db.ping() }]);
  const api = buildApi({ db, logger, clock, report });
  await api.listen({ host: '127.0.0.1', port: 0 });
  const base = `http://127.0.0.1:${(api.server.address() as AddressInfo).port}`;
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: (text && JSON.parse(text)) as Body,
    };
  };
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= api.close().then(() => db.close()));
  opened.push(close);
  return {
    base,
    clock,
    sleeps,
    lines,
    call,
    charge: (values: Record<string, unknown> = {}, key: string = randomUUID()) =>
      call(
        'POST',
        '/v1/charges',
        { orderId: uuidv7(), amountMinor: 1_000, currency: 'EUR', token: 'tok_ok', ...values },
        { 'idempotency-key': key },
      ),
    refund: (chargeId: string, amountMinor: number, key: string = randomUUID()) =>
      call('POST', '/v1/refunds', { chargeId, amountMinor }, { 'idempotency-key': key }),
    chargesOf: async (orderId: string) => (await call('GET', `/v1/charges?orderId=${orderId}`)).body.items,
    refundsOf: async (orderId: string) => (await call('GET', `/v1/refunds?orderId=${orderId}`)).body.items,
    close,
  };
}

describe('a charge', () => {
  it('is on record as it was asked for, and under its order', async () => {
    const orderId = uuidv7();
    const answer = await sandbox.charge({ orderId, amountMinor: 4_200 }, 'charge-1');
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      id: expect.any(String),
      orderId,
      idempotencyKey: 'charge-1',
      amountMinor: 4_200,
      currency: 'EUR',
      status: 'succeeded',
      createdAt: new Date(sandbox.clock.now()).toISOString(),
    });
    expect(await sandbox.chargesOf(orderId)).toEqual([answer.body]);
  });

  it('can be declined, which is on record too', async () => {
    const orderId = uuidv7();
    const answer = await sandbox.charge({ orderId, token: 'tok_declined' });
    expect([answer.status, answer.body.status]).toEqual([201, 'declined']);
    expect(await sandbox.chargesOf(orderId)).toEqual([answer.body]);
  });

  it('is made once for a repeated key, and the repetition gets what is on record', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const first = await sandbox.charge({ orderId }, key);
    const again = await sandbox.call(
      'POST',
      '/v1/charges',
      `{"token":"tok_ok","currency":"EUR","orderId":"${orderId}","amountMinor":1000}`,
      { 'idempotency-key': key },
    );
    expect([again.status, again.text]).toEqual([201, first.text]);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(first.headers.get('idempotent-replayed')).toBeNull();
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it('is made once when 30 calls race one key', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 30 }, () => sandbox.charge({ orderId }, key)));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]!.status).toBe(201);
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it.each([
    ['amount', { amountMinor: 1_001 }],
    ['currency', { currency: 'GBP' }],
    ['order', { orderId: 'another' }],
    ['token', { token: 'tok_declined' }],
  ])('is refused under a key that stands for another %s, and nothing is charged', async (_what, other) => {
    const key = randomUUID();
    const orderId = uuidv7();
    await sandbox.charge({ orderId }, key);
    const answer = await sandbox.charge({ orderId, ...other }, key);
    expect([answer.status, answer.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it('survives a restart together with its key', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const first = await sandbox.charge({ orderId }, key);
    const restarted = await open();
    expect((await restarted.charge({ orderId }, key)).text).toBe(first.text);
    expect((await restarted.charge({ orderId, amountMinor: 1 }, key)).status).toBe(422);
  });
});

describe('a test card', () => {
  it('tok_slow charges at once and answers after three seconds', async () => {
    const orderId = uuidv7();
    let answered = false;
    const waiting = sandbox.charge({ orderId, token: 'tok_slow' }).finally(() => (answered = true));
    await eventually(() => expect(sandbox.sleeps).toEqual([3_000]));
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
    sandbox.clock.advance(2_999);
    await sandbox.chargesOf(orderId); // a whole round trip later
    expect(answered).toBe(false);
    sandbox.clock.advance(1);
    expect(await waiting).toMatchObject({ status: 201, body: { status: 'succeeded' } });
  });

  it('tok_timeout_charged charges, never answers the first call, and answers a repeated key', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const giveUp = new AbortController();
    const first = fetch(`${sandbox.base}/v1/charges`, {
      method: 'POST',
      signal: giveUp.signal,
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ orderId, amountMinor: 1_000, currency: 'EUR', token: 'tok_timeout_charged' }),
    }).then(
      () => 'answered',
      () => 'no answer',
    );
    await eventually(async () => expect(await sandbox.chargesOf(orderId)).toHaveLength(1));
    const again = await sandbox.charge({ orderId, token: 'tok_timeout_charged' }, key);
    expect([again.status, again.body.status]).toEqual([201, 'succeeded']);
    sandbox.clock.advance(60_000);
    giveUp.abort();
    expect(await first).toBe('no answer');
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it('tok_error fails the first call of each key and charges on the second, once', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const first = await sandbox.charge({ orderId, token: 'tok_error' }, key);
    expect([first.status, first.body.code]).toEqual([500, 'PROCESSING_FAILED']);
    expect(await sandbox.chargesOf(orderId)).toEqual([]);
    const second = await sandbox.charge({ orderId, token: 'tok_error' }, key);
    const third = await sandbox.charge({ orderId, token: 'tok_error' }, key);
    expect([second.status, third.text]).toEqual([201, second.text]);
    expect((await sandbox.charge({ orderId, token: 'tok_error' })).status).toBe(500);
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it('tok_error fails exactly one of the calls that race a new key', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => sandbox.charge({ orderId, token: 'tok_error' }, key)),
    );
    expect(answers.filter(({ status }) => status === 500)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(9);
    expect(await sandbox.chargesOf(orderId)).toHaveLength(1);
  });

  it('tok_down is always 503, charges nothing and leaves the key free', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    for (let call = 0; call < 3; call += 1) {
      const answer = await sandbox.charge({ orderId, token: 'tok_down' }, key);
      expect([answer.status, answer.body.code]).toEqual([503, 'PROVIDER_DOWN']);
      expect(answer.headers.get('retry-after')).toBe('1');
    }
    expect(await sandbox.chargesOf(orderId)).toEqual([]);
    expect((await sandbox.charge({ orderId }, key)).status).toBe(201);
  });

  it.each(['tok_invalid', 'tok_unheard_of', 'constructor'])('%s is refused by name', async (token) => {
    const orderId = uuidv7();
    const answer = await sandbox.charge({ orderId, token });
    expect([answer.status, answer.body.code, answer.body.errors[0]!.path]).toEqual([
      400,
      'TOKEN_INVALID',
      'token',
    ]);
    expect(await sandbox.chargesOf(orderId)).toEqual([]);
  });

  it('leaves no trace of its token in the database', async () => {
    for (const token of CARDS.keys())
      if (token !== 'tok_timeout_charged' && token !== 'tok_slow') await sandbox.charge({ token });
    const rows = await test.db.rows<{ found: string }>(sql('test.find-token')`
      select r::text as found from requests r where r::text like '%tok\\_%'
      union all select c::text from charges c where c::text like '%tok\\_%'`);
    expect(rows).toEqual([]);
  });
});

describe('a refund', () => {
  it('gives back a part of a charge, and says of which', async () => {
    const orderId = uuidv7();
    const { body: charge } = await sandbox.charge({ orderId, amountMinor: 1_000, currency: 'GBP' });
    const answer = await sandbox.refund(charge.id, 400, 'refund-1');
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      id: expect.any(String),
      orderId,
      chargeId: charge.id,
      idempotencyKey: 'refund-1',
      amountMinor: 400,
      currency: 'GBP',
      status: 'succeeded',
      createdAt: expect.any(String),
    });
    expect(await sandbox.refundsOf(orderId)).toEqual([answer.body]);
  });

  it('above what is left of the charge is refused, and says what is left', async () => {
    const { body: charge } = await sandbox.charge({ amountMinor: 1_000 });
    expect((await sandbox.refund(charge.id, 1_001)).body.code).toBe('REFUND_TOO_LARGE');
    await sandbox.refund(charge.id, 600);
    const answer = await sandbox.refund(charge.id, 401);
    expect([answer.status, answer.body.code]).toEqual([422, 'REFUND_TOO_LARGE']);
    expect(answer.body.detail).toContain('only 400');
    expect((await sandbox.refund(charge.id, 400)).status).toBe(201);
  });

  it('never sums up to more than the charge, however many race', async () => {
    const orderId = uuidv7();
    const { body: charge } = await sandbox.charge({ orderId, amountMinor: 1_000 });
    const answers = await Promise.all(Array.from({ length: 40 }, () => sandbox.refund(charge.id, 60)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(16);
    expect(answers.filter(({ status }) => status === 422)).toHaveLength(24);
    const refunds = await sandbox.refundsOf(orderId);
    expect(refunds.reduce((sum, refund) => sum + refund.amountMinor, 0)).toBe(960);
  });

  it('is made once when 20 calls race one key, and another body under the key is refused', async () => {
    const orderId = uuidv7();
    const key = randomUUID();
    const { body: charge } = await sandbox.charge({ orderId, amountMinor: 1_000 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => sandbox.refund(charge.id, 1_000, key)),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]!.status).toBe(201);
    expect(await sandbox.refundsOf(orderId)).toHaveLength(1);
    const other = await sandbox.refund(charge.id, 999, key);
    expect([other.status, other.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
  });

  it('of an unknown or a declined charge is refused', async () => {
    const unknown = await sandbox.refund(uuidv7(), 1);
    expect([unknown.status, unknown.body.code]).toEqual([422, 'CHARGE_UNKNOWN']);
    const { body: declined } = await sandbox.charge({ token: 'tok_declined' });
    const refused = await sandbox.refund(declined.id, 1);
    expect([refused.status, refused.body.code]).toEqual([422, 'CHARGE_NOT_REFUNDABLE']);
  });
});

describe('a list', () => {
  it('shows every record once, newest first, page by page, while others are added', async () => {
    const orderId = uuidv7();
    const made: string[] = [];
    for (let n = 0; n < 25; n += 1) {
      sandbox.clock.advance(1);
      made.unshift((await sandbox.charge({ orderId })).body.id);
    }
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await sandbox.call(
        'GET',
        `/v1/charges?orderId=${orderId}&limit=10${cursor && `&cursor=${cursor}`}`,
      );
      expect(body.page.limit).toBe(10);
      seen.push(...body.items.map(({ id }) => id));
      cursor = body.page.nextCursor;
      sandbox.clock.advance(1);
      await sandbox.charge({ orderId });
    }
    expect(seen).toEqual(made);
  });

  it('of all orders pages through too, and of an unknown order is empty', async () => {
    const { body } = await sandbox.call('GET', '/v1/charges?limit=1');
    expect(body.items).toHaveLength(1);
    expect(body.page.nextCursor).not.toBeNull();
    const none = await sandbox.call('GET', '/v1/refunds?orderId=nobody');
    expect(none.body).toEqual({ items: [], page: { limit: 20, nextCursor: null } });
  });

  it('refuses a damaged cursor and one of another list', async () => {
    await sandbox.charge();
    await sandbox.charge();
    const { body } = await sandbox.call('GET', '/v1/charges?limit=1');
    const cursor = body.page.nextCursor!;
    const damaged = `${cursor.slice(0, 5)}${cursor[5] === 'A' ? 'B' : 'A'}${cursor.slice(6)}`;
    for (const path of [
      `/v1/charges?cursor=${damaged}`,
      `/v1/charges?cursor=${cursor}x`,
      `/v1/charges?cursor=`,
      `/v1/refunds?cursor=${cursor}`,
      `/v1/charges?orderId=1&cursor=${cursor}`,
    ])
      expect([path, (await sandbox.call('GET', path)).body.code]).toEqual([path, 'CURSOR_INVALID']);
    expect((await sandbox.call('GET', `/v1/charges?limit=7&cursor=${cursor}`)).status).toBe(200);
  });
});

describe('a bad request', () => {
  const good = { orderId: 'o', amountMinor: 1, currency: 'EUR', token: 'tok_ok' };

  it('without a key, or with a malformed one, is refused', async () => {
    for (const [path, body] of [
      ['/v1/charges', good],
      ['/v1/refunds', { chargeId: uuidv7(), amountMinor: 1 }],
    ] as const) {
      expect((await sandbox.call('POST', path, body)).body.code).toBe('IDEMPOTENCY_KEY_REQUIRED');
      for (const key of ['with space', 'x'.repeat(256), 'é'])
        expect((await sandbox.call('POST', path, body, { 'idempotency-key': key })).body).toMatchObject({
          status: 400,
          code: 'IDEMPOTENCY_KEY_INVALID',
        });
    }
    expect((await sandbox.charge({}, '~'.repeat(255))).status).toBe(201);
  });

  it.each<[string, Record<string, unknown>, string[]]>([
    ['an unknown member', { ...good, colour: 'red' }, ['colour']],
    ['members that are missing', { orderId: 'o' }, ['amountMinor', 'currency', 'token']],
    ['an amount as text', { ...good, amountMinor: '1' }, ['amountMinor']],
    ['an amount with a fraction', { ...good, amountMinor: 1.5 }, ['amountMinor']],
    ['an amount of nothing', { ...good, amountMinor: 0 }, ['amountMinor']],
    ['an amount that a number cannot hold', { ...good, amountMinor: 2 ** 53 }, ['amountMinor']],
    ['a currency in small letters', { ...good, currency: 'eur' }, ['currency']],
    ['an order with a null character', { ...good, orderId: 'a\u0000b' }, ['orderId']],
    ['an order that is a number', { ...good, orderId: 5 }, ['orderId']],
  ])('with %s names the member', async (_what, body, paths) => {
    const answer = await sandbox.call('POST', '/v1/charges', body, { 'idempotency-key': randomUUID() });
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.body).toMatchObject({ status: 400, code: 'VALIDATION_FAILED' });
    expect(answer.body.errors.map(({ path }) => path).sort()).toEqual(paths);
  });

  it('of any other kind has its own status', async () => {
    const key = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all([
      sandbox.call('POST', '/v1/charges', '{"orderId":', key),
      sandbox.call('POST', '/v1/charges', '', { ...key, 'content-type': 'application/json' }),
      sandbox.call('POST', '/v1/charges', 'a=b', { ...key, 'content-type': 'text/plain' }),
      sandbox.call('POST', '/v1/charges', { ...good, token: 'x'.repeat(70_000) }, key),
      sandbox.call('POST', '/v1/refunds', { chargeId: 'nonsense', amountMinor: 1 }, key),
      sandbox.call('GET', '/v1/charges?limit=101'),
      sandbox.call('GET', '/v1/charges?colour=red'),
      sandbox.call('GET', '/v1/charges?orderId=a%00b'),
      sandbox.call('GET', '/v1/payments'),
      sandbox.call('GET', '/v1/%zz'),
      sandbox.call('DELETE', '/v1/charges?orderId=1'),
    ]);
    expect(answers.map(({ body }) => `${body.status} ${body.code}`)).toEqual([
      '400 BODY_MALFORMED',
      '400 BODY_MALFORMED',
      '415 MEDIA_TYPE_UNSUPPORTED',
      '413 BODY_TOO_LARGE',
      '400 VALIDATION_FAILED',
      '400 VALIDATION_FAILED',
      '400 VALIDATION_FAILED',
      '400 VALIDATION_FAILED',
      '404 NOT_FOUND',
      '404 NOT_FOUND',
      '405 METHOD_NOT_ALLOWED',
    ]);
    expect(answers.at(-1)!.headers.get('allow')).toBe('GET, HEAD, POST');
    expect(answers.map(({ body }) => Number(body.status))).toEqual(answers.map(({ status }) => status));
  });
});

describe('operation', () => {
  it('is healthy while its database answers', async () => {
    expect((await sandbox.call('GET', '/health')).body).toEqual({
      status: 'healthy',
      checks: { database: { status: 'healthy' } },
    });
  });

  it('continues the trace of the caller down to its statements', async () => {
    const spans: Array<{ name: string; trace: string; id: string; parent: string | undefined }> = [];
    const tracing = await startTracing({
      service: 'payment-sandbox',
      exporter: {
        export(batch, done) {
          for (const span of batch)
            spans.push({
              name: span.name,
              trace: span.spanContext().traceId,
              id: span.spanContext().spanId,
              parent: span.parentSpanContext?.spanId,
            });
          done({ code: 0 });
        },
        shutdown: async () => undefined,
      },
    });
    const [traceId, parentId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
    await sandbox.call(
      'POST',
      '/v1/charges',
      { orderId: uuidv7(), amountMinor: 1, currency: 'EUR', token: 'tok_ok' },
      { 'idempotency-key': randomUUID(), traceparent: `00-${traceId}-${parentId}-01` },
    );
    await eventually(async () => {
      await tracing.flush();
      const server = spans.find(({ name }) => name === 'POST /v1/charges');
      expect(server).toMatchObject({ trace: traceId, parent: parentId });
      const statement = spans.find(({ name }) => name === 'sql payment.insert-charge');
      expect(statement).toMatchObject({ trace: traceId, parent: server!.id });
    });
    await tracing.close();
  });

  it('echoes a well-formed request id, logs it, and replaces any other', async () => {
    const echoed = await sandbox.call('GET', '/health', undefined, { 'x-request-id': 'call-7' });
    expect(echoed.headers.get('x-request-id')).toBe('call-7');
    await eventually(() =>
      expect(sandbox.lines).toContainEqual({
        message: 'request',
        fields: expect.objectContaining({ requestId: 'call-7', route: '/health', status: 200 }),
      }),
    );
    const replaced = await sandbox.call('GET', '/health', undefined, { 'x-request-id': 'a b' });
    expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('stops although a call waits for an answer that never comes', async () => {
    const stopping = await open();
    const orderId = uuidv7();
    const first = stopping.charge({ orderId, token: 'tok_timeout_charged' }).catch(() => 'cut');
    await eventually(async () => expect(await stopping.chargesOf(orderId)).toHaveLength(1));
    await stopping.close();
    expect(await first).toBe('cut');
  });

  it('has an index under every foreign key', async () => {
    expect(await unindexedForeignKeys(test.db)).toEqual([]);
  });
});
