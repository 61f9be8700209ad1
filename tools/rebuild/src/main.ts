import { readRunning, readSecrets, systemProcesses } from '@headroom/start';
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

/**
 * `npm run rebuild -- VIEW`: runs the rebuild command of the service that has the view against the system that `npm start` started:
 * the recommendation service's for `recommendations`, else the projector's.
 */
const { values: options, positionals } = parseArgs({
  options: { data: { type: 'string', default: '.data' } },
  allowPositionals: true,
});
const running = readRunning(options.data);
const { secrets } = readSecrets(options.data, process.env);
const app = positionals[0] === 'recommendations' ? 'recommendation' : 'projector';
const service = systemProcesses(running, secrets).find((spec) => spec.name === app)!;
const child = spawn(
  process.execPath,
  ['--enable-source-maps', `dist/apps/${app}/main.js`, 'rebuild', ...positionals],
  {
    // Ports of the running process are taken: the command opens none.
    env: { ...process.env, ...service.env },
    stdio: 'inherit',
  },
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));
