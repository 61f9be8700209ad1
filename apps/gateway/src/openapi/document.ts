import { fault, FAULT_CODES, problemOf, type FaultCode } from '@headroom/contracts';
import { FAULT_KINDS } from '@headroom/resilience';
import type { TSchema } from 'typebox';
import { faultsOf, itemSchema, type Endpoint, type RawBody } from '../endpoint';
import { PROBLEM_TYPE } from '../problem';
import { COMPONENTS, EXAMPLE_ID } from '../schemas';

type Json = Record<string, unknown>;

const NAMES = new Map<unknown, string>(Object.entries(COMPONENTS).map(([name, schema]) => [schema, name]));

/** The OpenAPI 3.1 document of the given routes: a pure function of what the routes declare. */
export function openApiDocument(endpoints: readonly Endpoint[]): Json {
  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace(/:(\w+)/g, '{$1}');
    (paths[path] ??= {})[endpoint.method.toLowerCase()] = operation(endpoint);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Headroom',
      version: '1.0.0',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: [
        'A commerce backend: accounts, catalog, carts, orders.',
        'Amounts are integers in minor units, times RFC 3339 in UTC, ids UUIDs of version 7.',
        'Errors are problem documents (RFC 9457); what to do about each code is in `docs/errors.md`.',
        'HEAD answers as GET does. Unknown members, parameters and values are errors, never ignored.',
        'A write returns a `Consistency-Token`; a read that sends it back includes the write.',
      ].join('\n\n'),
    },
    servers: [{ url: '/' }],
    tags: [...new Set(endpoints.map(({ tag }) => tag))].map((name) => ({ name, description: TAGS[name] })),
    paths,
    components: {
      schemas: {
        ...Object.fromEntries(
          Object.entries(COMPONENTS).map(([name, schema]) => [
            name,
            plain(schema, { replace: schema, by: undefined }),
          ]),
        ),
        ...sparseComponents(endpoints),
      },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      parameters: PARAMETERS,
      headers: HEADERS,
    },
  };
}

/** What the routes of a tag are about. */
const TAGS: Record<string, string> = {
  Accounts: 'Registration, sessions, the own profile',
  'Admin: users': 'Users as an admin sees them, and mails that were kept',
  Catalog: 'Products, categories and pictures as shoppers see them',
  Recommendations: 'What a shopper may like, and what it is learnt from',
  'Admin: catalog': 'Products, stock, pictures and imports',
  'Cart and orders': 'Carts, checkout and the own orders',
  'Admin: orders': "Everybody's orders, and sales history that is brought in",
  'Admin: reports': 'Confirmed sales, in pages and in files',
  'Admin: operations': 'Background work: jobs, and what was given up',
  Operations: 'Health, keys, this document, and how fast pages were',
};

/** The status that an endpoint gives a code. */
export const statusOf = (endpoint: Endpoint, code: FaultCode): number =>
  FAULT_KINDS[endpoint.faultKinds?.[code] ?? FAULT_CODES[code].kind].http;

const text = (description: string, example: string, more: Json = {}) => ({
  in: 'header',
  description,
  schema: { type: 'string' },
  example,
  ...more,
});
const EXAMPLE_CART = 'Zm9yIHRoZSBjYXJ0IG9mIGEgZ3Vlc3Q';
const EXAMPLE_TOKEN = 'W1sicHJvZHVjdC8wMTkzIiwiNyJdXQ.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0';

/** Request headers, as OpenAPI parameters. */
const PARAMETERS = {
  RequestId: {
    name: 'X-Request-Id',
    ...text('1 to 128 of A-Z, a-z, 0-9, `.`, `_`, `-`: comes back; anything else is replaced', EXAMPLE_ID),
  },
  IdempotencyKey: {
    name: 'Idempotency-Key',
    ...text(
      '1 to 255 visible ASCII characters, kept for 24 h per user and path: a repeated request has its effect once and gets the first answer',
      EXAMPLE_ID,
      { required: true, schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[!-~]+$' } },
    ),
  },
  IfMatch: { name: 'If-Match', ...text('The ETag of what is changed', '"3"') },
  IfMatchRequired: { name: 'If-Match', ...text('The ETag of what is changed', '"3"', { required: true }) },
  IfNoneMatch: { name: 'If-None-Match', ...text('An ETag: the answer is 304 when it is still right', '"3"') },
  ConsistencyToken: {
    name: 'Consistency-Token',
    ...text('From a write: the answer includes that write, or is a 503 after 2 s', EXAMPLE_TOKEN),
  },
  CartToken: {
    name: 'Cart-Token',
    ...text("A guest's: from the answer of the first PUT; beside Authorization it is ignored", EXAMPLE_CART),
  },
  LastEventId: { name: 'Last-Event-ID', ...text('The id of the last event that was seen', '2') },
};

const header = (description: string, example: string) => ({
  description,
  schema: { type: 'string' },
  example,
});

const count = (description: string, example: number) => ({
  description,
  schema: { type: 'integer', minimum: 0 },
  example,
});

/** Headers of answers. */
const HEADERS = {
  RequestId: header('The id of this request', EXAMPLE_ID),
  ETag: header('The version of what was answered', '"3"'),
  CacheControl: header('Who may keep the answer, and for how long', 'private, no-cache'),
  ConsistencyToken: header('Send it with a read that must include this write', EXAMPLE_TOKEN),
  CartToken: header('Of a new cart of a guest: send it with the next calls', EXAMPLE_CART),
  RetryAfter: header('Seconds after which another try makes sense', '1'),
  RateLimit: header(
    'What is left of the limit, and in how many seconds it is whole again',
    '"default";r=599;t=1',
  ),
  RateLimitPolicy: header('How many requests in how many seconds', '"default";q=600;w=60'),
  XRateLimitLimit: count('As `q` of RateLimit-Policy', 600),
  XRateLimitRemaining: count('As `r` of RateLimit', 599),
  XRateLimitReset: count('As `t` of RateLimit', 1),
};
const use = (kind: 'parameters' | 'headers', name: string) => ({ $ref: `#/components/${kind}/${name}` });

function operation(endpoint: Endpoint): Json {
  const { access, body, raw, reply } = endpoint;
  return {
    operationId: operationId(endpoint),
    tags: [endpoint.tag],
    summary: endpoint.summary,
    ...(endpoint.description ? { description: endpoint.description } : {}),
    security: access === 'open' ? [] : [...(access === 'optional' ? [{}] : []), { bearer: [] }],
    parameters: parameters(endpoint),
    ...(body
      ? {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: plain(body), example: exampleOf(body) } },
          },
        }
      : {}),
    ...(raw ? { requestBody: rawRequestBody(raw) } : {}),
    responses: {
      [reply.status]: success(endpoint, reply.description, true),
      ...Object.fromEntries(
        Object.entries(reply.also ?? {}).map(([status, description]) => [
          status,
          success(endpoint, description, status !== '204'),
        ]),
      ),
      ...(hasEtag(endpoint)
        ? {
            304: {
              description: 'What `If-None-Match` names is still right',
              headers: { ETag: use('headers', 'ETag') },
            },
          }
        : {}),
      ...problems(endpoint),
    },
  };
}

/** A file stands in the document as binary, with an example where it is text. */
const rawRequestBody = ({ mediaTypes, description, examples = {} }: RawBody) => ({
  required: true,
  description,
  content: Object.fromEntries(
    mediaTypes.map((type) => [
      type,
      {
        schema: { type: 'string', format: 'binary' },
        ...(examples[type] === undefined ? {} : { example: examples[type] }),
      },
    ]),
  ),
});

/** Every GET answers with an ETag, except those that are never the same twice. */
const hasEtag = ({ method, streams, path }: Endpoint) => method === 'GET' && !streams && path !== '/health';

function operationId({ method, path }: Endpoint): string {
  const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
  const words = path
    .replace(/^\/v1/, '')
    .split(/[/.-]/)
    .filter((word) => word !== '')
    .map((word) => (word.startsWith(':') ? `By${capital(word.slice(1))}` : capital(word)));
  return method.toLowerCase() + words.join('');
}

function parameters(endpoint: Endpoint): Json[] {
  const { path, query } = endpoint;
  const required = (query as { required?: string[] }).required ?? [];
  const named = (name: keyof typeof PARAMETERS) => use('parameters', name);
  return [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      schema: /id$/i.test(name!) ? { type: 'string', format: 'uuid' } : { type: 'string' },
      example: name === 'name' ? 'e3b0c44298fc1c14-480.webp' : EXAMPLE_ID,
    })),
    ...Object.entries(
      query.properties as Record<string, TSchema & { description?: string; default?: unknown }>,
    ).map(([name, schema]) => {
      const { description, examples: _examples, ...rest } = plain(schema);
      return {
        name,
        in: 'query',
        required: required.includes(name) && schema.default === undefined,
        ...(description ? { description } : {}),
        schema: rest,
        ...(name === 'cursor' ? {} : { example: exampleOf(schema) }),
      };
    }),
    ...(endpoint.idempotent ? [named('IdempotencyKey')] : []),
    ...(endpoint.ifMatch ? [named(endpoint.ifMatch === 'required' ? 'IfMatchRequired' : 'IfMatch')] : []),
    ...(hasEtag(endpoint) ? [named('IfNoneMatch')] : []),
    ...(endpoint.consistent ? [named('ConsistencyToken')] : []),
    ...(endpoint.streams ? [named('LastEventId')] : []),
    ...(endpoint.cartToken ? [named('CartToken')] : []),
    named('RequestId'),
  ];
}

function success(endpoint: Endpoint, description: string, withBody: boolean): Json {
  const { schema, headers = {}, contentType = 'application/json' } = endpoint.reply;
  const writes = endpoint.method !== 'GET' && !endpoint.unseen && !endpoint.path.startsWith('/v1/sessions');
  const newCart = endpoint.cartToken && endpoint.method === 'PUT';
  return {
    description,
    headers: {
      'X-Request-Id': use('headers', 'RequestId'),
      'Cache-Control': use('headers', 'CacheControl'),
      ...limitHeaders(endpoint),
      ...(hasEtag(endpoint) ? { ETag: use('headers', 'ETag') } : {}),
      ...(writes ? { 'Consistency-Token': use('headers', 'ConsistencyToken') } : {}),
      ...(newCart ? { 'Cart-Token': use('headers', 'CartToken') } : {}),
      ...Object.fromEntries(
        Object.entries(headers).map(([name, meaning]) => [
          name,
          { description: meaning, schema: { type: 'string' } },
        ]),
      ),
    },
    ...(schema && withBody
      ? {
          content: {
            [contentType.split(';')[0]!]: {
              schema: answerSchema(endpoint, schema),
              example: exampleOf(schema),
            },
          },
        }
      : {}),
  };
}

/** With `fields` an item has what was asked for and its id: either form is right. */
function answerSchema(endpoint: Endpoint, schema: TSchema): Json {
  if (!('fields' in endpoint.query.properties)) return plain(schema);
  const item = itemSchema(endpoint);
  const name = NAMES.get(item);
  if (name === undefined) throw new Error(`${endpoint.path} selects fields of a schema that has no name`);
  return plain(schema, {
    replace: item,
    by: { anyOf: [name, `${name}Fields`].map((each) => ({ $ref: `#/components/schemas/${each}` })) },
  });
}

/** Of every schema that some route selects fields from: the same members, all but `id` optional, in every depth. */
function sparseComponents(endpoints: readonly Endpoint[]): Record<string, Json> {
  const items = endpoints.filter(({ query }) => 'fields' in query.properties).map(itemSchema);
  const sparse = (value: unknown, path: string): unknown => {
    if (Array.isArray(value)) return value.map((each, index) => sparse(each, `${path}/${index}`));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => key !== 'required' || path === '')
        .map(([key, inner]) => [key, key === 'required' ? ['id'] : sparse(inner, `${path}/${key}`)]),
    );
  };
  return Object.fromEntries(
    [...new Set(items)].map((item) => [`${NAMES.get(item)}Fields`, plain(sparse(item, ''))]),
  );
}

const LIMIT_HEADERS = {
  RateLimit: 'RateLimit',
  'RateLimit-Policy': 'RateLimitPolicy',
  'X-RateLimit-Limit': 'XRateLimitLimit',
  'X-RateLimit-Remaining': 'XRateLimitRemaining',
  'X-RateLimit-Reset': 'XRateLimitReset',
};

/** On every answer of a limited route, where limits are on. */
const limitHeaders = ({ unlimited }: Endpoint): Json =>
  unlimited
    ? {}
    : Object.fromEntries(Object.entries(LIMIT_HEADERS).map(([name, key]) => [name, use('headers', key)]));

function problems(endpoint: Endpoint): Record<string, Json> {
  const byStatus = new Map<number, FaultCode[]>();
  for (const code of faultsOf(endpoint)) {
    const status = statusOf(endpoint, code);
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const described: Record<string, Json> = {};
  for (const [status, codes] of byStatus) {
    if (endpoint.reply.also?.[status]) continue; // the status already means something else here
    described[status] = {
      description: codes.map((code) => `\`${code}\`: ${FAULT_CODES[code].title}`).join('\n\n'),
      headers: {
        'X-Request-Id': use('headers', 'RequestId'),
        ...limitHeaders(endpoint),
        ...(status === 503 || status === 429 || codes.includes('IDEMPOTENCY_IN_FLIGHT')
          ? { 'Retry-After': use('headers', 'RetryAfter') }
          : {}),
      },
      content: {
        [PROBLEM_TYPE]: {
          schema: {
            allOf: [
              { $ref: '#/components/schemas/Problem' },
              { type: 'object', properties: { code: { type: 'string', enum: codes } } },
            ],
          },
          examples: Object.fromEntries(
            codes.map((code) => [code, { value: problemExample(endpoint, code) }]),
          ),
        },
      },
    };
  }
  return described;
}

function problemExample(endpoint: Endpoint, code: FaultCode) {
  const kind = endpoint.faultKinds?.[code];
  const errors =
    code === 'VALIDATION_FAILED' ? { errors: [{ path: 'colour', message: 'is not known here' }] } : {};
  return problemOf(fault(code, { ...(kind ? { kind } : {}), ...errors }), EXAMPLE_ID);
}

/** A schema as it stands in the document: named ones by reference, without what only the gateway reads. */
function plain(schema: unknown, special?: { replace: unknown; by: Json | undefined }): Json {
  const walk = (value: unknown): unknown => {
    const name = NAMES.get(value);
    if (special && value === special.replace) {
      if (special.by) return special.by;
    } else if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== 'object' || value === null) return value;
    const untyped = Array.isArray((value as Shape).enum) && (value as Shape).type === undefined;
    return Object.fromEntries([
      ...(untyped ? [['type', 'string']] : []),
      ...Object.entries(value)
        .filter(([key]) => key !== 'errorText')
        .map(([key, inner]) => [key, walk(inner)]),
    ]);
  };
  return walk(schema) as Json;
}

interface Shape {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  default?: unknown;
  examples?: unknown[];
  properties?: Record<string, Shape>;
  required?: string[];
  items?: Shape;
}

/**
 * An example made of the examples of a schema's members; an optional text or number appears where it has one. Throws
 * for a schema that offers none: an incomplete document must not be served.
 */
export function exampleOf(schema: unknown): unknown {
  const shape = schema as Shape;
  if (shape.examples) return shape.examples[0];
  if (shape.default !== undefined) return shape.default;
  if (shape.const !== undefined) return shape.const;
  if (shape.enum) return shape.enum[0];
  if (shape.properties)
    return Object.fromEntries(
      Object.entries(shape.properties)
        .filter(([name, inner]) => shape.required?.includes(name) || inner.examples || inner.items)
        .map(([name, inner]) => [name, exampleOf(inner)]),
    );
  if (shape.items) return shape.items.properties && !shape.items.required ? [] : [exampleOf(shape.items)];
  if (shape.type === 'object') return {};
  throw new Error(`a schema has no example: ${JSON.stringify(schema)}`);
}
