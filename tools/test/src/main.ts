import { hasS3Server, installS3Server } from '@headroom/testing';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/**
 * `npm test`: every check, cheapest first, with the time of each. The last line counts the tests of all stages; a stage
 * that is not a test run counts as one. With `--nightly` everything that takes longer instead.
 */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const DAY_MS = 24 * 3_600_000;
const NONE: Counts = { passed: 0, failed: 0, skipped: 0 };
const add = (a: Counts, b: Counts): Counts => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
});

interface Stage {
  name: string;
  what: string;
  run(): Promise<Counts>;
}

const { values: options } = parseArgs({
  options: { only: { type: 'string' }, nightly: { type: 'boolean', default: false } },
});
const reports = mkdtempSync(join(tmpdir(), 'headroom-test-'));
const stages: Stage[] = [
  { name: 'format', what: 'prettier', run: () => check('prettier', ['--check', '--log-level', 'warn', '.']) },
  {
    name: 'lint',
    what: 'eslint with module boundaries',
    run: () => check('nx', ['run', '@headroom/source:lint', '--output-style=stream']),
  },
  {
    name: 'types',
    what: 'tsc, strict',
    run: () => check('nx', ['run', '@headroom/source:types', '--output-style=stream']),
  },
  { name: 'protos', what: 'buf lint, no breaking change, generated code is current', run: protos },
  {
    name: 'build',
    what: 'every app',
    run: () => check('nx', ['run-many', '-t', 'build', '--output-style=stream']),
  },
  { name: 'engines', what: 'servers that the tests run against and npm does not bring', run: engines },
  {
    name: 'unit',
    what: 'unit, data and message tests on an embedded PostgreSQL',
    run: () => jest('unit', ['--config', 'jest.config.js', '--maxWorkers=100%']),
  },
  {
    name: 'e2e',
    what: 'the started system over HTTP',
    run: () => jest('e2e', ['--config', 'tools/e2e/jest.config.js', '--runInBand']),
  },
  {
    name: 'fuzz',
    what: 'generated requests to every operation for a minute, answered as the document says',
    run: () => fuzz(['--seconds', '60']),
  },
];

/** What takes too long for every change; each starts what it needs. */
const nightlyStages: Stage[] = [
  {
    name: 'fuzz',
    what: 'generated requests for ten minutes, with another seed each day',
    run: () => fuzz(['--seconds', '600', '--seed', String(Math.floor(Date.now() / DAY_MS))]),
  },
  { name: 'leaks', what: 'ten minutes of constant load', run: () => tool('lab', ['M13']) },
  { name: 'mail', what: 'a frozen mail server', run: () => tool('lab', ['A6']) },
  {
    name: 'taste',
    what: 'recommendations on generated histories',
    run: () => tool('recommend-eval', ['--generated']),
  },
];
const chosen = options.nightly ? nightlyStages : stages;
const wanted = options.only?.split(',');
const unknown = wanted?.filter((name) => !chosen.some((stage) => stage.name === name)) ?? [];
if (unknown.length > 0) {
  console.error(
    `there is no stage ${unknown.join(', ')}; there are ${chosen.map((stage) => stage.name).join(', ')}`,
  );
  process.exit(64);
}
void main();

async function main(): Promise<void> {
  const results: Array<{ stage: Stage; counts: Counts; seconds: number }> = [];
  for (const stage of chosen) {
    if (wanted && !wanted.includes(stage.name)) continue;
    console.log(`\n── ${stage.name}: ${stage.what}`);
    const started = Date.now();
    const counts = await stage.run();
    results.push({ stage, counts, seconds: (Date.now() - started) / 1_000 });
  }
  rmSync(reports, { recursive: true });

  const total = results.map(({ counts }) => counts).reduce(add, NONE);
  console.log('\nstage      time      passed  failed  skipped');
  for (const { stage, counts, seconds } of results)
    console.log(
      `${stage.name.padEnd(8)} ${seconds.toFixed(1).padStart(6)} s  ${String(counts.passed).padStart(8)} ${String(counts.failed).padStart(7)} ${String(counts.skipped).padStart(8)}`,
    );
  console.log(
    `\nengines: PostgreSQL 18 from npm (real server); events on the PostgreSQL event log; S3: ${hasS3Server() ? 'versitygw built from its sources (real server)' : 'none'}`,
  );
  const skipIsFailure = process.env['REQUIRE_ENGINES'] === '1';
  if (total.skipped > 0)
    console.log(
      `${total.skipped} skipped${skipIsFailure ? ', which REQUIRE_ENGINES=1 counts as a failure' : ''}: see above`,
    );
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 || total.passed === 0 || (skipIsFailure && total.skipped > 0) ? 1 : 0;
}

async function check(command: string, arguments_: string[]): Promise<Counts> {
  const code = await run(command, arguments_);
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/** A tool that says by its exit code whether all is well; 69: something that it needs is not on this machine. */
async function tool(name: string, arguments_: string[]): Promise<Counts> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join('tools', name, 'src', 'main.ts'), ...arguments_],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const code = await new Promise<number | null>((resolve) => child.on('exit', (status) => resolve(status)));
  return {
    passed: code === 0 ? 1 : 0,
    failed: code === 0 || code === 69 ? 0 : 1,
    skipped: code === 69 ? 1 : 0,
  };
}

/** Every operation counts as a test; skipped where there is no Python for the fuzzer. */
async function fuzz(arguments_: string[]): Promise<Counts> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join('tools', 'fuzz', 'src', 'main.ts'), '--json', ...arguments_],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', (status) => resolve(status)));
  if (code === 69) return { passed: 0, failed: 0, skipped: 1 };
  if (output === '') return { passed: 0, failed: 1, skipped: 0 };
  const { runs } = JSON.parse(output) as {
    runs: Array<{ passed: boolean; operations: number; violating: number; output: string }>;
  };
  for (const { passed, output: text } of runs) if (!passed) console.log(text);
  const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
  const violating = sum(runs.map((each) => each.violating));
  return {
    passed: sum(runs.map(({ operations }) => operations)) - violating,
    failed: violating === 0 && code !== 0 ? 1 : violating,
    skipped: 0,
  };
}

async function protos(): Promise<Counts> {
  const before = await generatedCode();
  const checks = [
    await check('buf', ['lint']),
    await check('buf', ['breaking', '--against', `.git#ref=${publishedCommit()}`]),
    await check('buf', ['generate']),
  ];
  const current = (await generatedCode()) === before;
  if (!current) console.error('the generated code was not current: commit what `npx buf generate` wrote');
  return [...checks, { passed: current ? 1 : 0, failed: current ? 0 : 1, skipped: 0 }].reduce(add, NONE);
}

/** The commit that others build on, whose protos must stay readable: where this branch left main, else the last commit. */
function publishedCommit(): string {
  const { status, stdout } = spawnSync('git', ['merge-base', 'HEAD', 'origin/main'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'HEAD';
}

/** Without an engine its tests are skipped, which the unit stage counts. */
function engines(): Promise<Counts> {
  const problem = installS3Server();
  console.log(
    problem === undefined ? 'the S3 server is there' : `no S3 server, its tests will be skipped: ${problem}`,
  );
  return Promise.resolve(
    problem === undefined ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 0, skipped: 1 },
  );
}

async function generatedCode(): Promise<string> {
  const { readdir, readFile } = await import('node:fs/promises');
  const directory = join('libs', 'contracts', 'src', 'gen');
  const files = (await readdir(directory, { recursive: true })).filter((file) => file.endsWith('.ts')).sort();
  return (
    await Promise.all(files.map(async (file) => `${file}\n${await readFile(join(directory, file), 'utf8')}`))
  ).join('\n');
}

async function jest(name: string, arguments_: string[]): Promise<Counts> {
  const report = join(reports, `${name}.json`);
  const code = await run('jest', [...arguments_, '--ci', '--json', `--outputFile=${report}`], {
    quietOutput: true,
  });
  try {
    const result = JSON.parse(readFileSync(report, 'utf8')) as {
      numPassedTests: number;
      numFailedTests: number;
      numPendingTests: number;
      numTodoTests: number;
      numRuntimeErrorTestSuites: number;
    };
    const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
    return {
      passed: result.numPassedTests,
      failed: failed === 0 && code !== 0 ? 1 : failed,
      skipped: result.numPendingTests + result.numTodoTests,
    };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

/** Runs a tool of node_modules/.bin; with `quietOutput` only its standard error is shown (jest's report goes there). */
function run(command: string, arguments_: string[], { quietOutput = false } = {}): Promise<number | null> {
  const child = spawn(join('node_modules', '.bin', command), arguments_, {
    stdio: ['ignore', quietOutput ? 'ignore' : 'inherit', 'inherit'],
    env: { ...process.env, NX_DAEMON: 'false', FORCE_COLOR: '0' },
  });
  return new Promise((resolve) => child.on('exit', (code) => resolve(code)));
}
