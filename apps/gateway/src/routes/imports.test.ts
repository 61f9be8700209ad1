import { fault } from '@headroom/contracts';
import { currentCall } from '@headroom/rpc';
import { eventually } from '@headroom/testing';
import { request as httpRequest, type ClientRequest } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { aJob, bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';
import { PART_BYTES, STALLED_MS } from '../uploads';

const MIB = 1024 * 1024;
/** Some tests move hundreds of MiB, which takes a while on a busy machine. */
jest.setTimeout(60_000);
let gateway: TestGateway;
let port: number;
beforeEach(async () => {
  gateway = await startGateway();
  await gateway.app.listen({ port: 0, host: '127.0.0.1' });
  port = (gateway.app.server.address() as AddressInfo).port;
});
afterEach(() => gateway.close());

interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: { code?: string; id?: string; detail?: string };
}

/** A request whose body the test writes as it likes. */
function open(path: string, headers: Record<string, string | number> = {}, method = 'POST') {
  const sent: ClientRequest = httpRequest({
    port,
    host: '127.0.0.1',
    method,
    path,
    headers: { ...bearer('admin'), 'content-type': 'application/x-ndjson', ...headers },
  });
  const answer = new Promise<Answer>((resolve, reject) => {
    sent.on('error', reject);
    sent.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: JSON.parse(text) as Answer['body'],
        }),
      );
    });
  });
  answer.catch(() => undefined);
  return { sent, answer };
}

/** Writes as fast as the gateway reads. */
async function write(sent: ClientRequest, bytes: number, piece = Buffer.alloc(MIB, 'x')): Promise<void> {
  for (let left = bytes; left > 0; left -= piece.length) {
    const more = sent.write(piece.subarray(0, Math.min(left, piece.length)));
    if (!more) await new Promise((resolve) => sent.once('drain', resolve));
  }
}

const calls = (method: string) =>
  gateway.received.filter((call) => call.method === method).map(({ request }) => request);
const methods = () => gateway.received.map(({ method }) => method);

test('a file of 200 MiB passes in whole parts, in order, one at a time, and becomes a job', async () => {
  const parts: number[] = [];
  let bytes = 0;
  let inFlight = 0;
  let mostInFlight = 0;
  gateway.services.catalogUploads.appendUpload = async ({ index, content }) => {
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    await new Promise((resolve) => setImmediate(resolve));
    parts.push(index);
    bytes += content.length;
    expect(content.length === PART_BYTES || bytes === 200 * MIB + 3).toBe(true);
    inFlight -= 1;
    gateway.received.length = 0; // or the test itself would hold the file
    return {};
  };
  const { sent, answer } = open('/v1/admin/imports');
  await write(sent, 200 * MIB);
  sent.end('end');
  const { status, headers, body } = await answer;
  expect([status, body.id, headers['location']]).toEqual([202, IDS.job, `/v1/admin/jobs/${IDS.job}`]);
  expect([bytes, mostInFlight, parts]).toEqual([200 * MIB + 3, 1, [...parts.keys()]]);
  expect(calls('completeUpload')).toEqual([{ uploadId: IDS.upload, parts: 41 }]);
});

test('a service that does not take a part holds the client back', async () => {
  let take = () => {};
  gateway.services.catalogUploads.appendUpload = () =>
    new Promise((resolve) => {
      take = () => resolve({});
    });
  const sockets: Socket[] = [];
  gateway.app.server.on('connection', (socket) => sockets.push(socket));
  const slow = open('/v1/admin/imports');
  const writing = write(slow.sent, 32 * MIB).then(() => slow.sent.end());
  await eventually(() => expect(calls('appendUpload')).toHaveLength(1));
  // Another client's file passes whole while this one waits.
  const other = open('/v1/admin/order-imports');
  await write(other.sent, 32 * MIB);
  other.sent.end();
  expect((await other.answer).status).toBe(202);
  expect(sockets[0]!.bytesRead).toBeLessThan(PART_BYTES + MIB);
  gateway.services.catalogUploads.appendUpload = async () => ({});
  take();
  await writing;
  expect((await slow.answer).status).toBe(202);
});

test.each([
  ['PUT', `/v1/admin/products/${IDS.product}/image`, 'image/png', 'product-image', IDS.product],
  ['POST', '/v1/admin/imports', 'text/csv', 'product-import', ''],
  ['POST', '/v1/admin/order-imports', 'application/x-ndjson', 'order-import', ''],
])('%s %s tells the service what it is', async (method, path, type, kind, subjectId) => {
  const { sent, answer } = open(path, { 'content-type': `${type}; charset=utf-8` }, method);
  sent.end('a file');
  expect((await answer).status).toBe(202);
  expect(calls('beginUpload')).toEqual([{ kind, contentType: type, subjectId }]);
  expect(calls('appendUpload')).toEqual([{ uploadId: IDS.upload, index: 0, content: Buffer.from('a file') }]);
});

test('order imports go to the order service, products to the catalog', async () => {
  gateway.services.catalogUploads.beginUpload = async () => {
    throw fault('NOT_FOUND');
  };
  const orders = open('/v1/admin/order-imports');
  orders.sent.end('{}');
  expect((await orders.answer).status).toBe(202);
  const products = open('/v1/admin/imports');
  products.sent.end('{}');
  expect((await products.answer).status).toBe(404);
});

test('an upload that is cut off is abandoned: nothing is completed', async () => {
  for (const headers of [{}, { 'content-length': 20 * MIB }]) {
    gateway.received.length = 0;
    const { sent } = open('/v1/admin/imports', headers);
    await write(sent, 6 * MIB);
    await eventually(() => expect(methods()).toContain('appendUpload'));
    sent.destroy();
    await eventually(() => expect(calls('abandonUpload')).toEqual([{ uploadId: IDS.upload }]));
    expect(methods()).not.toContain('completeUpload');
  }
});

test('a body beyond the limit is a 413 without a declared size too, and is abandoned', async () => {
  const path = `/v1/admin/products/${IDS.product}/image`;
  const { sent, answer } = open(path, { 'content-type': 'image/png' }, 'PUT');
  sent.on('error', () => undefined);
  await write(sent, 10 * MIB);
  sent.write('x');
  const { status, body } = await answer;
  expect([status, body.code]).toEqual([413, 'BODY_TOO_LARGE']);
  expect(body.detail).toContain('10 MiB');
  await eventually(() => expect(methods()).toContain('abandonUpload'));
  expect(methods()).not.toContain('completeUpload');
  sent.destroy();

  const exact = open(path, { 'content-type': 'image/png' }, 'PUT');
  await write(exact.sent, 10 * MIB);
  exact.sent.end();
  expect((await exact.answer).status).toBe(202);
});

test('who is refused early gets the answer while still sending, and may use the connection again', async () => {
  gateway.services.catalogUploads.beginUpload = async () => {
    throw fault('NOT_FOUND');
  };
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  let text = '';
  socket.on('data', (chunk: string) => (text += chunk));
  const head = (size: number) =>
    [
      'POST /v1/admin/imports HTTP/1.1',
      'host: shop.example',
      `authorization: ${bearer('admin').authorization}`,
      'content-type: text/csv',
      `content-length: ${size}`,
      '\r\n',
    ].join('\r\n');
  socket.write(head(32 * MIB) + 'sku');
  await eventually(() => expect(text).toMatch(/^HTTP\/1\.1 404 /));
  socket.write(Buffer.alloc(32 * MIB - 3, 'x'));
  text = '';
  socket.write(`${head(1)}x`);
  await eventually(() => expect(text).toMatch(/^HTTP\/1\.1 404 /));
  socket.destroy();
});

test('a client that goes silent is not waited for', async () => {
  const { sent, answer } = open('/v1/admin/imports');
  await write(sent, MIB);
  await eventually(() => expect(methods()).toContain('beginUpload'));
  gateway.clock.advance(STALLED_MS - 1);
  await new Promise((resolve) => setImmediate(resolve));
  expect(methods()).not.toContain('abandonUpload');
  await eventually(() => {
    gateway.clock.advance(STALLED_MS);
    expect(calls('abandonUpload')).toHaveLength(1);
  });
  const { status, body } = await answer;
  expect([status, body.code]).toEqual([400, 'BODY_MALFORMED']);
  sent.destroy();
});

test('a part that found no service is sent again under its number', async () => {
  let tries = 0;
  gateway.services.catalogUploads.appendUpload = async () => {
    tries += 1;
    if (tries < 3) throw fault('DEPENDENCY_UNAVAILABLE');
    return {};
  };
  const { sent, answer } = open('/v1/admin/imports');
  sent.end('a file');
  await eventually(() => {
    gateway.clock.advance(2_000);
    expect(methods()).toContain('completeUpload');
  });
  expect((await answer).status).toBe(202);
  expect(calls('appendUpload')).toMatchObject([{ index: 0 }, { index: 0 }, { index: 0 }]);
});

test('a completion whose outcome is unknown is asked for again, and never abandoned', async () => {
  gateway.services.catalogUploads.completeUpload = async () => {
    throw fault('DEPENDENCY_UNAVAILABLE', { kind: 'timeout' });
  };
  const { sent, answer } = open('/v1/admin/imports');
  sent.end('a file');
  await eventually(() => {
    gateway.clock.advance(2_000);
    expect(calls('completeUpload')).toHaveLength(4);
  });
  expect((await answer).status).toBe(503);
  expect(methods()).not.toContain('abandonUpload');
});

test('what the service finds wrong with the file is the answer', async () => {
  gateway.services.catalogUploads.completeUpload = async () => {
    throw fault('IMAGE_UNSUPPORTED');
  };
  const path = `/v1/admin/products/${IDS.product}/image`;
  const { sent, answer } = open(path, { 'content-type': 'image/png' }, 'PUT');
  sent.end('no image');
  const { status, body } = await answer;
  expect([status, body.code]).toEqual([415, 'IMAGE_UNSUPPORTED']);
});

test('every part has time of its own, for the same caller', async () => {
  const left: number[] = [];
  const note = () => left.push(currentCall()!.deadlineAt - Date.now());
  gateway.services.catalogUploads.appendUpload = async () => (note(), {});
  gateway.services.catalogUploads.completeUpload = async () => (note(), { job: aJob(), positions: [] });
  const { sent, answer } = open('/v1/admin/imports');
  sent.end('a file');
  await answer;
  expect(left.every((ms) => ms > 10_000 && ms <= 15_000)).toBe(true);
  expect(gateway.received.map(({ context }) => context!.accessToken)).toEqual(
    gateway.received.map(() => bearer('admin').authorization.replace('Bearer ', '')),
  );
});

test('more files at once than the gateway can hold are refused with Retry-After', async () => {
  const uploads = Array.from({ length: 16 }, () => open('/v1/admin/imports'));
  for (const { sent } of uploads) sent.write('x');
  await eventually(() => expect(calls('beginUpload')).toHaveLength(16));
  const late = open('/v1/admin/imports');
  late.sent.end('x');
  const refused = await late.answer;
  expect([refused.status, refused.body.code, refused.headers['retry-after']]).toEqual([
    503,
    'OVERLOADED',
    '5',
  ]);
  for (const { sent } of uploads) sent.end();
  for (const { answer } of uploads) expect((await answer).status).toBe(202);
  const next = open('/v1/admin/imports');
  next.sent.end('x');
  expect((await next.answer).status).toBe(202);
});
