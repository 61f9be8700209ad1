import { trace } from '@opentelemetry/api';
import pino from 'pino';

/** Members that a log line may carry beside its message. An allow-list: whole payloads and secrets never fit in. */
export interface LogFields {
  err?: unknown;
  requestId?: string | undefined;
  method?: string | undefined;
  route?: string | undefined;
  status?: number | string | undefined;
  durationMs?: number | undefined;
  statement?: string | undefined;
  topic?: string | undefined;
  partition?: number | undefined;
  offset?: string | number | undefined;
  group?: string | undefined;
  key?: string | undefined;
  eventId?: string | undefined;
  eventType?: string | undefined;
  orderId?: string | undefined;
  productId?: string | undefined;
  userId?: string | undefined;
  count?: number | undefined;
  attempt?: number | undefined;
  name?: string | undefined;
  port?: number | undefined;
  reason?: string | undefined;
}

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** JSON lines on standard output: `time, level, service, msg`, the fields, and `traceId`/`spanId` inside a span. */
export function createLogger(service: string, level: LogLevel = 'info'): Logger {
  const log = pino(
    {
      level,
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      mixin() {
        const span = trace.getActiveSpan()?.spanContext();
        return span ? { traceId: span.traceId, spanId: span.spanId } : {};
      },
    },
    standardOutput(),
  );
  return {
    debug: (message, fields) => log.debug(fields ?? {}, message),
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
  };
}

/**
 * Standard output as a plain stream: written at once, and given up silently when nobody reads it any more. pino's own
 * destination tries such a write again for ever when the process exits (measured: a service that outlived its starter).
 */
function standardOutput(): NodeJS.WriteStream {
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined);
  return process.stdout;
}

/** For tests and for tools that print for people. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Type, message, code, stack and causes of an error: never its other members, which may be clients, rows or values. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  };
}
