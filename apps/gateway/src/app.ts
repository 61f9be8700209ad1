import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import { fault } from '@headroom/contracts';
import { systemClock, uuidv7, type Clock, type Fault } from '@headroom/resilience';
import { withCallContext, type CallContext, type Principal } from '@headroom/rpc';
import { durationHistogram, inSpan } from '@headroom/telemetry';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Readable } from 'node:stream';
import type { TSchema } from 'typebox';
import { createConsistency } from './consistency';
import { createCursors } from './cursors';
import type { AppOptions, Deps } from './deps';
import { faultsOf, itemSchema, type Endpoint, type RawBody } from './endpoint';
import { createEventStreams } from './event-streams';
import { cacheHeaders, etagOf, noneMatch } from './http-cache';
import { idempotencyKey } from './idempotency';
import { faultOf, refuseConnection, sendProblem } from './problem';
import { ENDPOINTS } from './routes';
import { readFields, select } from './sparse-fields';
import { createUploads, tooLarge } from './uploads';
import { assertValid, bodyValidator, queryValidator, type Validator } from './validation';

declare module 'fastify' {
  interface FastifyContextConfig {
    endpoint?: Endpoint;
  }
  interface FastifyRequest {
    principal: Principal | undefined;
    call: CallContext | undefined;
    /** When the answer began, where that is long before its end (performance.now()). */
    answeredAt: number | undefined;
    /** Ends the request's span and measurement; idempotent. */
    finish: ((status: number) => void) | undefined;
  }
}

/** All the time that a request has, its calls included. */
const DEADLINE_MS = 8_000;
const BODY_LIMIT_BYTES = 1024 * 1024;
/** What a client has to send its headers, and then again its body; an upload has its own rule. */
const ARRIVAL_MS = 30_000;
/** How long the rest of a body that nobody wants is still read, so that its sender gets to read the answer. */
const LINGER_MS = 5_000;
const EXPOSED_HEADERS = [
  'Cart-Token',
  'Consistency-Token',
  'ETag',
  'Idempotent-Replayed',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-RateLimit-Reset',
  'X-Request-Id',
];
const ACCEPTED_HEADERS = [
  'Authorization',
  'Cart-Token',
  'Consistency-Token',
  'Content-Type',
  'Idempotency-Key',
  'If-Match',
  'If-None-Match',
  'Last-Event-ID',
  'Traceparent',
  'X-Request-Id',
];

const observe = durationHistogram({
  name: 'http_server_request_seconds',
  help: 'Time to answer an HTTP request, by method, route pattern and status',
  labels: ['method', 'route', 'status'],
});

/** The HTTP application. `closeStreams` ends open event streams and must come before `app.close()`, which waits for them. */
export interface App {
  app: FastifyInstance;
  closeStreams(): void;
}

/**
 * Builds the public API. Every request passes the same checks in the same order, whatever its route: route and method,
 * rate limit, sign-in, role, size, media type, JSON, Idempotency-Key, form; then its handler. What comes in beside Authorization
 * identifies nobody: calls to services carry only what is made here.
 */
export async function buildApp(options: AppOptions): Promise<App> {
  const clock = options.clock ?? systemClock;
  const deps: Deps = {
    ...options,
    clock,
    cursors: createCursors(options.signingSecret),
    consistency: createConsistency(options.signingSecret),
    streams: createEventStreams({ clock }),
    incoming: createUploads({ clock, logger: options.logger }),
  };
  const app = fastify({
    trustProxy: options.trustedProxies.length > 0 ? [...options.trustedProxies] : false,
    genReqId: ({ headers }) => requestId(headers['x-request-id']),
    bodyLimit: BODY_LIMIT_BYTES,
    http: { headersTimeout: ARRIVAL_MS },
    requestTimeout: 0, // would cut long uploads: see `arrivesInTime`
    routerOptions: { maxParamLength: 256 },
    exposeHeadRoutes: false, // GET routes answer HEAD themselves, through the same hooks
    frameworkErrors(error, request, reply) {
      const typed = reply as unknown as FastifyReply;
      // No hook has seen this request: what they put on every answer is missing.
      typed.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
      typed.header('content-security-policy', "default-src 'none';frame-ancestors 'none'");
      void typed.send(sendProblem(typed, faultOf(error), request.id));
    },
    clientErrorHandler(error, socket) {
      const detail =
        error.code === 'HPE_HEADER_OVERFLOW'
          ? 'the headers are too large'
          : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
            ? 'the request did not arrive in time'
            : 'this is no valid HTTP request';
      refuseConnection(socket, requestId(undefined), detail);
    },
  });
  app.decorateRequest('principal', undefined);
  app.decorateRequest('call', undefined);
  app.decorateRequest('answeredAt', undefined);
  app.decorateRequest('finish', undefined);

  // First, since a plugin's routes keep the handler that they find.
  app.setErrorHandler((error, request, reply) => {
    const found = faultOf(error);
    log(request, found, error);
    return sendProblem(reply, found, request.id);
  });

  app.addHook('onRequest', (request, reply, next) => begin(request, reply, next));
  app.addHook('onResponse', async (request, reply) => {
    request.finish?.(reply.statusCode);
    lingerOn(request);
  });
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
  });
  await app.register(cors, {
    delegator: (request, decide) =>
      decide(null, {
        origin: [...options.corsOrigins],
        methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
        allowedHeaders: ACCEPTED_HEADERS,
        exposedHeaders: EXPOSED_HEADERS,
        maxAge: 600,
        // Any other OPTIONS request is a method that no route answers.
        preflight:
          request.headers.origin !== undefined &&
          request.headers['access-control-request-method'] !== undefined,
      }),
  });

  const allowed = createAllowTable(ENDPOINTS);
  app.addHook('onRequest', async (request, reply) => {
    const { endpoint } = request.routeOptions.config;
    if (!endpoint) throw unknownRoute(request, reply, allowed);
    const caller = await identify(request, endpoint, deps);
    if (deps.limits && !endpoint.unlimited) {
      const { headers, refusal } = await deps.limits.take({
        principal: caller.principal,
        address: request.ip,
      });
      reply.headers(headers);
      if (refusal) throw refusal;
    }
    admit(request, endpoint, caller);
    const sizeBytes = Number(request.headers['content-length'] ?? 0);
    if (endpoint.raw) {
      if (sizeBytes > endpoint.raw.limitBytes) throw tooLarge(endpoint.raw.limitBytes);
      checkRawType(request, endpoint.raw);
    } else {
      if (sizeBytes > BODY_LIMIT_BYTES) throw fault('BODY_TOO_LARGE');
      void arrivesInTime(request, reply, clock);
    }
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
    parseJson(request, body),
  );
  app.addHook('onSend', async (request, reply, payload) => keep(request, reply, payload));
  app.setNotFoundHandler((request, reply) => {
    throw unknownRoute(request, reply, allowed);
  });

  for (const endpoint of ENDPOINTS) if (!endpoint.raw) addRoute(app, endpoint, deps);
  await app.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser('*', (_request, body, done) => done(null, body));
    for (const endpoint of ENDPOINTS) if (endpoint.raw) addRoute(uploads, endpoint, deps);
  });
  await app.ready();
  return { app, closeStreams: () => deps.streams.closeAll() };

  function begin(request: FastifyRequest, reply: FastifyReply, next: () => void): void {
    const started = performance.now();
    const route = request.routeOptions.config.endpoint?.path ?? 'unmatched';
    const { method } = request;
    request.call = { deadlineAt: Date.now() + DEADLINE_MS, requestId: request.id };
    reply.header('x-request-id', request.id);
    const traceparent = request.headers['traceparent'];
    void inSpan(
      `HTTP ${method} ${route}`,
      {
        kind: 'server',
        traceparent: typeof traceparent === 'string' ? traceparent : undefined,
        attributes: {
          'http.request.method': method,
          'http.route': route,
          'headroom.request_id': request.id,
        },
      },
      (span) =>
        withCallContext(request.call!, async () => {
          const status = await new Promise<number>((resolve) => {
            request.finish = resolve;
            // A client that left before the answer: 499 as reverse proxies count it.
            reply.raw.once('close', () => resolve(reply.raw.writableFinished ? reply.raw.statusCode : 499));
            next();
          });
          const seconds = ((request.answeredAt ?? performance.now()) - started) / 1_000;
          observe({ method, route, status: String(status) }, seconds);
          span.setAttribute('http.response.status_code', status);
          options.logger.debug('request', {
            method,
            route,
            status,
            durationMs: Math.round(seconds * 1_000),
            requestId: request.id,
          });
          if (status >= 500) throw new Error(`answered ${status}`); // marks the span
        }),
    ).catch(() => undefined);
  }

  function log(request: FastifyRequest, found: Fault, error: unknown): void {
    const { endpoint } = request.routeOptions.config;
    const fields = { requestId: request.id, method: request.method, route: endpoint?.path ?? 'unmatched' };
    if (found.kind === 'internal') options.logger.error('request failed', { ...fields, err: error });
    else if (found.kind === 'unavailable' || found.kind === 'timeout')
      options.logger.warn('request failed', { ...fields, reason: found.code, err: error });
    if (endpoint && !(faultsOf(endpoint) as string[]).includes(found.code))
      options.logger.error('a route answered with a code that its document lacks', {
        ...fields,
        reason: found.code,
      });
  }
}

/** `X-Request-Id` of 1 to 128 harmless characters is the client's; anything else is replaced. */
const requestId = (header: string | string[] | undefined): string =>
  typeof header === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(header) ? header : uuidv7();

/** Who asks, as far as the Authorization header says so; why it does not is kept for when it matters. */
type Identity = { principal: Principal | undefined; problem?: unknown };

/** Costs a signature at most, so that it can come before the limits: they depend on it. */
async function identify(
  { headers: { authorization } }: FastifyRequest,
  { access, unlimited }: Endpoint,
  { sessions, limits }: Deps,
): Promise<Identity> {
  const matters = access !== 'open' || (limits !== undefined && !unlimited);
  if (authorization === undefined || !matters) return { principal: undefined };
  try {
    return { principal: await sessions.authenticate(authorization) };
  } catch (problem) {
    return { principal: undefined, problem };
  }
}

/** Sign-in and role. */
function admit(request: FastifyRequest, { access }: Endpoint, { principal, problem }: Identity): void {
  const { authorization } = request.headers;
  if (access === 'open' || (access === 'optional' && authorization === undefined)) return;
  if (authorization === undefined) throw fault('UNAUTHENTICATED', { detail: 'an access token is required' });
  if (!principal) throw problem;
  if (access === 'admin' && principal.role !== 'admin')
    throw fault('FORBIDDEN', { detail: 'this needs the role admin' });
  request.principal = principal;
  request.call!.accessToken = authorization.replace(/^Bearer +/i, '').trim();
}

/** Compression and media type of a body that is no JSON. */
function checkRawType(request: FastifyRequest, { mediaTypes }: RawBody): void {
  refuseCompressed(request);
  const type = request.headers['content-type']?.split(';')[0]!.trim().toLowerCase();
  if (type === undefined || !mediaTypes.includes(type))
    throw fault('MEDIA_TYPE_UNSUPPORTED', { detail: `send ${mediaTypes.join(' or ')}` });
}

function refuseCompressed({ headers }: FastifyRequest): void {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw fault('MEDIA_TYPE_UNSUPPORTED', { detail: 'compressed bodies are not accepted' });
}

/** Ends the connection of a client whose body does not arrive. */
async function arrivesInTime({ raw, id }: FastifyRequest, reply: FastifyReply, clock: Clock): Promise<void> {
  if (raw.headers['transfer-encoding'] === undefined && Number(raw.headers['content-length'] ?? 0) === 0)
    return;
  const answered = new AbortController();
  reply.raw.once('close', () => answered.abort());
  await clock.sleep(ARRIVAL_MS, answered.signal);
  if (!answered.signal.aborted && !raw.complete)
    refuseConnection(raw.socket, id, 'the request did not arrive in time');
}

/** Answered before the body was read: a connection that is closed at once would lose the answer on its way. */
function lingerOn({ raw }: FastifyRequest): void {
  if (raw.complete !== false || raw.socket.destroyed) return;
  raw.resume();
  setTimeout(() => {
    if (!raw.complete) raw.socket.destroy();
  }, LINGER_MS).unref();
}

/** Media type, then JSON: one parser for all types, so that size comes before both. */
async function parseJson(request: FastifyRequest, body: Buffer): Promise<unknown> {
  refuseCompressed(request);
  if (body.length === 0) return undefined;
  const type = request.headers['content-type'] ?? '';
  if (!/^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?;?$/i.test(type.trim()))
    throw fault('MEDIA_TYPE_UNSUPPORTED', { detail: 'send application/json in UTF-8' });
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch {
    throw fault('BODY_MALFORMED');
  }
}

/** Where no body is expected, an empty object does no harm; anything in it is a mistake. */
const noBody: Validator = (body) => {
  if (body === undefined || body === null) return [];
  if (typeof body !== 'object' || Array.isArray(body)) return [{ path: '', message: 'is not expected here' }];
  return Object.keys(body)
    .slice(0, 50)
    .map((path) => ({ path, message: 'is not known here' }));
};

function addRoute(app: FastifyInstance, endpoint: Endpoint, deps: Deps): void {
  const validateQuery = queryValidator(endpoint.query);
  const validateBody: Validator = endpoint.body ? bodyValidator(endpoint.body) : noBody;
  const item = itemSchema(endpoint);
  const { status, schema, also = {} } = endpoint.reply;
  const responses: Record<number, TSchema> =
    schema === undefined || endpoint.streams
      ? {}
      : Object.fromEntries([status, ...Object.keys(also).map(Number)].map((each) => [each, schema]));

  app.route({
    method: endpoint.method === 'GET' ? ['GET', 'HEAD'] : endpoint.method,
    url: endpoint.path,
    config: { endpoint },
    schema: { response: responses },
    async preValidation(request) {
      if (endpoint.idempotent) idempotencyKey(request.headers['idempotency-key']);
      if (endpoint.body && request.body === undefined)
        throw fault('BODY_MALFORMED', { detail: 'a JSON body is required' });
      if (endpoint.raw && request.body === undefined)
        throw fault('BODY_MALFORMED', { detail: 'the body is empty' });
      assertValid([
        ...validateQuery(request.query),
        ...(endpoint.method === 'GET' || endpoint.raw ? [] : validateBody(request.body)),
      ]);
    },
    async handler(request, reply) {
      const { fields } = request.query as { fields?: string };
      const selection = fields === undefined ? undefined : readFields(fields, item);
      reply.code(status);
      const body = await endpoint.handle({
        deps,
        params: request.params as Record<string, string>,
        query: request.query as never,
        body: request.body as never,
        principal: request.principal,
        request,
        reply,
      });
      if (reply.sent) return reply;
      if (body === undefined) return reply.send();
      if (selection === undefined) return reply.send(body);
      reply.type('application/json; charset=utf-8').serializer(JSON.stringify);
      return reply.send(
        item === schema
          ? select(body, selection)
          : { ...(body as object), items: select((body as { items: unknown }).items, selection) },
      );
    },
  });
}

/** Caching headers, the ETag of a read, and 304 where the client has the same already. */
function keep(request: FastifyRequest, reply: FastifyReply, payload: unknown): unknown {
  const { endpoint } = request.routeOptions.config;
  if (!endpoint || reply.statusCode >= 300) {
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
    return payload;
  }
  const { vary, 'cache-control': cacheControl } = cacheHeaders(endpoint.cache, request.headers);
  if (!reply.hasHeader('cache-control')) reply.header('cache-control', cacheControl);
  if (vary) reply.header('vary', [reply.getHeader('vary'), vary].filter(Boolean).join(', '));
  if (endpoint.method !== 'GET' || endpoint.path === '/health') return payload;
  const whole = typeof payload === 'string' || Buffer.isBuffer(payload);
  const etag = reply.getHeader('etag')?.toString() ?? (whole ? etagOf(payload) : undefined);
  if (etag === undefined) return payload;
  reply.header('etag', etag);
  const known = noneMatch(request.headers['if-none-match'], etag);
  if (payload instanceof Readable && (known || request.method === 'HEAD')) payload.destroy();
  else if (!known) return payload;
  if (known) reply.code(304).removeHeader('content-type').removeHeader('content-length');
  return null;
}

interface AllowTable {
  /** The methods that a path answers: none when it is no path of ours. */
  methodsOf(path: string): string[];
}

function createAllowTable(endpoints: readonly Endpoint[]): AllowTable {
  const patterns = new Map<string, Set<string>>();
  for (const { path, method } of endpoints) {
    const methods = patterns.get(path) ?? new Set<string>();
    for (const each of method === 'GET' ? ['GET', 'HEAD'] : [method]) methods.add(each);
    patterns.set(path, methods);
  }
  const routes = [...patterns].map(([path, methods]) => ({
    parameters: path.split(':').length,
    expression: new RegExp(`^${path.replaceAll('.', '\\.').replace(/:\w+/g, '[^/]+')}$`),
    methods: [...methods],
  }));
  routes.sort((a, b) => a.parameters - b.parameters); // literal paths win, as they do in the router
  return { methodsOf: (path) => routes.find(({ expression }) => expression.test(path))?.methods ?? [] };
}

function unknownRoute(request: FastifyRequest, reply: FastifyReply, table: AllowTable): Fault {
  const methods = table.methodsOf(request.url.split('?')[0]!);
  if (methods.length === 0) return fault('NOT_FOUND');
  reply.header('allow', methods.join(', '));
  return fault('METHOD_NOT_ALLOWED', { detail: `this path answers ${methods.join(', ')}` });
}
