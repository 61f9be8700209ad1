import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const started: ChildProcess[] = [];

/** The built service as its own process. */
export function run(variables: Record<string, string>, ...args: string[]) {
  const child = spawn(process.execPath, [join(__dirname, '../../../dist/apps/user/main.js'), ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...variables },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  started.push(child);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => (output += String(data)));
  const exited = once(child, 'exit').then(([code]) => code as number);
  return {
    child,
    exited,
    output: () => output,
    ready: () => Promise.race([once(child, 'message'), exited.then(() => Promise.reject(new Error(output)))]),
  };
}

/** Kills what a test has left running. */
export function killAll(): void {
  for (const child of started) if (child.exitCode === null) child.kill('SIGKILL');
}
