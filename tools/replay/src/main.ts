import { UsageError } from '@headroom/shop-api';
import { randomBytes } from 'node:crypto';
import { replayHistory } from './history';
import { replayLive } from './live';
import { readOptions } from './options';
import { FileError } from './sales-file';

/** `npm run replay -- FILE`: a sales history into the running system, as history or as live checkouts, reconciled. */
async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2), process.env, makeRunName);
  if (typeof options === 'string') {
    process.stdout.write(options);
    return 0;
  }
  return options.live ? replayLive(options) : replayHistory(options);
}

function makeRunName(): string {
  return `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}-${randomBytes(2).toString('hex')}`;
}

// Not process.exit: what is written to a pipe must get through first.
main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? error.exitCode : error instanceof FileError ? 65 : 1;
  },
);
