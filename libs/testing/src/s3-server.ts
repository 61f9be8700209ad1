import { freePort } from '@headroom/embedded-postgres';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually';

/** A real server of the S3 API, over a folder: https://github.com/versity/versitygw (Apache-2.0). */
const PACKAGE = 'github.com/versity/versitygw/cmd/versitygw';
const VERSION = 'v1.8.0';
/** What the server is built with; its own name in the path keeps it out of every package. */
const DIRECTORY = join(__dirname, '../../../node_modules/.cache/headroom', `versitygw-${VERSION}`);
const PROGRAM = join(DIRECTORY, 'versitygw');

export interface S3Server {
  /** Of the S3 API, e.g. http://127.0.0.1:41234. */
  endpoint: string;
  /** Exists and is empty. */
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Ends the server and removes its files. */
  stop(): Promise<void>;
}

/** True where `installS3Server` has put the server. */
export const hasS3Server = (): boolean => existsSync(PROGRAM);

/**
 * Builds the server from its sources, once per installation of the packages: about a minute with Go 1.24 or newer. Returns why it
 * could not, or undefined when it is there.
 */
export function installS3Server(): string | undefined {
  if (hasS3Server()) return undefined;
  if (spawnSync('go', ['version']).status !== 0) return 'Go is not installed (https://go.dev/dl)';
  mkdirSync(join(DIRECTORY, '..'), { recursive: true });
  const making = mkdtempSync(`${DIRECTORY}-`);
  try {
    const { status, stderr } = spawnSync('go', ['install', `${PACKAGE}@${VERSION}`], {
      encoding: 'utf8',
      env: { ...process.env, GOBIN: making, CGO_ENABLED: '0' },
      timeout: 8 * 60_000,
    });
    if (status !== 0) return `go install ${PACKAGE}@${VERSION} failed: ${stderr.trim().split('\n').at(-1)}`;
    if (!hasS3Server()) renameSync(making, DIRECTORY);
    return undefined;
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

/** Starts the server on a free port, with an empty bucket. */
export async function startS3Server(): Promise<S3Server> {
  const directory = mkdtempSync(join(tmpdir(), 'headroom-s3-'));
  const bucket = 'headroom-test';
  const [data, sidecar] = [join(directory, 'data'), join(directory, 'attributes')];
  mkdirSync(join(data, bucket), { recursive: true });
  mkdirSync(sidecar);
  const port = await freePort();
  const [accessKeyId, secretAccessKey] = ['headroom-test', 'headroom-test-secret'];
  const child = spawn(
    PROGRAM,
    ['--quiet', '--keep-alive', '--port', `127.0.0.1:${port}`, 'posix', '--sidecar', sidecar, data],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    },
  );
  let output = '';
  child.stderr.on('data', (text: Buffer) => (output = (output + text.toString()).slice(-2_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async () => {
    child.kill('SIGKILL'); // nothing of it is kept
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  const endpoint = `http://127.0.0.1:${port}`;
  try {
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`the S3 server ended: ${output}`);
      await fetch(endpoint);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { endpoint, bucket, accessKeyId, secretAccessKey, stop };
}
