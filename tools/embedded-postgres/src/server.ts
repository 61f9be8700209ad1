import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { prepareInstallation, type Installation } from './installation';

export interface PostgresOptions {
  /** Made with initdb when it does not exist yet. */
  dataDirectory: string;
  /** 127.0.0.1 only. */
  port: number;
  /** Of the superuser `headroom`; without one, every local connection is trusted (tests). */
  password?: string;
  /** False trades crash safety for speed (tests). */
  durable: boolean;
  /** Further `name = value` settings. */
  settings?: Record<string, string | number>;
}

export interface PostgresServer {
  port: number;
  /** Where the files really lie. */
  dataDirectory: string;
  /** Set when the files could not lie where they were asked for. */
  movedTo: string | undefined;
  pid: number;
  /** The connection string of a database on this server. */
  url(database: string): string;
  /** Creates the databases that do not exist yet. */
  ensureDatabases(names: readonly string[]): Promise<void>;
  /** Fast shutdown (a checkpoint, then the end); kills after 20 s. */
  stop(): Promise<void>;
  /** Resolves with a reason when the server ends without `stop`. */
  ended: Promise<string>;
}

/**
 * Ends the server when whoever started it is gone: `cat` returns when the other end of the pipe on standard input closes,
 * however that process died. The two seconds let clients that watch the same parent finish first.
 */
const LEASH =
  'exec 3<&0; "$@" 3<&- & server=$!; { cat <&3 >/dev/null; sleep 2; kill -INT $server; } & watcher=$!; wait $server; status=$?; kill $watcher 2>/dev/null; exit $status';

/** Starts a real PostgreSQL server from npm as a process of its own that does not outlive this one. */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { binDirectory, dataDirectory, account, movedTo } = prepareInstallation(options.dataDirectory);
  const identity = account ? { uid: account.uid, gid: account.gid } : {};
  // A root's HOME or working directory need not exist for another account.
  const environment = { ...process.env, HOME: '/', LC_ALL: 'C', TZ: 'UTC' };
  await previousServerGone(dataDirectory);
  if (!existsSync(join(dataDirectory, 'PG_VERSION')))
    createCluster({ binDirectory, dataDirectory, account, password: options.password, environment });
  const settings: Record<string, string | number> = {
    listen_addresses: '127.0.0.1',
    port: options.port,
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '96MB',
    shared_preload_libraries: 'pg_stat_statements',
    wal_level: 'replica',
    max_wal_size: '1GB',
    autovacuum_naptime: '15s',
    log_min_messages: 'warning',
    logging_collector: 'off',
    timezone: 'UTC',
    ...(options.durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
    ...options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = spawn(
    '/bin/sh',
    ['-c', LEASH, 'leash', join(binDirectory, 'postgres'), '-D', dataDirectory, ...flags],
    {
      ...identity,
      cwd: '/',
      env: environment,
      detached: true, // a Ctrl-C on the terminal is for the starter alone
      stdio: ['pipe', 'ignore', 'pipe'],
    },
  );
  let output = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-8_000)));
  let stopping = false;
  const exited = once(child, 'exit');
  const url = (database: string) =>
    `postgres://headroom${options.password === undefined ? '' : `:${encodeURIComponent(options.password)}`}@127.0.0.1:${options.port}/${database}`;
  await accepts(url('postgres'), exited, () => output);
  const pid = Number(readFileSync(join(dataDirectory, 'postmaster.pid'), 'utf8').split('\n')[0]);
  return {
    port: options.port,
    dataDirectory,
    movedTo,
    pid,
    url,
    async ensureDatabases(names) {
      const client = new pg.Client({ connectionString: url('postgres') });
      await client.connect();
      try {
        const { rows } = await client.query<{ datname: string }>('select datname from pg_database');
        for (const name of names)
          if (!rows.some((row) => row.datname === name)) await client.query(`create database "${name}"`);
      } finally {
        await client.end();
      }
    },
    async stop() {
      if (stopping) return;
      stopping = true;
      if (child.exitCode !== null) return;
      signal(pid, 'SIGINT');
      const patience = setTimeout(() => signal(pid, 'SIGKILL'), 20_000);
      await exited;
      clearTimeout(patience);
    },
    ended: exited.then(([code]) =>
      stopping
        ? new Promise<string>(() => undefined)
        : `PostgreSQL ended with code ${String(code)}:\n${output}`,
    ),
  };
}

/** Runs initdb. The password passes through a file that only the server's account may read, and only for that moment. */
function createCluster(options: {
  binDirectory: string;
  dataDirectory: string;
  account: Installation['account'];
  password: string | undefined;
  environment: NodeJS.ProcessEnv;
}): void {
  const { account, password, dataDirectory } = options;
  const directory = mkdtempSync('/var/tmp/headroom-initdb-');
  try {
    const passwordFile = join(directory, 'password');
    if (password !== undefined) {
      writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
      if (account) for (const path of [directory, passwordFile]) chownSync(path, account.uid, account.gid);
    }
    const authentication =
      password === undefined ? ['--auth=trust'] : ['--auth=scram-sha-256', `--pwfile=${passwordFile}`];
    const made = spawnSync(
      join(options.binDirectory, 'initdb'),
      ['-D', dataDirectory, '-U', 'headroom', '-E', 'UTF8', '--locale=C', '--no-sync', ...authentication],
      {
        ...(account ? { uid: account.uid, gid: account.gid } : {}),
        cwd: '/',
        env: options.environment,
        encoding: 'utf8',
      },
    );
    if (made.status !== 0)
      throw new Error(`initdb failed:\n${made.error?.message ?? ''}${made.stdout}${made.stderr}`);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Waits for a server on this directory to be gone and removes its files, wherever they really lie. */
export async function removePostgres(dataDirectory: string): Promise<void> {
  const { dataDirectory: real } = prepareInstallation(dataDirectory);
  await previousServerGone(real);
  rmSync(real, { recursive: true, force: true });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // gone already
  }
}

async function accepts(url: string, exited: Promise<unknown[]>, output: () => string): Promise<void> {
  let gone = false;
  void exited.then(() => (gone = true));
  const until = Date.now() + 60_000;
  for (;;) {
    if (gone) throw new Error(`PostgreSQL did not start:\n${output()}`);
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (Date.now() > until)
        throw new Error(`PostgreSQL did not accept connections within 60 s: ${String(error)}\n${output()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Waits until a server that was left on this directory (its starter was killed a moment ago) has shut down. */
async function previousServerGone(dataDirectory: string): Promise<void> {
  const file = join(dataDirectory, 'postmaster.pid');
  const until = Date.now() + 20_000;
  while (existsSync(file)) {
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
    if (!Number.isInteger(pid) || !isPostgres(pid)) return; // a stale file: the server itself clears it away
    if (Date.now() > until)
      throw new Error(
        `a PostgreSQL server (process ${pid}) already runs on ${dataDirectory}: is the system started twice? Stop the other one first`,
      );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function isPostgres(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('postgres');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
