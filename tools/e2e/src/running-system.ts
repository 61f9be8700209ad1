import { freePort, temporaryDirectory } from '@headroom/embedded-postgres';
import { spawn, type ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';

/** Where a system answers; crosses from jest's set-up to the test files as JSON. */
export interface SystemAddresses {
  gateway: string;
  payment: string;
  dataDirectory: string;
  admin: { email: string; password: string };
  ports: { gateway: number; payment: number; postgres: number; internal: number };
}

/** A system started by the same command that a newcomer uses. */
export interface RunningSystem extends SystemAddresses {
  /** The launcher's process. */
  child: ChildProcess;
  /** Everything that it printed. */
  output(): string;
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>;
  /** Stops it and deletes its data. */
  remove(): Promise<void>;
}

/** Every process of a system has this variable, with the system's data directory: what a leak check looks for. */
export const SYSTEM_MARK = 'HEADROOM_E2E';

export const REPOSITORY = join(__dirname, '..', '..', '..');

/** Runs `npm start` (without npm in between) on free ports with a data directory of its own, and waits for its table. */
export async function startSystem(
  options: {
    dataDirectory?: string;
    env?: Record<string, string>;
    arguments?: string[];
    timeoutMs?: number;
    ports?: SystemAddresses['ports'];
    root?: string;
  } = {},
): Promise<RunningSystem> {
  const root = options.root ?? REPOSITORY;
  const dataDirectory = options.dataDirectory ?? join(temporaryDirectory('e2e'), 'data');
  const admin = { email: 'admin@shop.example', password: 'correct-horse-battery' };
  const ports = options.ports ?? {
    gateway: await freePort(),
    payment: await freePort(),
    postgres: await freePort(),
    internal: await freeRange(16),
  };
  const child = spawn(
    process.execPath,
    [
      join(root, 'tools', 'launch.mjs'),
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
      cwd: root,
      env: {
        ...process.env,
        ADMIN_EMAIL: admin.email,
        ADMIN_PASSWORD: admin.password,
        [SYSTEM_MARK]: dataDirectory,
        RATE_LIMITS: 'off', // hundreds of customers come from one address
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  );
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-500_000)));
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const started = new Promise<void>((resolve, reject) => {
    const settle = (action: () => void) => {
      clearTimeout(patience);
      clearInterval(look);
      action();
    };
    const look = setInterval(() => output.includes('Ctrl-C stops everything') && settle(resolve), 50);
    const patience = setTimeout(
      () => settle(() => reject(new Error(`the system did not start in time:\n${output}`))),
      options.timeoutMs ?? 120_000,
    );
    void exited.then((code) =>
      settle(() => reject(new Error(`the system ended with code ${code}:\n${output}`))),
    );
  });
  await started.catch(async (error: unknown) => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exited;
    if (options.dataDirectory === undefined) rmSync(dirname(dataDirectory), { recursive: true, force: true });
    throw error;
  });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    return exited;
  };
  return {
    gateway: `http://127.0.0.1:${ports.gateway}`,
    payment: `http://127.0.0.1:${ports.payment}`,
    dataDirectory,
    admin,
    ports,
    child,
    output: () => output,
    stop,
    async remove() {
      await stop();
      rmSync(dirname(dataDirectory), { recursive: true, force: true });
    },
  };
}

/** The first of `count` free ports in a row. */
export async function freeRange(count: number): Promise<number> {
  for (;;) {
    const base = 20_000 + Math.floor(Math.random() * 12_000); // below the ports that outgoing connections get
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
