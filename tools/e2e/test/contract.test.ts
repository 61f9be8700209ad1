import { FAULT_CODES } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import {
  announce,
  answerChecker,
  inParallel,
  operationsOf,
  send,
  sharedSystem,
  shopClient,
  startGateway,
  type CheckedAnswer,
  type OpenApiDocument,
  type Operation,
  type RecordedRequest,
} from '../src';
import { accounts } from './contract/accounts';
import { catalog } from './contract/catalog';
import { operations } from './contract/operations';
import { orders } from './contract/orders';
import {
  bearer,
  createWorld,
  UNKNOWN,
  type OperationCase,
  type OperationName,
  type World,
} from './contract/world';

/** Every operation, or this does not compile. */
const CASES: Record<OperationName, OperationCase> = { ...accounts, ...catalog, ...orders, ...operations };

/** Documented statuses that nobody outside can bring about. */
const NOT_ON_DEMAND: Record<number, string> = {
  500: 'a defect of ours: whatever test meets one fails',
};

const system = sharedSystem();
let document: OpenApiDocument;
let described: Map<string, Operation>;
let check: ReturnType<typeof answerChecker>;
let world: World;
type Gateway = Awaited<ReturnType<typeof startGateway>>;
/** Lets a minute's single request of each caller through. */
let limited: Gateway;
/** Has no user service behind it. */
let withoutUsers: Gateway;
/** Has nothing but the user service behind it. */
let alone: Gateway;
const NOWHERE = '127.0.0.1:1';

beforeAll(async () => {
  const shop = shopClient(system.gateway);
  document = (await shop.request<OpenApiDocument>('GET', '/openapi.json')).body;
  described = new Map(operationsOf(document).map((each) => [`${each.method} ${each.path}`, each]));
  check = answerChecker(document);
  [world, limited, withoutUsers, alone] = await Promise.all([
    createWorld(system),
    startGateway(system, {
      RATE_LIMITS: 'anonymous=1/min,free=1/min,basic=1/min,premium=1/min,enterprise=1/min',
      RATE_LIMIT_ALGORITHM: 'sliding-window', // nothing comes back within its minute
    }),
    startGateway(system, { USER_ADDRESS: NOWHERE }),
    startGateway(system, {
      CATALOG_ADDRESS: NOWHERE,
      ORDER_ADDRESS: NOWHERE,
      QUERY_ADDRESS: NOWHERE,
      RECOMMENDATION_ADDRESS: NOWHERE,
    }),
  ]);
}, 90_000);
afterAll(async () => {
  await world?.close();
  await Promise.all([limited, withoutUsers, alone].map((each) => each?.stop()));
});

type Provocation = (operation: Operation, right: RecordedRequest) => Promise<CheckedAnswer>;

const withHeaders = (request: RecordedRequest, headers: Record<string, string>): RecordedRequest => ({
  ...request,
  headers: { ...request.headers, ...headers },
});
const withQuery = (request: RecordedRequest, query: string): RecordedRequest => ({
  ...request,
  path: `${request.path}${request.path.includes('?') ? '&' : '?'}${query}`,
});
const withIds = (operation: Operation, request: RecordedRequest, id: string): RecordedRequest => ({
  ...request,
  path: operation.path.replace(/\{\w+\}/g, id) + (/\?.*/.exec(request.path)?.[0] ?? ''),
});
/** The services that these need beside the user service are none. */
const ABOUT_USERS = /^\/v1\/(users|sessions|password-resets|me$|admin\/(users|mails))|^\/\.well-known/;

/** Statuses that follow from the form of a request, whatever the operation does. */
const BY_FORM: Record<number, Provocation> = {
  // What is read may change between the two: mails and events come in.
  304: (_operation, right) =>
    eventually(async () => {
      const { headers } = await send(system.gateway, right);
      const again = await send(system.gateway, withHeaders(right, { 'if-none-match': headers.get('etag')! }));
      expect(again.status).toBe(304);
      return again;
    }),
  400: (_operation, right) => send(system.gateway, withQuery(right, 'surprise=1')),
  401: (_operation, right) => send(system.gateway, withHeaders(right, bearer('not.a.token'))),
  403: (_operation, right) => send(system.gateway, withHeaders(right, world.asCustomer)),
  404: (operation, right) => send(system.gateway, withIds(operation, right, UNKNOWN)),
  413: (_operation, { body: _body, ...right }) => announce(system.gateway, right, 1024 * 1024 * 1024 + 1),
  415: (_operation, right) =>
    send(system.gateway, {
      ...withHeaders(right, { 'content-type': 'text/plain' }),
      body: new TextEncoder().encode('x'),
    }),
  // Limits come before validation: the surprise is not looked at.
  429: (_operation, right) =>
    eventually(async () => {
      const answer = await send(limited.url, withQuery(right, 'surprise=1'));
      expect(answer.status).toBe(429);
      return answer;
    }),
  503: ({ path }, right) => send((ABOUT_USERS.test(path) ? withoutUsers : alone).url, right),
};

test('every documented status of every operation has a way to it, or a reason why not', () => {
  expect(Object.keys(CASES).sort()).toEqual([...described.keys()].sort());
  const missing = [...described].flatMap(([name, { responses }]) =>
    Object.keys(responses)
      .map(Number)
      .filter(
        (status) =>
          status !== successOf(responses) &&
          !(status in NOT_ON_DEMAND) &&
          !(status in BY_FORM) &&
          !CASES[name as OperationName].others?.[status],
      )
      .map((status) => `${name} ${status}`),
  );
  expect(missing).toEqual([]);
  const undocumented = Object.entries(CASES).flatMap(([name, { others }]) =>
    Object.keys(others ?? {})
      .filter((status) => !described.get(name)?.responses[status])
      .map((status) => `${name} ${status}`),
  );
  expect(undocumented).toEqual([]);
});

describe.each(Object.keys(CASES) as OperationName[])('%s', (name) => {
  test('every documented status comes as it is documented', async () => {
    const operation = described.get(name)!;
    const { right: make, others = {} } = CASES[name];
    const right = await make(world);
    const success = successOf(operation.responses);
    // Success comes last: some requests can succeed only once.
    const statuses = Object.keys(operation.responses)
      .map(Number)
      .filter((status) => status !== success && !(status in NOT_ON_DEMAND));
    const found = await inParallel(statuses, 4, async (status) => {
      const other = others[status];
      const answer = await (other
        ? send(system.gateway, await other(world))
        : BY_FORM[status]!(operation, right));
      return { status, answer };
    });
    found.push({ status: success, answer: await send(system.gateway, right) });
    expect(found.map(({ status, answer }) => told(operation, status, answer))).toEqual(
      found.map(({ status }) => [status, []]),
    );
  });

  if (name.startsWith('GET '))
    test('HEAD is answered as GET is, without a body', async () => {
      const right = await CASES[name].right(world);
      const [get, head] = await Promise.all(
        ['GET', 'HEAD'].map((method) => send(system.gateway, { ...right, method })),
      );
      expect([head!.status, head!.text]).toEqual([get!.status, '']);
      for (const header of ['content-type', 'cache-control'])
        expect([header, head!.headers.get(header)]).toEqual([header, get!.headers.get(header)]);
      expect(head!.headers.has('etag')).toBe(get!.headers.has('etag'));
    });

  if (/\{(\w*[iI]d|idOrSlug)\}/.test(name))
    test('a malformed id in the path is not found', async () => {
      const operation = described.get(name)!;
      const right = await CASES[name].right(world);
      for (const id of ['not_an_id', '0', UNKNOWN.slice(1), '..%2f', UNKNOWN.replace('-7', '-4'), '%00']) {
        const answer = await send(system.gateway, withIds(operation, right, id));
        expect([id, ...told(operation, 404, answer)]).toEqual([id, 404, []]);
      }
    });
});

test('a method that a path does not answer is 405, and Allow names those that it answers', async () => {
  const methods = ['GET', 'PUT', 'POST', 'PATCH', 'DELETE'];
  const wrong = Object.entries(document.paths).flatMap(([path, item]) => {
    const answered = methods.filter((method) => method.toLowerCase() in item);
    const allowed = answered.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).sort();
    return methods
      .filter((method) => !answered.includes(method))
      .map((method) => ({ method, path: path.replace(/\{\w+\}/g, UNKNOWN), allowed }));
  });
  await inParallel(wrong, 8, async ({ method, path, allowed }) => {
    const answer = await send(system.gateway, { method, path, headers: {} });
    const allow = answer.headers.get('allow')?.split(', ').sort();
    expect([method, path, answer.status, allow, codeOf(answer)]).toEqual([
      method,
      path,
      405,
      allowed,
      'METHOD_NOT_ALLOWED',
    ]);
  });
});

test('only catalog reads of nobody in particular, files and keys may be kept by others than who asked', async () => {
  const shared = new Set<string>([
    'GET /v1/products',
    'GET /v1/products/{idOrSlug}',
    'GET /v1/products/{id}/related',
    'GET /v1/products/trending',
    'GET /v1/categories',
  ]);
  const fixed = new Set<string>(['GET /.well-known/jwks.json', 'GET /openapi.json', 'GET /docs']);
  await inParallel(Object.keys(CASES) as OperationName[], 8, async (name) => {
    if (!name.startsWith('GET ')) return;
    const right = await CASES[name].right(world);
    const kept = async (headers: Record<string, string> = {}) =>
      (await send(system.gateway, withHeaders(right, headers))).headers;
    const policy = (headers: Headers) => headers.get('cache-control') ?? '';
    const anonymous = await kept();
    const said = [name, policy(anonymous)];
    if (shared.has(name)) {
      const [, maxAge] = /^public, max-age=(\d+), s-maxage=\d+, stale-while-revalidate=\d+$/.exec(
        policy(anonymous),
      ) ?? [said];
      expect([name, Number(maxAge) <= 5]).toEqual([name, true]);
      for (const header of ['authorization', 'consistency-token'])
        expect(anonymous.get('vary')?.toLowerCase().split(/, */)).toContain(header);
      expect([name, policy(await kept(world.asCustomer))]).toEqual([
        name,
        expect.stringMatching(/private|no-store/) as string,
      ]);
    } else if (fixed.has(name)) expect(said).toEqual([name, expect.stringMatching(/^public/) as string]);
    else if (name === 'GET /images/{name}')
      expect(said).toEqual([name, 'public, max-age=31536000, immutable']);
    else expect(said).toEqual([name, expect.stringMatching(/private|no-store/) as string]);
  });
});

test('what is not limited is never refused and tells no limit', async () => {
  const free = [...described].filter(([, { responses }]) => !responses['429']).map(([name]) => name);
  expect(free).toEqual(['GET /health', 'GET /.well-known/jwks.json', 'GET /openapi.json']);
  for (const name of free)
    for (const _ of [1, 2, 3]) {
      const { status, headers } = await send(limited.url, await CASES[name as OperationName].right(world));
      expect([name, status, [...headers.keys()].filter((each) => /ratelimit/.test(each))]).toEqual([
        name,
        200,
        [],
      ]);
    }
});

/** The status that an answer has, and what is wrong with it by the document. */
function told(operation: Operation, status: number, answer: CheckedAnswer): [number | string, string[]] {
  const code = codeOf(answer);
  const shown =
    answer.status === status ? status : `${answer.status} instead of ${status}: ${answer.text.slice(0, 300)}`;
  const unknown = code !== undefined && !(code in FAULT_CODES) ? [`the code ${code} is not known`] : [];
  return [shown, [...check(operation, answer), ...unknown]];
}

function codeOf({ headers, text }: CheckedAnswer): string | undefined {
  return headers.get('content-type')?.startsWith('application/problem+json')
    ? (JSON.parse(text) as { code: string }).code
    : undefined;
}

/** The first status of success that stands in the document: the one that the route is about. */
function successOf(responses: Record<string, unknown>): number {
  return Number(Object.keys(responses).find((status) => /^2/.test(status)));
}
