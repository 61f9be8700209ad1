import type { Clock } from '@headroom/resilience';
import { readRunning } from '@headroom/start';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { signIn, type Account } from './account';
import { reasonOf, UnexpectedAnswer, type Http } from './http';

/** The command cannot go on with what it was given: the message says what to do, the code is the exit code. */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly exitCode = 64,
  ) {
    super(message);
  }
}

/** The value of an option that takes a URL, without slashes at its end. */
export function addressOption(name: string, value: string): string {
  const valid = URL.canParse(value) && ['http:', 'https:'].includes(new URL(value).protocol);
  if (!valid)
    throw new UsageError(
      `--${name} takes a URL such as http://127.0.0.1:8080, found ${JSON.stringify(value)}`,
    );
  return value.replace(/\/+$/, '');
}

/** The ports of the system that was started last on this data directory, or those that it has by default. */
export function runningPorts(data: string): { gateway: number; payment: number } {
  try {
    return readRunning(data).ports;
  } catch {
    return { gateway: 8080, payment: 8090 };
  }
}

/** The admin's sign-in: from the options, the environment, or what npm start wrote into its data directory. */
export function adminSignIn(
  values: { 'admin-email'?: string | undefined; 'admin-password'?: string | undefined; data: string },
  env: Record<string, string | undefined>,
): { email: string; password: string } {
  const email = values['admin-email'] ?? env['ADMIN_EMAIL'];
  const password = values['admin-password'] ?? env['ADMIN_PASSWORD'];
  if (email && password) return { email, password };
  const file = join(values.data, 'admin.json');
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as { email: string; password: string };
    return { email: email || kept.email, password: password || kept.password };
  } catch {
    throw new UsageError(
      `there is no admin sign-in: start the system with npm start (it keeps one in ${file}), or give --admin-email and --admin-password`,
    );
  }
}

/** Fails at once, with what to do, where nothing answers; later failures are waited out. */
export async function checkSystem(addresses: Record<string, string>): Promise<void> {
  for (const [name, base] of Object.entries(addresses)) {
    const found = await fetch(`${base}/health`, { signal: AbortSignal.timeout(10_000) }).then(
      async (response) => {
        await response.body?.cancel();
        return response.ok ? undefined : `it is not healthy (status ${response.status})`;
      },
      (error: unknown) => reasonOf(error),
    );
    if (found !== undefined)
      throw new UsageError(
        `the ${name} at ${base} cannot be used: ${found}. Start the system with npm start in another terminal, or name another one with --${name}`,
        69,
      );
  }
}

/** Fails, with what to do, where the gateway limits requests: a measurement would count its refusals. */
export async function checkUnlimited(gateway: string): Promise<void> {
  const response = await fetch(`${gateway}/v1/products?limit=1`, { signal: AbortSignal.timeout(10_000) });
  await response.body?.cancel();
  if (response.headers.has('ratelimit-policy'))
    throw new UsageError(
      `the gateway at ${gateway} limits requests (${response.headers.get('ratelimit-policy')}): for a measurement start the system with RATE_LIMITS=off npm start`,
      69,
    );
}

/** Signs the admin in; a refusal says how to name another one. */
export async function signInAdmin(
  http: Http,
  clock: Clock,
  credentials: { email: string; password: string },
): Promise<Account> {
  try {
    return await signIn(http, clock, credentials);
  } catch (error) {
    if (error instanceof UnexpectedAnswer && [400, 401, 403].includes(error.answer.status))
      throw new UsageError(
        `${error.message}. Give the sign-in of this system's admin with --admin-email and --admin-password`,
      );
    throw error;
  }
}
