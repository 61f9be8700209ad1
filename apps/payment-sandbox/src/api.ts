import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { Database } from '@headroom/postgres';
import { Fault, isUuidv7, uuidv7, type Clock, type FieldError } from '@headroom/resilience';
import type { HealthReport } from '@headroom/service';
import { durationHistogram, inSpan, type Logger } from '@headroom/telemetry';
import fastify, { type FastifyError, type FastifyReply, type FastifyRequest } from 'fastify';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Type } from 'typebox';
import { CARDS, type Payment } from './payments';
import { problemOf } from './problem';
import { listPayments, recordCharge, recordRefund } from './repository';

/** What the API needs of the process that it runs in. */
export interface ApiDependencies {
  db: Database;
  logger: Logger;
  /** Dates the records and times the slow card. */
  clock: Clock;
  report(): Promise<HealthReport>;
}

const observe = durationHistogram({
  name: 'http_request_seconds',
  help: 'Time of an HTTP request by route pattern, method and status; status 0: never answered',
  labels: ['route', 'method', 'status'],
});

const METHODS: Record<string, string> = {
  '/v1/charges': 'GET, HEAD, POST',
  '/v1/refunds': 'GET, HEAD, POST',
  '/health': 'GET, HEAD',
};

const orderId = Type.String({
  pattern: '^[\\x21-\\x7e]{1,100}$',
  description: '1 to 100 visible ASCII characters',
});
const amountMinor = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const closed = { additionalProperties: false };
const chargeBody = Type.Object(
  {
    orderId,
    amountMinor,
    currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'three capital letters (ISO 4217)' }),
    token: Type.String({ minLength: 1, maxLength: 255 }),
  },
  closed,
);
const refundBody = Type.Object(
  {
    chargeId: Type.String({
      pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
      description: 'the id of a charge',
    }),
    amountMinor,
  },
  closed,
);
const listQuery = Type.Object(
  {
    orderId: Type.Optional(orderId),
    limit: Type.Optional(
      Type.String({ pattern: '^([1-9][0-9]?|100)$', description: 'a whole number from 1 to 100' }),
    ),
    cursor: Type.Optional(Type.String({ maxLength: 1_000 })),
  },
  closed,
);

/**
 * The sandbox's HTTP API. A charge or refund is on record before its call is answered; a repeated key gets the record with
 * `Idempotent-Replayed: true`. `close` cuts the calls that would never be answered.
 */
export function buildApi({ db, logger, clock, report }: ApiDependencies) {
  const unanswered = new Set<FastifyReply>();
  const api = fastify({
    bodyLimit: 64 * 1024,
    genReqId: (req) => {
      const given = req.headers['x-request-id'];
      return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : uuidv7(clock.now());
    },
    ajv: { customOptions: { allErrors: true, coerceTypes: false, removeAdditional: false, verbose: true } },
    frameworkErrors: (error, request, reply) => sendProblem(error, request, reply),
  }).withTypeProvider<TypeBoxTypeProvider>();

  api.removeContentTypeParser('text/plain'); // accepted by default
  // The rest of the request runs inside `done`, and so inside the span.
  api.addHook('onRequest', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    const traceparent = request.headers['traceparent'];
    const start = performance.now();
    reply.header('x-request-id', request.id).header('cache-control', 'no-store');
    void inSpan(
      `${request.method} ${route}`,
      { kind: 'server', traceparent: typeof traceparent === 'string' ? traceparent : undefined },
      async (span) => {
        const closing = once(reply.raw, 'close');
        done();
        await closing;
        const status = reply.raw.headersSent ? reply.statusCode : 0;
        const tookMs = performance.now() - start;
        span.setAttributes({ 'http.route': route, 'http.response.status_code': status });
        observe({ route, method: request.method, status: String(status) }, tookMs / 1_000);
        logger.info('request', {
          requestId: request.id,
          method: request.method,
          route,
          status,
          durationMs: Math.round(tookMs),
        });
      },
    );
  });
  api.addHook('preClose', (done) => {
    for (const reply of unanswered) reply.raw.destroy();
    done();
  });
  api.setErrorHandler(sendProblem);
  api.setNotFoundHandler((request, reply) => {
    const allow = METHODS[request.url.split('?')[0]!];
    if (allow) reply.header('allow', allow);
    return sendProblem(
      allow
        ? new Fault('method_not_allowed', 'METHOD_NOT_ALLOWED', { detail: `this path answers ${allow}` })
        : new Fault('not_found', 'NOT_FOUND', { detail: `there are ${Object.keys(METHODS).join(', ')}` }),
      request,
      reply,
    );
  });

  api.post(
    '/v1/charges',
    { schema: { body: chargeBody }, preValidation: requireKey },
    async (request, reply) => {
      const card = CARDS.get(request.body.token);
      if (!card || card.refused === 'invalid')
        throw new Fault('invalid', 'TOKEN_INVALID', {
          detail: `the card token is not valid; the test cards are ${[...CARDS.keys()].join(', ')}`,
          errors: [{ path: 'token', message: 'is not the token of a card that can be charged' }],
        });
      if (card.refused === 'down')
        throw new Fault('unavailable', 'PROVIDER_DOWN', {
          detail: 'the card network is down, nothing was charged: try again with the same key',
          retryAfterSeconds: 1,
        });
      const recorded = await recordCharge(
        db,
        { ...request.body, amountMinor: BigInt(request.body.amountMinor) },
        card,
        newRecord(request),
      );
      if (!recorded) throw new Fault('internal', 'PROCESSING_FAILED');
      if (recorded.isNew && card.silent) {
        unanswered.add(reply);
        reply.raw.once('close', () => unanswered.delete(reply));
        return reply.hijack();
      }
      if (recorded.isNew && card.delayMs !== undefined) await clock.sleep(card.delayMs);
      return sendRecord(reply, recorded);
    },
  );

  api.post(
    '/v1/refunds',
    { schema: { body: refundBody }, preValidation: requireKey },
    async (request, reply) => {
      const { chargeId, amountMinor: amount } = request.body;
      return sendRecord(
        reply,
        await recordRefund(db, { chargeId, amountMinor: BigInt(amount) }, newRecord(request)),
      );
    },
  );

  for (const table of ['charges', 'refunds'] as const)
    api.get(`/v1/${table}`, { schema: { querystring: listQuery } }, async (request) => {
      const { orderId: ofOrder, cursor, limit: limitText = '20' } = request.query;
      const limit = Number(limitText);
      const list = `${table}?${ofOrder ?? ''}`;
      const afterId = cursor === undefined ? undefined : readCursor(list, cursor);
      const found = await listPayments(db, table, { orderId: ofOrder, afterId, limit: limit + 1 });
      const items = found.slice(0, limit);
      return {
        items: items.map(paymentJson),
        page: { limit, nextCursor: found.length > limit ? writeCursor(list, items.at(-1)!.id) : null },
      };
    });

  api.get('/health', async (_request, reply) => {
    const { status, checks } = await report();
    return reply.code(status === 'unhealthy' ? 503 : 200).send({
      status,
      checks: Object.fromEntries(
        Object.entries(checks).map(([name, check]) => [name, { status: check.status }]),
      ),
    });
  });

  function newRecord(request: FastifyRequest) {
    const nowMs = clock.now();
    return { id: uuidv7(nowMs), key: String(request.headers['idempotency-key']), at: new Date(nowMs) };
  }

  function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply) {
    const fault = faultOf(error);
    const problem = problemOf(fault, request.id);
    if (problem.code === 'INTERNAL') logger.error('request failed', { err: error, requestId: request.id });
    if (fault instanceof Fault && fault.retryAfterSeconds !== undefined)
      reply.header('retry-after', fault.retryAfterSeconds);
    return reply.code(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  }

  return api;
}

function sendRecord(reply: FastifyReply, { payment, isNew }: { payment: Payment; isNew: boolean }) {
  if (!isNew) reply.header('idempotent-replayed', 'true');
  return reply.code(201).send(paymentJson(payment));
}

/** A record as the API shows it. Amounts fit: no larger one is accepted. */
function paymentJson(payment: Payment) {
  return { ...payment, amountMinor: Number(payment.amountMinor), createdAt: payment.createdAt.toISOString() };
}

async function requireKey(request: FastifyRequest): Promise<void> {
  const key = request.headers['idempotency-key'];
  if (key === undefined || key === '')
    throw new Fault('invalid', 'IDEMPOTENCY_KEY_REQUIRED', {
      detail: 'send an Idempotency-Key header of 1 to 255 visible ASCII characters',
    });
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key))
    throw new Fault('invalid', 'IDEMPOTENCY_KEY_INVALID', {
      detail: 'Idempotency-Key takes 1 to 255 visible ASCII characters',
    });
}

/**
 * A cursor is a place in one list, with a checksum over both, so that one of another list or a damaged one is noticed. It needs
 * no secret: whoever forges one gets to a place that the list shows anyway.
 */
function writeCursor(list: string, id: string): string {
  return Buffer.from(`${id}${checksum(list, id)}`).toString('base64url');
}

function readCursor(list: string, cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  const id = text.slice(0, 36);
  if (!isUuidv7(id) || writeCursor(list, id) !== cursor)
    throw new Fault('invalid', 'CURSOR_INVALID', {
      detail: 'the cursor is not one that this list gave out: start without it, and keep orderId the same',
      errors: [{ path: 'cursor', message: 'does not belong to this list' }],
    });
  return id;
}

function checksum(list: string, id: string): string {
  return createHash('sha256').update(`${list}\n${id}`).digest('hex').slice(0, 12);
}

/** Errors of the framework as faults; anything else stays as it is. */
function faultOf(error: unknown): unknown {
  const { code = '', statusCode, validation, validationContext } = (error ?? {}) as Partial<FastifyError>;
  if (validation)
    return new Fault('invalid', 'VALIDATION_FAILED', {
      detail: `the ${validationContext ?? 'request'} is not valid: see errors`,
      errors: validation.map((each) => fieldError(each as Violation, validationContext ?? 'body')),
    });
  if (error instanceof Fault || statusCode === undefined || statusCode >= 500) return error;
  if (statusCode === 413)
    return new Fault('too_large', 'BODY_TOO_LARGE', { detail: 'a body has at most 64 KiB' });
  if (statusCode === 415)
    return new Fault('unsupported_type', 'MEDIA_TYPE_UNSUPPORTED', { detail: 'send application/json' });
  if (code === 'FST_ERR_BAD_URL')
    return new Fault('not_found', 'NOT_FOUND', { detail: 'the path is not a valid URL path' });
  return new Fault('invalid', 'BODY_MALFORMED', { detail: 'the body could not be read as JSON' });
}

/** What ajv tells of one violation, with the violated part of the schema (`verbose`). */
interface Violation {
  keyword: string;
  instancePath: string;
  message?: string;
  params: { missingProperty?: string; additionalProperty?: string };
  parentSchema?: { description?: string };
}

function fieldError(violation: Violation, whole: string): FieldError {
  const { missingProperty, additionalProperty } = violation.params;
  if (missingProperty !== undefined) return { path: missingProperty, message: 'is required' };
  if (additionalProperty !== undefined) return { path: additionalProperty, message: 'is not known here' };
  const expected = violation.keyword === 'pattern' ? violation.parentSchema?.description : undefined;
  return {
    path: violation.instancePath.slice(1).replaceAll('/', '.') || whole,
    message: expected ? `must be ${expected}` : (violation.message ?? 'is not valid'),
  };
}
