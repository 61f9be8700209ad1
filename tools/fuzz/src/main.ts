import { startSystem } from '@headroom/e2e';
import { systemClock } from '@headroom/resilience';
import { adminSignIn, createHttp, signInAdmin } from '@headroom/shop-api';
import { parseArgs } from 'node:util';
import { installFuzzer, runFuzzer, type FuzzRun } from './schemathesis';

/**
 * `npm run fuzz`: generated requests against every operation of the API, first as an admin, then as a visitor. Without
 * --gateway a system of its own is started for it.
 */
const { values: options } = parseArgs({
  options: {
    gateway: { type: 'string' },
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    data: { type: 'string', default: '.data' },
    json: { type: 'boolean', default: false },
  },
});
const say = (text: string) => void process.stderr.write(text);

/** These end the session that the run is signed in with. */
const ENDS_SESSION = ['^/v1/sessions$', '^/v1/sessions/current$'];

async function main(): Promise<number> {
  const problem = installFuzzer();
  if (problem !== undefined) {
    say(`the fuzzer cannot run: ${problem}\n`);
    return 69;
  }
  const seconds = Number(options.seconds);
  const seed = Number(options.seed);
  const system =
    options.gateway === undefined
      ? await startSystem({
          arguments: ['--products', '200'],
          env: { LOG_LEVEL: 'warn', RATE_LIMITS: 'off' },
        })
      : undefined;
  try {
    const gateway = system?.gateway ?? options.gateway!;
    const admin = await signInAdmin(
      createHttp(gateway, { clock: systemClock }),
      systemClock,
      system?.admin ?? adminSignIn({ data: options.data }, process.env),
    );
    const onOutput = (text: string) => (options.json ? undefined : say(text));
    const runs: FuzzRun[] = [
      await runFuzzer({
        name: 'admin',
        gateway,
        seconds: Math.ceil(seconds * 0.7),
        seed,
        token: await admin.token(),
        excludedPaths: ENDS_SESSION,
        onOutput,
      }),
      await runFuzzer({
        name: 'visitor',
        gateway,
        seconds: Math.ceil(seconds * 0.3),
        seed,
        excludedPaths: [],
        onOutput,
      }),
    ];
    const failed = runs.filter(({ passed }) => !passed);
    // What the services say while requests make no sense is for whoever looks into a failure.
    if (failed.length > 0 && system) say(`${system.output().slice(-20_000)}\n`);
    if (options.json) process.stdout.write(`${JSON.stringify({ seed, seconds, runs }, null, 2)}\n`);
    for (const { name, passed, operations, violating } of runs)
      say(
        `${name}: ${operations} operations, ${passed ? 'no violation' : `${violating} VIOLATING, see above`}\n`,
      );
    return failed.length === 0 ? 0 : 1;
  } finally {
    await system?.remove();
  }
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    say(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);
