import { systemClock } from '@headroom/resilience';
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { compare, soak } from '../src/soak';

/** The check that finds leaks, on a real process under load. */
const children: ChildProcess[] = [];
afterAll(() => children.forEach((child) => child.kill('SIGKILL')));
jest.setTimeout(60_000);

async function start(leak: string) {
  const child = spawn(process.execPath, ['--import', 'tsx', join(__dirname, 'leaking-service.ts')], {
    cwd: join(__dirname, '../../..'),
    env: {
      PATH: process.env['PATH'],
      TSX_TSCONFIG_PATH: join(__dirname, '../../../tsconfig.json'),
      LEAK: leak,
      OPS_PORT: '0',
      DRAIN_SECONDS: '0',
    },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.push(child);
  const heard: Record<string, number> = {};
  await new Promise<void>((resolve) =>
    child.on('message', (message: Record<string, number>) => {
      Object.assign(heard, message);
      if (heard['port'] && heard['opsPort']) resolve();
    }),
  );
  return { url: `http://127.0.0.1:${heard['port']}`, opsUrl: `http://127.0.0.1:${heard['opsPort']}` };
}

/** Sends a thousand requests before each look, and looks three times as the check does. */
async function check(leak: string) {
  const service = await start(leak);
  const load = async () => {
    for (let request = 0; request < 1_000; request += 1) await (await fetch(service.url)).text();
  };
  await load(); // what is compiled and pooled once is no leak
  const clock = { now: systemClock.now, sleep: load };
  const [row] = await soak({
    processes: [{ name: 'service', opsUrl: service.opsUrl }],
    earlyAtMs: 0,
    lateAtMs: 0,
    clock,
  });
  return row!;
}

it('passes a service that keeps nothing', async () => {
  expect((await check('')).leak).toBeUndefined();
});

it('finds a service that keeps a part of every request', async () => {
  expect((await check('1')).leak).toMatch(/the heap grew by \d+\.\d %/);
});

it('finds handles that are never closed, and allows for connections that come and go', () => {
  const held = { heapBytes: 1e7, externalBytes: 0, residentBytes: 0, handles: 100 };
  expect(compare('a', held, { ...held, handles: 221 }).leak).toBe('open handles grew from 100 to 221');
  expect(compare('a', held, { ...held, handles: 220 }).leak).toBeUndefined();
});

it('allows a heap to grow by a twentieth and no more', () => {
  const held = { heapBytes: 1e7, externalBytes: 0, residentBytes: 0, handles: 100 };
  expect(compare('a', held, { ...held, heapBytes: 1.05e7 }).leak).toBeUndefined();
  expect(compare('a', held, { ...held, heapBytes: 1.051e7 }).leak).toMatch(/grew by 5\.1 %/);
});
