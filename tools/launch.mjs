#!/usr/bin/env node
// The first step of every command: needs nothing but Node and npm. Installs what is missing, finds Node 24 and runs
// tools/<command>/src/main.ts with it.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [command, ...options] = process.argv.slice(2);
const [major, minor] = process.versions.node.split('.').map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `Node ${process.versions.node} is too old: Headroom needs Node 20.19 or newer to start, and runs on Node 24.`,
  );
  process.exit(1);
}
const started = Date.now();
const installed = install();
if (installed) console.log(phase('install', started, installed));

const node = findNode();
const child = spawn(node, ['--import', 'tsx', join(root, 'tools', command, 'src', 'main.ts'), ...options], {
  cwd: root,
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'], // the channel tells the command when this process is gone
  env: {
    ...process.env,
    PATH: [dirname(node), join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
    TSX_TSCONFIG_PATH: join(root, 'tsconfig.json'),
    NX_DAEMON: 'false',
  },
});
// A Ctrl-C reaches both processes; the child decides when all has ended. It takes several signals close together as one.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)));

/** Installs when the lock file is not the one that was installed last; returns what was done, or undefined. */
function install() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const marker = join(root, 'node_modules', '.headroom-installed');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === lock) return undefined;
  console.log('  …  install       npm ci (a minute or two the first time)');
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  });
  if (result.status !== 0) {
    console.error(
      'npm ci failed: its message stands above. Mend that (is the registry reachable?) and run the command again.',
    );
    process.exit(1);
  }
  writeFileSync(marker, lock);
  return 'packages of package-lock.json';
}

/** This Node when it is new enough, else the one that came with the packages. */
function findNode() {
  if (major >= 24) return process.execPath;
  const bundled = join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node');
  if (existsSync(bundled)) return bundled;
  console.error(
    `Headroom runs on Node 24, this is ${process.versions.node}, and no Node 24 comes as a package for ${process.platform}-${process.arch}: install Node 24 and run the command again.`,
  );
  process.exit(1);
}

function phase(name, since, note) {
  return `  ✓  ${name.padEnd(12)}  ${((Date.now() - since) / 1000).toFixed(1).padStart(6)} s  ${note}`;
}
