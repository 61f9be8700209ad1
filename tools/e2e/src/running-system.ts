import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';

/** A system started by the same command that a newcomer uses. */
export interface RunningSystem {
  gateway: string;
  payment: string;
  dataDirectory: string;
  admin: { email: string; password: string };
  ports: { gateway: number; payment: number; postgres: number; internal: number };
  /** The launcher's process. */
  child: ChildProcess;
  /** Everything that it printed. */
  output(): string;
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>;
}

export const REPOSITORY = join(__dirname, '..', '..', '..');

/** Runs `npm start` (without npm in between) on free ports with a data directory of its own, and waits for its table. */
export async function startSystem(
  options: {
    dataDirectory?: string;
    env?: Record<string, string>;
    arguments?: string[];
    timeoutMs?: number;
  } = {},
): Promise<RunningSystem> {
  const dataDirectory = options.dataDirectory ?? join(mkdtempSync('/var/tmp/headroom-e2e-'), 'data');
  const admin = { email: 'admin@shop.example', password: 'correct-horse-battery' };
  const ports = {
    gateway: await freePort(),
    payment: await freePort(),
    postgres: await freePort(),
    internal: await freeRange(16),
  };
  const child = spawn(
    process.execPath,
    [
      join(REPOSITORY, 'tools', 'launch.mjs'),
      'start',
      ...[
        '--port',
        String(ports.gateway),
        '--payment-port',
        String(ports.payment),
        '--postgres-port',
        String(ports.postgres),
      ],
      ...['--internal-ports', String(ports.internal), '--data', dataDirectory, ...(options.arguments ?? [])],
    ],
    {
      cwd: REPOSITORY,
      env: { ...process.env, ADMIN_EMAIL: admin.email, ADMIN_PASSWORD: admin.password, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  );
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-500_000)));
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    const patience = setTimeout(
      () => fail(new Error(`the system did not start in time:\n${output}`)),
      options.timeoutMs ?? 120_000,
    );
    const look = setInterval(() => output.includes('Ctrl-C stops everything') && settle(resolve), 50);
    const settle = (action: () => void) => {
      clearTimeout(patience);
      clearInterval(look);
      action();
    };
    const fail = (error: Error) =>
      settle(() => {
        child.kill('SIGTERM');
        reject(error);
      });
    void exited.then((code) => fail(new Error(`the system ended with code ${code}:\n${output}`)));
  });
  return {
    gateway: `http://127.0.0.1:${ports.gateway}`,
    payment: `http://127.0.0.1:${ports.payment}`,
    dataDirectory,
    admin,
    ports,
    child,
    output: () => output,
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      return exited;
    },
  };
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

/** The first of `count` free ports in a row. */
export async function freeRange(count: number): Promise<number> {
  for (;;) {
    const base = 10_000 + Math.floor(Math.random() * 20_000);
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(base + index)));
    if (free.every(Boolean)) return base;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
