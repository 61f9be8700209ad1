import { freePort, temporaryDirectory } from '@headroom/embedded-postgres';
import { eventually } from '@headroom/testing';
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import {
  APPS,
  freeRange,
  REPOSITORY,
  serviceProcess,
  serviceProcesses,
  shopClient,
  starterPid,
  startSystem,
  systemPids,
  type RunningSystem,
} from '../src';

const OPTIONS = { arguments: ['--products', '20'], env: { LOG_LEVEL: 'warn' } };

test.each([
  ['gateway', '--port'],
  ['payment', '--payment-port'],
  ['postgres', '--postgres-port'],
  ['internal', '--internal-ports'],
] as const)(
  'a taken port of the %s ends the start with the port and the option %s',
  async (which, option) => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as AddressInfo;
    const directory = temporaryDirectory('e2e');
    try {
      const ports = {
        gateway: await freePort(),
        payment: await freePort(),
        postgres: await freePort(),
        internal: await freeRange(16),
        [which]: port,
      };
      const outcome = await startSystem({
        ...OPTIONS,
        ports,
        dataDirectory: join(directory, 'data'),
        timeoutMs: 30_000,
      }).then(
        async (system) => {
          await system.stop();
          return 'it started';
        },
        (error: unknown) => String(error),
      );
      expect(outcome).toMatch(new RegExp(`port ${port}\\b[^]*${option} \\d+`));
    } finally {
      await new Promise((resolve) => blocker.close(resolve));
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test('an unknown option is named, with what there is, and nothing starts', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(REPOSITORY, 'tools', 'launch.mjs'), 'start', '--prot', '9000'],
    { encoding: 'utf8' },
  );
  expect(status).toBe(64);
  expect(stderr).toMatch(/--prot[^]*--port N/);
});

describe('one data directory, started again after every kind of end', () => {
  let system: RunningSystem | undefined;
  let dataDirectory: string;
  let remembered: { email: string; password: string; orderId: string; productId: string };

  afterAll(() => system?.remove(), 60_000);

  const startAgain = async () => (system = await startSystem({ ...OPTIONS, dataDirectory }));
  const noProcessLeft = (timeoutMs: number) =>
    eventually(() => expect(systemPids(dataDirectory)).toEqual([]), timeoutMs);
  const expectRemembered = async () => {
    const shop = shopClient(system!.gateway);
    const { accessToken } = await shop.signIn(remembered.email, remembered.password);
    const order = await shop.settled(accessToken, remembered.orderId);
    expect(order.status).toBe('confirmed');
    expect((await shop.request('GET', `/v1/products/${remembered.productId}`)).status).toBe(200);
    // The start again adds nothing to the catalogue.
    const { body } = await shop.request<{ page: { total: number } }>('GET', '/v1/products?include=total');
    expect(body.page.total).toBe(21);
  };

  test('a fresh start says its phases with their durations, then the addresses and a sample request', async () => {
    system = await startSystem(OPTIONS);
    dataDirectory = system.dataDirectory;
    const { output, gateway } = system;
    for (const phase of ['build', 'database', 'migrations', 'seed', 'services'])
      expect(output()).toMatch(new RegExp(`✓ +${phase} +\\d+\\.\\d s`));
    expect(output()).toContain(`http://localhost:${new URL(gateway).port}`);
    expect(output()).toContain('admin@shop.example');
    expect(output()).not.toContain('correct-horse-battery'); // given, so not to be shown
    const sample = /curl '([^']+)'/.exec(output())![1]!;
    expect((await fetch(sample.replace('localhost', '127.0.0.1'))).status).toBe(200);

    const shop = shopClient(gateway);
    const { accessToken } = await shop.signIn(system!.admin.email, system!.admin.password);
    const product = await shop.product(accessToken);
    const { email, password, token } = await shop.customer();
    const { body: order } = await shop.checkout(token, [{ productId: product.id, quantity: 1 }]);
    remembered = { email, password, orderId: order.id, productId: product.id };
    await shop.settled(token, order.id);
  }, 120_000);

  test('a service that dies is started again, which is said in one line', async () => {
    for (const { app, pid } of serviceProcesses(system!)) {
      process.kill(pid, 'SIGKILL');
      await eventually(() => expect(serviceProcess(system!, app).pid).not.toBe(pid), 10_000);
    }
    await eventually(async () => {
      const { body } = await shopClient(system!.gateway).request('GET', '/health');
      expect(body['status']).toBe('healthy');
    }, 30_000);
    expect(system!.output().match(/was ended by SIGKILL: starting it again in 0\.2 s/g)).toHaveLength(
      APPS.length,
    );
    await expectRemembered();
  }, 90_000);

  test('SIGTERM leaves no process, and the data is there at the next start', async () => {
    expect(await system!.stop()).toBe(0);
    expect(systemPids(dataDirectory)).toEqual([]);
    await startAgain();
    await expectRemembered();
  }, 120_000);

  test('kill -9 of the launcher leaves no process after 10 s, and the data is there at the next start', async () => {
    system!.child.kill('SIGKILL');
    await noProcessLeft(10_000);
    await startAgain();
    await expectRemembered();
  }, 120_000);

  test('kill -9 of the starter leaves no process after 10 s, and the data is there at the next start', async () => {
    process.kill(starterPid(system!.child.pid!), 'SIGKILL');
    await noProcessLeft(10_000);
    await startAgain();
    await expectRemembered();
    expect(await system!.stop()).toBe(0);
    expect(systemPids(dataDirectory)).toEqual([]);
  }, 120_000);
});

test('it runs from a path with a space in it', async () => {
  const directory = temporaryDirectory('e2e');
  const root = join(directory, 'a shop');
  const left = new Set(['node_modules', '.git', '.nx', '.data', 'dist']);
  let system: RunningSystem | undefined;
  try {
    cpSync(REPOSITORY, root, { recursive: true, filter: (source) => !left.has(basename(source)) });
    symlinkSync(join(REPOSITORY, 'node_modules'), join(root, 'node_modules'));
    system = await startSystem({ ...OPTIONS, root, dataDirectory: join(root, '.data') });
    const shop = shopClient(system.gateway);
    // The views learn of the seed by events, some moments after the system is healthy.
    await eventually(async () => {
      const { status, body } = await shop.request<{ items: unknown[] }>('GET', '/v1/products');
      expect([status, body.items.length]).toEqual([200, 20]);
    }, 10_000);
    expect(serviceProcesses(system)).toHaveLength(APPS.length);
  } finally {
    await system?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}, 120_000);
