import { readRunning, readSecrets, systemProcesses } from '@headroom/start';
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

/** `npm run rebuild -- VIEW`: runs the projector's rebuild command against the system that `npm start` started. */
const { values: options, positionals } = parseArgs({
  options: { data: { type: 'string', default: '.data' } },
  allowPositionals: true,
});
const running = readRunning(options.data);
const { secrets } = readSecrets(options.data, process.env);
const projector = systemProcesses(running, secrets).find((spec) => spec.name === 'projector')!;
const child = spawn(
  process.execPath,
  ['--enable-source-maps', 'dist/apps/projector/main.js', 'rebuild', ...positionals],
  {
    // Ports of the running process are taken: the command opens none.
    env: { ...process.env, ...projector.env },
    stdio: 'inherit',
  },
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));
