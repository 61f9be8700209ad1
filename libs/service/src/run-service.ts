import { withTimeout } from '@headroom/resilience';
import { collectProcessMetrics, createLogger, startTracing, type Logger } from '@headroom/telemetry';
import {
  choice,
  ConfigError,
  describeConfig,
  integer,
  optionalText,
  parseConfig,
  parsed,
  port,
  text,
  type ConfigOf,
  type ConfigSpec,
} from './config';
import { runHealthChecks, type HealthCheck, type HealthReport } from './health';
import { startOpsServer } from './ops-server';

/** What `runService` itself reads; every service has these beside its own variables. */
export const BASE_CONFIG = {
  LOG_LEVEL: choice(['debug', 'info', 'warn', 'error', 'silent'], { default: 'info' }),
  ROLE: optionalText(),
  BIND_ADDRESS: text({ default: '127.0.0.1' }),
  OPS_PORT: port({ default: 0 }),
  DRAIN_SECONDS: integer({ default: 5, max: 300 }),
  OTEL_EXPORTER_OTLP_ENDPOINT: optionalText(),
  OTEL_TRACES_SAMPLER_ARG: parsed<number>(
    'a ratio from 0 to 1',
    (value) => (Number(value) >= 0 && Number(value) <= 1 ? Number(value) : undefined),
    { default: 1 },
  ),
} satisfies ConfigSpec;

export interface Closeable {
  close(): Promise<unknown> | unknown;
}

/** What a composition root may ask of the process it runs in. */
export interface Life {
  logger: Logger;
  /** Takes ownership of what was just opened; closed in exact reverse order at the end. */
  own<T extends Closeable>(resource: T): T;
  /**
   * Runs `start` when `ROLE` names this role or is unset. What it returns stops before anything owned is closed, in
   * reverse order: consumers and timers first, listeners last.
   */
  role(name: string, start: () => Promise<Closeable> | Closeable): Promise<void>;
  /** Adds a check to the deep `/health`. */
  health(check: HealthCheck): void;
  /** Adds a reason for `/livez` to fail: only for a state that nothing but a restart can mend. */
  live(check: () => string | undefined): void;
  /** Adds a reason for `/readyz` to fail; must be cheap and must not look at a dependency that all replicas share. */
  ready(check: () => string | undefined): void;
  /** All health checks, as `/health` runs them. */
  report(): Promise<HealthReport>;
  /** True from the moment a stop was asked for. */
  draining(): boolean;
}

/** One-off work with a service's own configuration, run as `node main.js <command> [arguments]`, e.g. `migrate`. */
export type Command<S extends ConfigSpec> = (
  config: ConfigOf<S & typeof BASE_CONFIG>,
  context: { logger: Logger; arguments: string[] },
) => Promise<void>;

/** EX_CONFIG of sysexits.h */
const EXIT_CONFIG = 78;
/** EX_USAGE */
const EXIT_USAGE = 64;

/**
 * Runs one service from start to exit; the only place that handles signals.
 *
 * Start: configuration (all problems at once, exit 78), telemetry, operations port, then `compose`. Ready once `compose`
 * returned. Stop (SIGTERM, SIGINT, or the death of a parent that opened an IPC channel): not ready, serve on for
 * DRAIN_SECONDS, stop roles in reverse order, close what is owned in reverse order, flush, exit 0. A second signal, or 25 s
 * without an end, exits 1.
 */
export async function runService<S extends ConfigSpec>(
  name: string,
  spec: S,
  compose: (config: ConfigOf<S & typeof BASE_CONFIG>, life: Life) => Promise<void>,
  commands: Record<string, Command<S>> = {},
): Promise<void> {
  const fullSpec = { ...BASE_CONFIG, ...spec };
  let config: ConfigOf<S & typeof BASE_CONFIG>;
  try {
    config = parseConfig(fullSpec, process.env) as typeof config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exit(EXIT_CONFIG);
  }
  if (process.argv.includes('--print-config')) {
    process.stdout.write(`${describeConfig(fullSpec, config as never)}\n`);
    process.exit(0);
  }
  const base = config as ConfigOf<typeof BASE_CONFIG>;
  const logger = createLogger(name, base.LOG_LEVEL);
  const [commandName, ...commandArguments] = process.argv
    .slice(2)
    .filter((argument) => argument !== '--print-config');
  if (commandName !== undefined) {
    const command = commands[commandName];
    if (!command) {
      process.stderr.write(
        `${name}: there is no command ${JSON.stringify(commandName)}, only ${Object.keys(commands).join(', ') || 'none'}\n`,
      );
      process.exit(EXIT_USAGE);
    }
    try {
      await command(config, { logger, arguments: commandArguments });
      process.exit(0);
    } catch (error) {
      logger.error(`${commandName} failed`, { err: error });
      process.exit(1);
    }
  }
  collectProcessMetrics();
  const tracing = await startTracing({
    service: name,
    otlpEndpoint: base.OTEL_EXPORTER_OTLP_ENDPOINT,
    sampleRatio: base.OTEL_TRACES_SAMPLER_ARG,
  });

  const owned: Closeable[] = [];
  const roles: Array<{ name: string; running: Closeable }> = [];
  const checks: HealthCheck[] = [];
  const liveReasons: Array<() => string | undefined> = [];
  const readyReasons: Array<() => string | undefined> = [];
  const wanted = base.ROLE?.split(',').map((role) => role.trim());
  const known: string[] = [];
  let state: 'starting' | 'ready' | 'draining' = 'starting';
  const first = (reasons: Array<() => string | undefined>) => {
    for (const reason of reasons) {
      const found = reason();
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const life: Life = {
    logger,
    own(resource) {
      owned.push(resource);
      return resource;
    },
    async role(roleName, start) {
      known.push(roleName);
      if (wanted && !wanted.includes(roleName)) return;
      roles.push({ name: roleName, running: await start() });
    },
    health: (check) => void checks.push(check),
    live: (check) => void liveReasons.push(check),
    ready: (check) => void readyReasons.push(check),
    report: () => runHealthChecks(checks),
    draining: () => state === 'draining',
  };

  let signalled = false;
  const stop = async (reason: string, drainSeconds = base.DRAIN_SECONDS, stopBudgetMs = 25_000) => {
    if (signalled) {
      logger.warn('second stop request: exiting at once', { reason });
      process.exit(1);
    }
    signalled = true;
    const hurry = setTimeout(
      () => {
        logger.error('stopping took too long: exiting');
        process.exit(1);
      },
      drainSeconds * 1_000 + stopBudgetMs,
    );
    hurry.unref();
    const wasReady = state === 'ready';
    state = 'draining';
    logger.info('stopping', { reason });
    if (wasReady) await new Promise((resolve) => setTimeout(resolve, drainSeconds * 1_000));
    for (const { name: roleName, running } of roles.reverse())
      await quietly(`role ${roleName}`, () => running.close());
    for (const resource of owned.reverse()) await quietly('resource', () => resource.close());
    await quietly('tracing', () => withTimeout(tracing.close(), 2_000, 'flushing spans'));
    logger.info('stopped');
    process.exit(0);
  };
  const quietly = async (what: string, close: () => unknown) => {
    try {
      await close();
    } catch (error) {
      logger.error(`closing failed: ${what}`, { err: error });
    }
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  if (process.connected) process.on('disconnect', () => void stop('the parent process is gone', 0, 8_000));
  process.on('unhandledRejection', (error) => {
    logger.error('unhandled rejection: exiting', { err: error });
    process.exit(1);
  });

  try {
    const ops = await startOpsServer({
      port: base.OPS_PORT,
      host: base.BIND_ADDRESS,
      live: () => first(liveReasons),
      ready: () => (state === 'ready' ? first(readyReasons) : state),
      health: () => runHealthChecks(checks),
    });
    owned.push({ close: () => ops.server.closeAllConnections() });
    await compose(config, life);
    const unknown = wanted?.filter((role) => !known.includes(role)) ?? [];
    if (unknown.length > 0) {
      process.stderr.write(
        `${name}: configuration is not valid:\n  ROLE: found ${JSON.stringify(unknown.join(','))}, expected one of ${known.join(', ')}\n`,
      );
      process.exit(EXIT_CONFIG);
    }
    if (state === 'starting') state = 'ready';
    logger.info('ready', { port: ops.port });
    if (process.connected) process.send?.({ ready: true, opsPort: ops.port });
  } catch (error) {
    logger.error('start failed', { err: error });
    process.exit(1);
  }
}
