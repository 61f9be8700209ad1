import { freePort } from '@headroom/embedded-postgres';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY, SYSTEM_MARK, type SystemAddresses } from './running-system';

/** The apps of a system, a process of each. */
export const APPS = ['catalog', 'gateway', 'order', 'payment-sandbox', 'projector', 'recommendation', 'user'];

/** A service process of a started system, with the environment that its starter gave it. */
export interface ServiceProcess {
  app: string;
  pid: number;
  env: Record<string, string>;
}

/** The service processes of a system that run now, found in /proc. */
export function serviceProcesses({ ports }: Pick<SystemAddresses, 'ports'>): ServiceProcess[] {
  return pids().flatMap((pid) => {
    const app = /dist\/apps\/([a-z-]+)\/main\.js/.exec(commandLine(pid))?.[1];
    if (app === undefined) return [];
    const env = environment(pid);
    const opsPort = Number(env['OPS_PORT']);
    return opsPort >= ports.internal && opsPort < ports.internal + 16 ? [{ app, pid, env }] : [];
  });
}

/** The process of one app; throws while it does not run. */
export function serviceProcess(system: Pick<SystemAddresses, 'ports'>, app: string): ServiceProcess {
  const found = serviceProcesses(system).find((each) => each.app === app);
  if (!found) throw new Error(`no process of ${app} runs`);
  return found;
}

/** The launcher's child: the process that starts and watches all others. */
export function starterPid(launcher: number): number {
  const found = pids().find((pid) => parent(pid) === launcher && /main\.ts/.test(commandLine(pid)));
  if (found === undefined) throw new Error(`process ${launcher} has no starter`);
  return found;
}

/**
 * Every process that belongs to the system with this data directory: by the mark in its environment, or by its working
 * directory (PostgreSQL's children overwrite their environment). Zombies do not count.
 */
export function systemPids(dataDirectory: string): Array<{ pid: number; command: string }> {
  return pids()
    .filter(
      (pid) =>
        environment(pid)[SYSTEM_MARK] === dataDirectory ||
        workingDirectory(pid)?.startsWith(`${dataDirectory}/`) === true,
    )
    .map((pid) => ({ pid, command: commandLine(pid).trim() }));
}

/** A further gateway beside the one of the system, with the same environment except for `env`. */
export async function startGateway(
  system: SystemAddresses,
  env: Record<string, string> = {},
): Promise<{ url: string; stop(): Promise<void> }> {
  const { NODE_CHANNEL_FD: _channel, ...running } = serviceProcess(system, 'gateway').env;
  const port = await freePort();
  const child = spawn(process.execPath, [join(REPOSITORY, 'dist', 'apps', 'gateway', 'main.js')], {
    cwd: REPOSITORY,
    env: { ...running, ...env, PORT: String(port), OPS_PORT: String(await freePort()) },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-20_000)));
  const exited = once(child, 'exit');
  await Promise.race([
    once(child, 'message'),
    exited.then(([code]) => {
      throw new Error(`the gateway ended with code ${String(code)}:\n${output}`);
    }),
  ]);
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !/^Z/.test(statFields(pid)[0] ?? 'Z'));
}

/** The fields of /proc/<pid>/stat behind the command's name: state, parent, ... */
function statFields(pid: number): string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function parent(pid: number): number {
  return Number(statFields(pid)[1]);
}

function commandLine(pid: number): string {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
}

function environment(pid: number): Record<string, string> {
  return Object.fromEntries(
    read(`/proc/${pid}/environ`)
      .split('\0')
      .filter((entry) => entry.includes('='))
      .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  );
}

function workingDirectory(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** A process may end while it is looked at: then there is nothing to read. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
