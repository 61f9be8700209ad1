import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The fuzzer, a Python program (https://schemathesis.readthedocs.io, MIT), in an environment of its own. */
const REQUIREMENTS = join(__dirname, '..', 'requirements.txt');
const HOOKS = join(__dirname, '..', 'hooks.py');
const DIRECTORY = join(
  __dirname,
  '../../../node_modules/.cache/headroom',
  `schemathesis-${createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 12)}`,
);
const PROGRAM = join(DIRECTORY, 'bin', 'st');

/**
 * Installs the fuzzer, once per set of versions: about half a minute with Python 3.10 or newer. Returns why it could not, or
 * undefined when it is there.
 */
export function installFuzzer(): string | undefined {
  if (existsSync(PROGRAM)) return undefined;
  const python = ['python3', 'python'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (python === undefined) return 'Python 3 is not installed';
  const steps: Array<[string, string[]]> = [
    [python, ['-m', 'venv', DIRECTORY]],
    [
      join(DIRECTORY, 'bin', 'pip'),
      ['install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS],
    ],
  ];
  for (const [command, arguments_] of steps) {
    const { status, stderr, error } = spawnSync(command, arguments_, {
      encoding: 'utf8',
      timeout: 5 * 60_000,
    });
    if (status === 0) continue;
    rmSync(DIRECTORY, { recursive: true, force: true });
    return `${command} ${arguments_[0]} failed: ${error?.message ?? stderr.trim().split('\n').at(-1)}`;
  }
  return undefined;
}

export interface FuzzRun {
  /** What the run is called. */
  name: string;
  passed: boolean;
  /** Operations that were tried, and those of them whose answers are not as the document says. */
  operations: number;
  violating: number;
  output: string;
}

/**
 * Sends generated requests, valid and not, to every operation of the document that `excluded` does not name, and checks the answers:
 * no server error, and status, media type and body as the document says.
 */
export function runFuzzer(options: {
  name: string;
  gateway: string;
  seconds: number;
  seed: number;
  token?: string;
  /** Regular expressions of operations, such as `^/v1/sessions$`. */
  excludedPaths: readonly string[];
  onOutput(text: string): void;
}): Promise<FuzzRun> {
  const { name, gateway, seconds, seed, token, excludedPaths, onOutput } = options;
  const directory = mkdtempSync(join(tmpdir(), 'headroom-fuzz-'));
  const report = join(directory, 'report.xml');
  const child = spawn(
    PROGRAM,
    [
      ...['--no-color', 'run', `${gateway}/openapi.json`, '--url', gateway],
      ...['--phases', 'examples,coverage,fuzzing', '--max-time', String(seconds)],
      // One worker: Python 3.11 fails at random when several threads parse (python/cpython#106905).
      ...['--workers', '1'],
      ...['--seed', String(seed), '--generation-database', 'none', '--no-shrink', '--continue-on-failure'],
      ...['--checks', CHECKS.join(','), '--request-timeout', '15', '--warnings', 'off'],
      ...['--suppress-health-check', 'all', '--report', 'junit', '--report-junit-path', report],
      ...(token === undefined ? [] : ['--header', `Authorization: Bearer ${token}`]),
      ...excludedPaths.flatMap((path) => ['--exclude-path-regex', path]),
    ],
    {
      cwd: directory, // it leaves files where it runs
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONUNBUFFERED: '1', SCHEMATHESIS_HOOKS: HOOKS },
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      onOutput(text);
    });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const counts = countsOf(report);
      rmSync(directory, { recursive: true });
      resolve({ name, passed: code === 0, ...counts, output });
    });
  });
}

/** From a JUnit report, which has one case for each operation; none where there is no report. */
function countsOf(report: string): Pick<FuzzRun, 'operations' | 'violating'> {
  const suites = existsSync(report)
    ? (/<testsuites[^>]*>/.exec(readFileSync(report, 'utf8'))?.[0] ?? '')
    : '';
  const count = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suites)?.[1] ?? 0);
  return { operations: count('tests'), violating: count('failures') + count('errors') };
}

const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'unsupported_method',
];
