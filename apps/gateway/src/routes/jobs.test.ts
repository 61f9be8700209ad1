import { fault } from '@headroom/contracts';
import { aDeadLetter, aJob, bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
beforeEach(() => gateway.reset());
afterAll(() => gateway.close());

interface Page {
  items: Array<{ id: string }>;
  page: { nextCursor: string | null; total?: number; totalIsEstimate?: boolean };
}
const inject = (url: string, method: 'GET' | 'POST' | 'DELETE' = 'GET') =>
  gateway.app.inject({ method, url, headers: bearer('admin') });
const codeOf = (answer: { json(): unknown }) => (answer.json() as { code: string }).code;
const id = (at: number) => `01932f4e-7b7a-7c3d-9a51-0000000000${String(at).padStart(2, '0')}`;
const numbers = (items: Array<{ id: string }>) => items.map((item) => Number(item.id.slice(-2)));
const services = () => [gateway.services.userWork, gateway.services.catalogWork, gateway.services.orderWork];
const away = async (): Promise<never> => {
  throw fault('DEPENDENCY_UNAVAILABLE', { detail: 'catalog-7.internal is away' });
};
const notFound = async (): Promise<never> => {
  throw fault('NOT_FOUND');
};

/** Gives each service a list of its own, as it would page through it. */
function serve(lists: number[][]) {
  for (const [index, service] of services().entries()) {
    const all = lists[index]!.map(id);
    const page = (limit: number, afterId: string) => {
      const left = all.filter((each) => afterId === '' || each < afterId);
      return {
        ids: left.slice(0, limit),
        rest: { more: left.length > limit, total: BigInt(all.length), totalIsEstimate: index === 2 },
      };
    };
    service.listJobs = async ({ limit, afterId }) => {
      const { ids, rest } = page(limit, afterId);
      return { jobs: ids.map((each) => aJob({ id: each })), ...rest };
    };
    service.listDeadLetters = async ({ limit, afterId }) => {
      const { ids, rest } = page(limit, afterId);
      return { deadLetters: ids.map((each) => aDeadLetter({ id: each })), ...rest };
    };
  }
}

describe.each(['/v1/admin/jobs', '/v1/admin/dead-letters'])('%s', (path) => {
  test('is one list of all services, newest first, without a hole or a repetition under any limit', async () => {
    serve([
      [9, 6, 5],
      [8, 7, 2],
      [4, 3, 1],
    ]);
    for (const limit of [1, 2, 3, 4, 9, 100]) {
      const seen: number[] = [];
      let cursor: string | null = '';
      while (cursor !== null) {
        const query: string = `?limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`;
        const { items, page }: Page = (await inject(path + query)).json();
        expect(items.length).toBeGreaterThan(0);
        seen.push(...numbers(items));
        cursor = page.nextCursor;
      }
      expect([limit, seen]).toEqual([limit, [9, 8, 7, 6, 5, 4, 3, 2, 1]]);
    }
    expect(numbers((await inject(`${path}?limit=2&page=3`)).json<Page>().items)).toEqual([5, 4]);
  });

  test('its total is the sum, an estimate where one of them is', async () => {
    serve([[9, 6, 5], [8], [4, 3]]);
    expect((await inject(`${path}?limit=1&include=total`)).json<Page>().page).toMatchObject({
      total: 6,
      totalIsEstimate: true,
    });
  });

  test('while a service is away it is a 503, never a list with a hole', async () => {
    serve([[1], [2], [3]]);
    gateway.services.catalogWork.listJobs = away;
    gateway.services.catalogWork.listDeadLetters = away;
    const answer = await inject(path);
    expect([answer.statusCode, codeOf(answer)]).toEqual([503, 'DEPENDENCY_UNAVAILABLE']);
    expect(answer.body).not.toContain('internal');
  });
});

test('a job tells what is not known yet as null, and its errors by line', async () => {
  gateway.services.orderWork.getJob = async () =>
    aJob({
      status: 'running',
      processed: 3n,
      rejected: 1n,
      errors: [{ line: 2n, code: 'SKU_ARCHIVED', reason: 'the product A is archived' }],
    });
  gateway.services.catalogWork.getJob = notFound;
  expect((await inject(`/v1/admin/jobs/${IDS.job}`)).json()).toEqual({
    id: IDS.job,
    type: 'product-import',
    status: 'running',
    processed: 3,
    total: null,
    created: 0,
    updated: 0,
    unchanged: 0,
    rejected: 1,
    errors: [{ line: 2, code: 'SKU_ARCHIVED', reason: 'the product A is archived' }],
    createdAt: '2026-11-25T09:30:00.000Z',
    finishedAt: null,
  });
  gateway.services.orderWork.getJob = async () =>
    aJob({ total: 9n, finishedAt: '2026-11-25T09:31:00.000Z', resultUrl: '/v1/file' });
  expect((await inject(`/v1/admin/jobs/${IDS.job}`)).json()).toMatchObject({
    total: 9,
    finishedAt: '2026-11-25T09:31:00.000Z',
    resultUrl: '/v1/file',
  });
});

describe.each([
  ['GET', `/v1/admin/jobs/${IDS.job}`, 'getJob', 200],
  ['POST', `/v1/admin/dead-letters/${IDS.letter}/requeue`, 'requeueDeadLetter', 202],
  ['DELETE', `/v1/admin/dead-letters/${IDS.letter}`, 'discardDeadLetter', 204],
] as const)('%s %s', (method, url, call, status) => {
  test('is answered by the service whose it is, whichever that is', async () => {
    for (const owner of services()) {
      for (const service of services()) service[call] = notFound;
      Object.assign(owner, { [call]: async () => aJob() });
      expect((await inject(url, method)).statusCode).toBe(status);
    }
  });

  test('is answered although another service is away', async () => {
    gateway.services.userWork[call] = away;
    expect((await inject(url, method)).statusCode).toBe(status);
  });

  test('is a 404 only when every service says so, a 503 while one cannot', async () => {
    for (const service of services()) service[call] = notFound;
    expect(codeOf(await inject(url, method))).toBe('NOT_FOUND');
    gateway.services.orderWork[call] = away;
    expect((await inject(url, method)).statusCode).toBe(503);
  });
});

test('a dead letter shows its payload as it came, and what is not there as null', async () => {
  gateway.services.catalogWork.listDeadLetters = async () => ({
    deadLetters: [
      aDeadLetter({ payload: '{"a":[1,{"b":null}]}' }),
      aDeadLetter({ id: id(1), topic: '', eventId: '', payload: 'no { json' }),
    ],
    more: false,
  });
  const { items } = (await inject('/v1/admin/dead-letters')).json<Page>();
  expect(items).toEqual([
    {
      id: IDS.letter,
      source: 'projector',
      topic: 'headroom.order.v1',
      key: IDS.order,
      eventId: IDS.order,
      error: 'it cannot be',
      attempts: 10,
      failedAt: '2026-11-25T09:30:00.000Z',
      payload: { a: [1, { b: null }] },
    },
    expect.objectContaining({ topic: null, eventId: null, payload: 'no { json' }),
  ]);
});
