import { removePostgres, startPostgres, type PostgresServer } from '@headroom/embedded-postgres';
import { appNames, buildApps } from '@headroom/build';
import { migrateEventLog } from '@headroom/messaging';
import { silentLogger } from '@headroom/telemetry';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createConsole } from './console';
import { readOptions } from './options';
import { checkPorts } from './ports';
import { writeRunning } from './running';
import { readSecrets } from './secrets';
import { createSupervisor, type Supervisor } from './supervisor';
import { watchStarter } from './starter-watch';
import { DATABASES, systemProcesses } from './system';

/** `npm start`: the whole system on this machine, from nothing to a table of addresses; Ctrl-C takes it all down again. */
const root = process.cwd();
const options = readOptions(process.argv.slice(2));
const console_ = createConsole();
let supervisor: Supervisor | undefined;
let postgres: PostgresServer | undefined;
let stopAsked: number | undefined;

const stop = async (reason: string, code: number) => {
  if (stopAsked !== undefined) {
    // The terminal, npm and the launcher may all pass the same Ctrl-C on; a real second one comes later.
    if (Date.now() - stopAsked > 2_000) process.exit(1);
    return;
  }
  stopAsked = Date.now();
  console_.say(`\n${reason}: stopping`);
  await supervisor?.stop();
  await postgres?.stop();
  console_.say('stopped; the data is kept, npm start goes on from here');
  process.exit(code);
};
process.on('SIGINT', () => void stop('Ctrl-C', 0));
process.on('SIGTERM', () => void stop('SIGTERM', 0));
process.on('SIGHUP', () => void stop('the terminal is gone', 0));
watchStarter(() => void stop('the starter is gone', 1));
// Output to a terminal that is gone must not end the stop half way.
process.stdout.on('error', () => undefined);

start().catch(async (error: unknown) => {
  console_.say(`\n${error instanceof Error ? error.message : String(error)}`);
  await supervisor?.stop();
  await postgres?.stop();
  process.exit(1);
});

async function start(): Promise<void> {
  const began = Date.now();
  const dataDirectory = resolve(root, options.dataDirectory);
  await checkPorts(options.ports);
  await console_.phase('build', async (note) => {
    const apps = appNames(root);
    await buildApps(root, apps);
    note(`${apps.length} apps`);
  });

  let kept: ReturnType<typeof readSecrets> | undefined;
  await console_.phase('database', async (note) => {
    const files = join(dataDirectory, 'postgres');
    if (options.fresh) {
      await removePostgres(files);
      rmSync(dataDirectory, { recursive: true, force: true });
    }
    const { secrets, adminPasswordMade } = readSecrets(dataDirectory, process.env);
    kept = { secrets, adminPasswordMade };
    postgres = await startPostgres({
      dataDirectory: files,
      port: options.ports.postgres,
      password: secrets.postgresPassword,
      durable: true,
    });
    writeRunning(dataDirectory, { ports: options.ports });
    await postgres.ensureDatabases(DATABASES);
    note(`PostgreSQL on port ${postgres.port}, files in ${postgres.dataDirectory}`);
  });
  const server = postgres!;
  const { secrets, adminPasswordMade } = kept!;
  const specs = systemProcesses(options, secrets);
  supervisor = createSupervisor({ root, onLog: console_.log, onNote: console_.say });
  const running = supervisor;
  void running.gaveUp.then((reason) => stop(reason, 1));
  void server.ended.then((reason) => stop(reason, 1));

  await console_.phase('migrations', async (note) => {
    await Promise.all([
      migrateEventLog(server.url('events'), silentLogger),
      ...specs.filter((spec) => spec.migrates).map((spec) => running.run(spec, ['migrate'])),
    ]);
    note(`${DATABASES.length} databases`);
  });
  await console_.phase('seed', async (note) => {
    const catalog = specs.find((spec) => spec.name === 'catalog')!;
    if (options.products > 0)
      await running.run(catalog, [
        'seed',
        '--products',
        String(options.products),
        '--seed',
        String(options.seed),
      ]);
    note(`${options.products} products`);
  });
  await console_.phase('services', async (note) => {
    await Promise.all(specs.map((spec) => running.start(spec)));
    await healthy(`http://127.0.0.1:${options.ports.gateway}/health`);
    note(`${specs.length} processes, all healthy`);
  });

  const file = join(dataDirectory, 'admin.json');
  const adminSecret = adminPasswordMade
    ? `${secrets.adminPassword}   (shown this once; kept in ${file})`
    : `(password: see ${file})`;
  const shop = `http://localhost:${options.ports.gateway}`;
  const rows: Array<[string, string]> = [
    ['shop API', shop],
    ['API documentation', `${shop}/docs`],
    ['health', `${shop}/health`],
    ['payment sandbox', `http://localhost:${options.ports.payment}`],
    ...specs.map((spec): [string, string] => [
      `${spec.name} operations`,
      `http://127.0.0.1:${spec.opsPort}/metrics`,
    ]),
    ['admin sign-in', `${secrets.adminEmail}  ${adminSecret}`],
  ];
  console_.say(`\nHeadroom is up after ${((Date.now() - began) / 1_000).toFixed(1)} s.\n`);
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console_.say(`  ${name.padEnd(width)}  ${value}`);
  console_.say(`\nTry it:\n\n  curl '${shop}/v1/products?q=oak&limit=3'\n\nCtrl-C stops everything.`);
}

/** Waits until the whole system says that it is healthy. */
async function healthy(url: string): Promise<void> {
  const until = Date.now() + 60_000;
  for (let last = 'no answer'; ;) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(3_000) });
      const report = (await response.json()) as { status: string };
      if (report.status === 'healthy') return;
      last = JSON.stringify(report);
    } catch (error) {
      last = String(error);
    }
    if (Date.now() > until) throw new Error(`the system did not become healthy within 60 s: ${last}`);
    await new Promise((resolve_) => setTimeout(resolve_, 100));
  }
}
