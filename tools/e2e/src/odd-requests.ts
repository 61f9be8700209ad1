import fc from 'fast-check';
import {
  resolve,
  type OpenApiDocument,
  type Operation,
  type Parameter,
  type Schema,
} from './openapi-document';

/** A request as it goes over the wire. */
export interface WireRequest {
  operation: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

/** What a generated request may use of the real world: ids that exist, and sign-ins. */
export interface Known {
  ids: readonly string[];
  tokens: readonly string[];
}

/** Ending a session would end the run's own sign-in: these are called with no valid token. */
const ENDS_SESSIONS = new Set(['DELETE /v1/sessions', 'DELETE /v1/sessions/current']);

/** Requests from the document, most of them wrong in one or several ways, some right. */
export function oddRequest(
  document: OpenApiDocument,
  operations: Operation[],
  known: Known,
): fc.Arbitrary<WireRequest> {
  return fc.constantFrom(...operations).chain((operation) => {
    const name = `${operation.method} ${operation.path}`;
    const parameters = (where: string) =>
      (operation.parameters ?? [])
        .map((each) => resolve<Parameter>(document, each))
        .filter((each) => each.in === where);
    const schema = operation.requestBody?.content['application/json']?.schema;
    const rightTypes = Object.keys(operation.requestBody?.content ?? { 'application/json': {} });
    const pathValues = fc.tuple(
      ...[...operation.path.matchAll(/\{\w+\}/g)].map(() =>
        mostly(
          fc.oneof(fc.constantFrom(...known.ids), fc.uuid({ version: 7 })),
          fc.oneof(oddText.map(encode), fc.constantFrom(...ODD_STEPS)),
        ),
      ),
    );
    const queryNames = parameters('query').map((parameter) => parameter.name);
    const asQuery = (values: readonly (string | null)[]) =>
      queryNames
        .flatMap((each, index) =>
          values[index] === null ? [] : [`${encode(each)}=${encode(values[index]!)}`],
        )
        .join('&');
    const rightValues = fc.tuple(
      ...parameters('query').map((parameter) => {
        const value = textOf(valueOf(document, parameter.schema ?? {}, known));
        return parameter.required ? value : fc.option(value, { freq: 2 });
      }),
    );
    const query = mostly(
      rightValues.map(asQuery),
      fc.oneof(
        fc.tuple(...queryNames.map(() => fc.option(oddText, { freq: 2 }))).map(asQuery),
        fc.tuple(rightValues, fc.nat(), taint).map(([values, place, text]) => {
          const tainted = taintString(values, place, text) as (string | null)[];
          return asQuery(tainted);
        }),
        fc.tuple(oddText, oddText).map(([key, value]) => `${encode(key)}=${encode(value)}`),
        fc.constantFrom(...ODD_QUERIES),
      ),
    );
    const needed = Object.fromEntries(
      parameters('header').flatMap((parameter) => {
        const value = { 'idempotency-key': fc.uuid(), 'if-match': fc.constantFrom('"1"', '"2"') }[
          parameter.name.toLowerCase()
        ];
        return value ? [[parameter.name.toLowerCase(), value]] : [];
      }),
    );
    const headers = fc
      .tuple(fc.record(needed), mostly(fc.constant({}), oddHeaders(known)))
      .map(([right, odd]): Record<string, string> => ({ ...right, ...odd }));
    const keepsMethod = ENDS_SESSIONS.has(name);
    return fc
      .record({
        method: keepsMethod
          ? fc.constant(operation.method)
          : fc.oneof(
              { weight: 20, arbitrary: fc.constant(operation.method) },
              { weight: 1, arbitrary: fc.constantFrom('PATCH', 'PUT', 'DELETE', 'POST', 'GET', 'OPTIONS') },
            ),
        pathValues,
        query,
        authorization: keepsMethod
          ? fc.constantFrom(...BAD_TOKENS)
          : fc.oneof(
              { weight: 9, arbitrary: fc.constantFrom(...known.tokens.map((token) => `Bearer ${token}`)) },
              { weight: 1, arbitrary: fc.constantFrom(...BAD_TOKENS) },
            ),
        headers,
        body: operation.requestBody
          ? oddBody(document, schema ?? {}, known)
          : fc.oneof(
              { weight: 9, arbitrary: fc.constant(undefined) },
              { weight: 1, arbitrary: oddJson.map((value) => JSON.stringify(value)) },
            ),
        type: fc.oneof(
          { weight: 20, arbitrary: fc.constantFrom(...rightTypes) },
          { weight: 1, arbitrary: fc.constantFrom(...ODD_TYPES) },
        ),
      })
      .map((parts) => {
        let index = 0;
        const path = operation.path.replace(/\{\w+\}/g, () => String(parts.pathValues[index++]));
        const target = parts.query === '' ? path : `${path}?${parts.query}`;
        return {
          operation: name,
          method: parts.method,
          path: target.slice(0, 6_000),
          headers: {
            ...parts.headers,
            ...(parts.authorization === undefined ? {} : { authorization: parts.authorization }),
            ...(parts.body === undefined || parts.type === '' ? {} : { 'content-type': parts.type }),
          },
          body: parts.body,
        };
      });
  });
}

/** One part of a request: right three times out of four, so that a good share of requests has just one oddity. */
function mostly<T>(right: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 3, arbitrary: right }, { weight: 1, arbitrary: odd });
}

const PLAUSIBLE = ['tok_ok', 'tok_declined', 'EUR', 'sam@shop.example', '2026-01-01', 'kitchen/boards'];
const ODD_STEPS = ['%00', '%ff%fe', '..%2f..%2f', '%E2%80%AE', '0', '-1', '%27%20or%201=1'];
const ODD_QUERIES = [
  'limit=1&limit=2',
  'limit[]=1',
  '__proto__=1',
  'q',
  '=',
  '&&',
  'limit=1e3',
  'cursor=',
  'q=%00',
];
const ODD_TYPES = ['text/plain', '', 'application/json; charset=latin1', 'x', 'multipart/form-data'];
const BAD_TOKENS = [undefined, 'Bearer', 'Bearer a.b.c', 'Basic YTpi', 'Bearer eyJhbGciOiJub25lIn0.e30.'];

/** Text that programs stumble over. */
const oddText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    ' ',
    '\u0000',
    'a\u0000b',
    '\ud800',
    '\u202e',
    '😀'.repeat(50),
    'x'.repeat(2_000),
    '%',
    '_%',
    "'; drop table orders; --",
    '<script>',
    '__proto__',
    'constructor',
    'NaN',
    '-0',
    '1e309',
    '9223372036854775808',
    '2026-02-30',
    '0000-00-00',
    'null',
    '[object Object]',
  ),
);

const oddNumber = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(0, -0, -1, 0.5, 2 ** 31, 2 ** 53, 2 ** 63, 1e21, Number.MIN_VALUE),
);

const oddJson: fc.Arbitrary<unknown> = fc.oneof(
  oddText,
  oddNumber,
  fc.constantFrom<unknown>(null, true, false, [], {}, [[]], { $ref: '#' }, [null]),
  fc.jsonValue({ maxDepth: 3 }),
);

/** A value that the schema would take, most of the time. */
function valueOf(document: OpenApiDocument, schema: Schema, known: Known, depth = 0): fc.Arbitrary<unknown> {
  const found = resolve<Schema>(document, schema);
  const next = (inner: Schema) => valueOf(document, inner, known, depth + 1);
  if (found.const !== undefined) return fc.constant(found.const);
  if (found.enum) return fc.constantFrom(...found.enum);
  const choices = found.anyOf ?? found.oneOf;
  if (choices) return fc.oneof(...choices.map(next));
  if (found.allOf)
    return fc.tuple(...found.allOf.map(next)).map((parts) => Object.assign({}, ...parts) as unknown);
  const type = Array.isArray(found.type) ? found.type[0] : found.type;
  if (found.examples && type !== 'object' && type !== 'array')
    return fc.oneof(fc.constantFrom(...found.examples), scalarOf(found, type, known));
  switch (type) {
    case 'object': {
      const properties = Object.entries(found.properties ?? {});
      return fc.record(Object.fromEntries(properties.map(([name, inner]) => [name, next(inner)])), {
        requiredKeys: found.required ?? [],
      });
    }
    case 'array':
      return fc.array(next(found.items ?? {}), {
        minLength: found.minItems ?? 0,
        maxLength: Math.min(found.maxItems ?? 3, 3),
      });
    default:
      return scalarOf(found, type, known);
  }
}

function scalarOf(found: Schema, type: string | undefined, known: Known): fc.Arbitrary<unknown> {
  switch (type) {
    case 'integer':
    case 'number':
      return fc.integer({
        min: Math.max(found.minimum ?? -5, -(2 ** 40)),
        max: Math.min(found.maximum ?? 200, 2 ** 40),
      });
    case 'boolean':
      return fc.boolean();
    case 'string': {
      const { pattern, minLength = 0, maxLength = 200 } = found;
      const fitting = [...known.ids, ...PLAUSIBLE].filter(
        (text) =>
          text.length >= minLength &&
          text.length <= maxLength &&
          (pattern === undefined || new RegExp(pattern, 'u').test(text)),
      );
      const any = fc.string({ minLength: Math.min(minLength, 200), maxLength: Math.min(maxLength, 200) });
      return fitting.length === 0
        ? any
        : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...fitting) }, { weight: 1, arbitrary: any });
    }
    default:
      return oddJson;
  }
}

function oddBody(document: OpenApiDocument, schema: Schema, known: Known): fc.Arbitrary<string | undefined> {
  const right = valueOf(document, schema, known);
  const spoilt = fc
    .tuple(right, fc.array(fc.tuple(fc.nat(), oddJson), { minLength: 1, maxLength: 2 }), fc.boolean())
    .map(([value, changes, extra]) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
      const spoiltValue: Record<string, unknown> = { ...value };
      const keys = Object.keys(spoiltValue);
      for (const [index, odd] of changes) if (keys.length > 0) spoiltValue[keys[index % keys.length]!] = odd;
      if (extra) spoiltValue['surprise'] = changes[0]![1];
      return spoiltValue;
    });
  return fc.oneof(
    { weight: 9, arbitrary: right.map((value) => JSON.stringify(value)) },
    { weight: 5, arbitrary: spoilt.map((value) => JSON.stringify(value)) },
    {
      weight: 4,
      arbitrary: fc
        .tuple(right, fc.nat(), taint)
        .map(([value, place, text]) => JSON.stringify(taintString(value, place, text))),
    },
    { weight: 2, arbitrary: oddJson.map((value) => JSON.stringify(value)) },
    {
      weight: 1,
      arbitrary: fc.tuple(right, fc.nat(60)).map(([value, end]) => JSON.stringify(value).slice(0, end)),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '',
        '{"a":1,"a":2}',
        '{"__proto__":{"admin":true}}',
        '['.repeat(500),
        '\ufeff{}',
        '{"a":1}x',
        '"\\ud800"',
      ),
    },
    { weight: 1, arbitrary: fc.constant(undefined) },
  );
}

/** What passes for text with most checks and with few stores. */
const taint = fc.constantFrom('\u0000', '\ud800', '\u202e', '😀', "'", '\\', '%', '\n', ' ');

/** The value with `text` appended to one of its strings. */
function taintString(value: unknown, place: number, text: string): unknown {
  let strings = 0;
  const count = (each: unknown): void => {
    if (typeof each === 'string') strings += 1;
    else if (typeof each === 'object' && each !== null) Object.values(each).forEach(count);
  };
  count(value);
  let index = 0;
  const rebuild = (each: unknown): unknown => {
    if (typeof each === 'string') return index++ === place % strings ? each + text : each;
    if (Array.isArray(each)) return each.map(rebuild);
    if (typeof each === 'object' && each !== null)
      return Object.fromEntries(Object.entries(each).map(([key, inner]) => [key, rebuild(inner)]));
    return each;
  };
  return rebuild(value);
}

function oddHeaders(known: Known): fc.Arbitrary<Record<string, string>> {
  const value = fc.oneof(
    fc.string({ maxLength: 30 }).map(printable),
    fc.constantFrom('"1"', 'W/"1"', '*', '""', '0', '-1', 'x'.repeat(300), 'ü', '"1", "2"', ...known.ids),
  );
  return fc
    .record(
      {
        'idempotency-key': value,
        'if-match': value,
        'if-none-match': value,
        'consistency-token': value,
        'x-request-id': value,
        'last-event-id': value,
        accept: value,
        traceparent: value,
        origin: value,
        'x-forwarded-for': value,
        'content-encoding': fc.constantFrom('gzip', 'identity', 'br', 'x'),
      },
      { requiredKeys: [] },
    )
    .chain((headers) =>
      // A few of them at a time, so that one does not hide what another does.
      fc
        .subarray(Object.keys(headers), { maxLength: 3 })
        .map((names) =>
          Object.fromEntries(names.map((name) => [name, headers[name as keyof typeof headers]!])),
        ),
    );
}

function textOf(values: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  return values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
}

function encode(text: string): string {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\ufffd'));
}

/** Header values are Latin-1 without control characters; anything else is no request. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\xa0-\xff]/g, '?').trim();
}
