import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ProcessSpec } from './system';

export interface Supervisor {
  /** Starts a process and resolves when it says that it is ready; rejects when it ends before that for good. */
  start(spec: ProcessSpec): Promise<void>;
  /** Runs an app's one-off command to its end; rejects with its last log lines when it fails. */
  run(spec: ProcessSpec, command: string[], onLine?: (line: string) => void): Promise<void>;
  pids(): Array<{ name: string; pid: number }>;
  /** Stops all, the last started first: SIGTERM, then SIGKILL after 15 s. */
  stop(): Promise<void>;
  /** Resolves with a reason when a process died five times in a minute. */
  gaveUp: Promise<string>;
}

const MAX_DEATHS = 5;
const DEATH_WINDOW_MS = 60_000;

interface Running {
  spec: ProcessSpec;
  child: ChildProcess | undefined;
  deaths: number[];
  tail: string[];
  timer: NodeJS.Timeout | undefined;
}

/**
 * Keeps the processes of the system alive: one that dies is started again after 0.2 s, doubling with each death of the last
 * minute; the fifth gives up. Children hold an IPC channel and stop by themselves when this process is gone.
 */
export function createSupervisor(options: {
  root: string;
  onLog: (name: string, line: string) => void;
  onNote: (text: string) => void;
}): Supervisor {
  const processes: Running[] = [];
  let stopping = false;
  let giveUp: (reason: string) => void;
  const gaveUp = new Promise<string>((resolve) => (giveUp = resolve));

  const launch = (spec: ProcessSpec, arguments_: string[], onLine: (line: string) => void) => {
    const child = spawn(
      process.execPath,
      [
        '--enable-source-maps',
        '--max-semi-space-size=16',
        '--max-old-space-size=256',
        join(options.root, 'dist', 'apps', spec.app, 'main.js'),
        ...arguments_,
      ],
      {
        cwd: options.root,
        env: { ...process.env, ...spec.env },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        detached: true, // a Ctrl-C on the terminal is for the starter, which then stops all in order
      },
    );
    for (const stream of [child.stdout!, child.stderr!])
      createInterface({ input: stream }).on('line', onLine);
    return child;
  };

  const begin = (running: Running, onReady?: () => void) => {
    const child = launch(running.spec, [], (line) => {
      running.tail = [...running.tail.slice(-19), line];
      options.onLog(running.spec.name, line);
    });
    running.child = child;
    child.on('message', () => onReady?.());
    child.on('exit', (code, signal) => {
      running.child = undefined;
      if (stopping) return;
      const now = Date.now();
      running.deaths = [...running.deaths.filter((at) => now - at < DEATH_WINDOW_MS), now];
      const how = signal ? `was ended by ${signal}` : `ended with code ${code}`;
      if (running.deaths.length >= MAX_DEATHS || code === 78)
        return giveUp(
          `${running.spec.name} ${how}${code === 78 ? '' : `, the ${MAX_DEATHS}th time in a minute`}; its last lines:\n${running.tail.join('\n')}`,
        );
      const delayMs = 200 * 2 ** (running.deaths.length - 1);
      options.onNote(`${running.spec.name} ${how}: starting it again in ${(delayMs / 1_000).toFixed(1)} s`);
      running.timer = setTimeout(() => begin(running, onReady), delayMs);
    });
  };

  return {
    gaveUp,
    start(spec) {
      const running: Running = { spec, child: undefined, deaths: [], tail: [], timer: undefined };
      processes.push(running);
      return new Promise((resolve, reject) => {
        void gaveUp.then((reason) => reject(new Error(reason)));
        begin(running, resolve);
      });
    },
    run(spec, command, onLine) {
      const tail: string[] = [];
      const child = launch(spec, command, (line) => {
        tail.push(line);
        onLine?.(line);
      });
      return new Promise((resolve, reject) => {
        child.on('exit', (code) =>
          code === 0
            ? resolve()
            : reject(
                new Error(
                  `${spec.app} ${command.join(' ')} failed; its last lines:\n${tail.slice(-20).join('\n')}`,
                ),
              ),
        );
      });
    },
    pids: () =>
      processes.flatMap(({ spec, child }) => (child?.pid ? [{ name: spec.name, pid: child.pid }] : [])),
    async stop() {
      stopping = true;
      for (const running of [...processes].reverse()) {
        clearTimeout(running.timer);
        const { child } = running;
        if (!child) continue;
        const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
        child.kill('SIGTERM');
        const patience = setTimeout(() => child.kill('SIGKILL'), 15_000);
        await exited;
        clearTimeout(patience);
      }
    },
  };
}
