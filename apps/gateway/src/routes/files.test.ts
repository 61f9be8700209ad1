import { fault } from '@headroom/contracts';
import { once } from 'node:events';
import { get as httpGet, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
  await gateway.app.listen({ port: 0, host: '127.0.0.1' });
});
beforeEach(() => gateway.reset());
afterAll(() => gateway.close());

const CHUNK = 1024 * 1024;
const FILE = Buffer.from(Array.from({ length: 2.5 * CHUNK }, (_, at) => at % 251));
const chunk = (offset: bigint, contentType: string) => ({
  content: FILE.subarray(Number(offset), Number(offset) + CHUNK),
  sizeBytes: BigInt(FILE.length),
  contentType,
});
const inject = (url: string, headers: Record<string, string> = {}, method: 'GET' | 'HEAD' = 'GET') =>
  gateway.app.inject({ method, url, headers });
const EXPORT = `/v1/admin/reports/sales/exports/${IDS.job}`;

describe('a picture', () => {
  beforeEach(() => {
    gateway.services.images.getImage = async ({ offset }) => chunk(offset, 'image/webp');
  });

  test('comes whole, for a year, to pages of any origin', async () => {
    const answer = await inject('/images/abc-480.webp');
    expect(answer.rawPayload.equals(FILE)).toBe(true);
    expect(answer.headers).toMatchObject({
      'content-type': 'image/webp',
      'content-length': String(FILE.length),
      'cache-control': 'public, max-age=31536000, immutable',
      'cross-origin-resource-policy': 'cross-origin',
      'x-content-type-options': 'nosniff',
      etag: '"abc-480-webp"',
    });
  });

  test('is read no further than its first piece for HEAD and 304', async () => {
    const head = await inject('/images/abc.webp', {}, 'HEAD');
    expect([head.statusCode, head.body, head.headers['content-length']]).toEqual([
      200,
      '',
      String(FILE.length),
    ]);
    const known = await inject('/images/abc.webp', { 'if-none-match': '"abc-webp"' });
    expect([known.statusCode, known.body, known.headers['content-length']]).toEqual([304, '', undefined]);
    expect(gateway.received.map(({ request }) => request)).toEqual([
      { name: 'abc.webp', offset: 0n },
      { name: 'abc.webp', offset: 0n },
    ]);
  });

  test('that is not there is a 404 that nobody keeps', async () => {
    gateway.services.images.getImage = async () => {
      throw fault('NOT_FOUND');
    };
    for (const name of ['gone.webp', '..%2fsecret', '.hidden', 'a%00b', 'x'.repeat(201)]) {
      const answer = await inject(`/images/${name}`);
      expect([name, answer.statusCode, answer.headers['cache-control']]).toEqual([name, 404, 'no-store']);
    }
    expect(gateway.received).toHaveLength(1);
  });

  test('is shown as a picture or not at all', async () => {
    gateway.services.images.getImage = async ({ offset }) => chunk(offset, 'text/html');
    expect((await inject('/images/abc.html')).statusCode).toBe(404);
  });
});

describe('an export', () => {
  test('comes as an attachment, piece by piece by its offsets', async () => {
    gateway.services.adminQuery.getSalesExport = async ({ offset }) => chunk(offset, 'text/csv');
    const answer = await inject(EXPORT, bearer('admin'));
    expect(answer.rawPayload.equals(FILE)).toBe(true);
    expect(answer.headers).toMatchObject({
      'content-type': 'text/csv; charset=utf-8',
      'content-disposition': `attachment; filename="sales-${IDS.job}.csv"`,
      'cache-control': 'no-store',
    });
    expect(gateway.received.map(({ request }) => request)).toEqual(
      [0, CHUNK, 2 * CHUNK].map((offset) => ({ jobId: IDS.job, offset: BigInt(offset) })),
    );
  });

  test('that is not finished is a 404', async () => {
    gateway.services.adminQuery.getSalesExport = async () => {
      throw fault('NOT_FOUND');
    };
    expect((await inject(EXPORT, bearer('admin'))).statusCode).toBe(404);
  });

  test.each<[string, () => Promise<ReturnType<typeof chunk>>]>([
    ['a service goes away', () => Promise.reject(fault('DEPENDENCY_UNAVAILABLE'))],
    ['it ends early', async () => ({ ...chunk(0n, 'text/csv'), content: Buffer.alloc(0) })],
  ])('is seen to be incomplete when %s on the way', async (_, second) => {
    gateway.services.adminQuery.getSalesExport = async ({ offset }) =>
      offset === 0n ? chunk(offset, 'text/csv') : second();
    const { port } = gateway.app.server.address() as AddressInfo;
    const response = await new Promise<IncomingMessage>((resolve, reject) =>
      httpGet({ port, path: EXPORT, headers: bearer('admin') }, resolve).on('error', reject),
    );
    response.resume();
    const [error] = (await once(response, 'error')) as [Error];
    expect([response.statusCode, response.complete, error.message]).toEqual([200, false, 'aborted']);
  });

  test.each([
    ['to', { from: '2026-01-02', to: '2026-01-02', by: 'day' }],
    ['to', { from: '2016-01-01', to: '2026-01-09', by: 'day' }],
    ['from', { from: '2026-02-30', to: '2026-03-01', by: 'product' }],
    ['by', { from: '2026-01-01', to: '2026-01-02', by: 'hour' }],
    ['by', { from: '2026-01-01', to: '2026-01-02' }],
  ])('of a wrong %s is refused by name', async (path, payload) => {
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/admin/reports/sales/exports',
      headers: bearer('admin'),
      payload,
    });
    expect(answer.json()).toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path }] });
  });

  test('is a job that is queued under its address', async () => {
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/admin/reports/sales/exports',
      headers: bearer('admin'),
      payload: { from: '2026-01-01', to: '2026-02-01', by: 'category' },
    });
    expect([answer.statusCode, answer.headers['location']]).toEqual([202, `/v1/admin/jobs/${IDS.job}`]);
    expect(gateway.received.at(-1)!.request).toEqual({ from: '2026-01-01', to: '2026-02-01', by: 2 });
  });
});
