import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StartOptions } from './options';

/** Where the system that was started last on a data directory listens; other commands find it by this file. */
export type Running = Pick<StartOptions, 'ports'>;

const file = (dataDirectory: string) => join(dataDirectory, 'system.json');

export function writeRunning(dataDirectory: string, running: Running): void {
  writeFileSync(file(dataDirectory), `${JSON.stringify(running, null, 2)}\n`);
}

/** Fails with what to do when no system was ever started there. */
export function readRunning(dataDirectory: string): Running {
  try {
    return JSON.parse(readFileSync(file(dataDirectory), 'utf8')) as Running;
  } catch (error) {
    throw new Error(`no system was started on ${dataDirectory}: run npm start first (or name its --data)`, {
      cause: error,
    });
  }
}
