import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The command as a process, against the few routes that it uses. */
const root = join(__dirname, '../../..');
const directory = mkdtempSync(join(tmpdir(), 'import-'));
const servers: Server[] = [];
jest.setTimeout(30_000);
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(directory, { recursive: true });
});

function write(name: string, content: string | Buffer): string {
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

const JOB = {
  id: '01890000-0000-7000-8000-000000000001',
  type: 'product-import',
  total: null,
  created: 2,
  updated: 0,
  unchanged: 0,
  createdAt: '2026-01-01T00:00:00.000Z',
};

async function shop(rejected = 0, mostBytes = Infinity) {
  const received = { path: '', contentType: '', bytes: 0, hash: '' };
  let looks = 0;
  const server = createServer((req, res) => {
    const send = (status: number, body: unknown) => {
      res.writeHead(status, { 'content-type': 'application/json' });
      res.end(JSON.stringify(body));
    };
    if (req.url === '/health') return send(200, { status: 'healthy' });
    if (req.url === '/v1/sessions')
      return send(201, { accessToken: 'token', refreshToken: 'refresh', expiresInSeconds: 600 });
    if (req.headers.authorization !== 'Bearer token') return send(401, { code: 'UNAUTHENTICATED' });
    if (req.method === 'GET') {
      looks += 1;
      const done = looks > 2;
      return send(200, {
        ...JOB,
        status: done ? 'succeeded' : 'running',
        processed: done ? 2 + rejected : 1,
        rejected,
        errors: rejected > 0 ? [{ line: 3, code: 'VALIDATION_FAILED', reason: 'name is missing' }] : [],
        finishedAt: done ? '2026-01-01T00:00:01.000Z' : null,
      });
    }
    const hash = createHash('sha256');
    Object.assign(received, { path: req.url, contentType: req.headers['content-type'] });
    req.on('data', (chunk: Buffer) => {
      received.bytes += chunk.length;
      hash.update(chunk);
      if (received.bytes > mostBytes && !res.headersSent) {
        res.once('finish', () => req.socket.destroySoon());
        send(413, { status: 413, code: 'BODY_TOO_LARGE', detail: 'the file is larger than 1 GiB' });
      }
    });
    req.on('end', () => {
      if (res.headersSent) return;
      received.hash = hash.digest('hex');
      send(202, { ...JOB, status: 'queued', processed: 0, rejected: 0, errors: [], finishedAt: null });
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

function run(...arguments_: string[]) {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(__dirname, '../src/main.ts'), '--data', directory, ...arguments_],
    {
      cwd: root,
      env: {
        PATH: process.env['PATH'],
        TSX_TSCONFIG_PATH: join(root, 'tsconfig.json'),
        ADMIN_EMAIL: 'admin@shop.example',
        ADMIN_PASSWORD: 'admin-password',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text));
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, ...said })),
  );
}

it('sends a file byte for byte and shows what became of its lines', async () => {
  const { url, received } = await shop();
  const content = Buffer.alloc(3 * 1024 * 1024, 'sku,name\n');
  const { code, stdout } = await run('products', write('shop.csv', content), '--gateway', url, '--json');
  expect([code, JSON.parse(stdout)]).toMatchObject([0, { status: 'succeeded', processed: 2, created: 2 }]);
  expect(received).toEqual({
    path: '/v1/admin/imports',
    contentType: 'text/csv',
    bytes: content.length,
    hash: createHash('sha256').update(content).digest('hex'),
  });
});

it('exits 1 and names the lines where some were rejected', async () => {
  const { url, received } = await shop(1);
  const { code, stdout } = await run('orders', write('orders.ndjson', '{}\n'), '--gateway', url);
  expect([code, stdout]).toEqual([1, expect.stringContaining('line 3: VALIDATION_FAILED: name is missing')]);
  expect(received).toMatchObject({ path: '/v1/admin/order-imports', contentType: 'application/x-ndjson' });
});

it('says what the shop says when it refuses the file before its end', async () => {
  const { url } = await shop(0, 1024);
  const file = write('big.ndjson', Buffer.alloc(64 * 1024 * 1024, 'x'));
  const { code, stderr } = await run('products', file, '--gateway', url);
  expect([code, stderr]).toEqual([1, expect.stringContaining('413 BODY_TOO_LARGE: the file is larger')]);
});

it('says what to do where it cannot begin', async () => {
  const file = write('some.txt', 'x');
  const csv = write('orders.csv', 'x');
  const [nothing, unknown, noFile, noType, wrongType, noSystem] = await Promise.all([
    run(),
    run('customers', file),
    run('products', 'none.csv', '--gateway', 'http://127.0.0.1:1'),
    run('products', file),
    run('orders', csv),
    run('products', file, '--type', 'csv', '--gateway', 'http://127.0.0.1:1'),
  ]);
  expect([nothing.code, nothing.stderr]).toEqual([64, expect.stringContaining('say what to import')]);
  expect([unknown.code, unknown.stderr]).toEqual([64, expect.stringContaining('not customers')]);
  expect([noFile.code, noFile.stderr]).toEqual([65, expect.stringContaining('there is no file none.csv')]);
  expect([noType.code, noType.stderr]).toEqual([64, expect.stringContaining('--type')]);
  expect([wrongType.code, wrongType.stderr]).toEqual([64, expect.stringContaining('orders come as ndjson')]);
  expect([noSystem.code, noSystem.stderr]).toEqual([69, expect.stringContaining('npm start')]);
});
