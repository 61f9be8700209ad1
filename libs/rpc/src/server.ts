import {
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedHandleCall,
} from '@grpc/grpc-js';
import { Fault } from '@headroom/resilience';
import { durationHistogram, inSpan, type Logger } from '@headroom/telemetry';
import { HealthImplementation } from 'grpc-health-check';
import { randomUUID } from 'node:crypto';
import { unauthenticated, type Principal, type TokenVerifier } from './access-token';
import { withCallContext } from './call-context';
import { faultToStatus } from './fault-status';
import type { AnyService, Handlers } from './service-types';

/** The call being served, as its handler sees it. */
export interface ServerCall {
  /** Aborts when the caller gave up or its deadline passed. */
  signal: AbortSignal;
  /** True when the caller's channel sends this again because a connection broke: an earlier try may still be at work. */
  isRetry: boolean;
  /** The verified caller; throws `unauthenticated` when the call carries no valid access token. */
  principal(): Promise<Principal>;
  /** As `principal`, and throws `forbidden` unless its role is admin. */
  admin(): Promise<Principal>;
}

export interface GrpcService {
  name: string;
  definition: AnyService;
  handlers: Record<string, (request: unknown, call: ServerCall) => unknown>;
}

/** Ties handlers to a generated service definition; the compiler checks that none is missing. */
export function implement<S extends AnyService>(
  name: string,
  definition: S,
  handlers: Handlers<S, ServerCall>,
): GrpcService {
  return { name, definition, handlers: handlers as unknown as GrpcService['handlers'] };
}

const observe = durationHistogram({
  name: 'grpc_server_handling_seconds',
  help: 'Time to serve a gRPC call, by method and status code',
  labels: ['method', 'code'],
});

/** Calls without a deadline get this one: nothing is served for ever. */
const DEFAULT_DEADLINE_MS = 10_000;

/**
 * Serves gRPC with deadlines, faults, spans, metrics and the standard health service. Connections live 60 s (with grace
 * for calls under way), so that balancing clients find new replicas. `close` lets calls finish for `graceMs` (default
 * 5 s), then cuts them off.
 */
export async function serveGrpc(options: {
  host: string;
  port: number;
  services: readonly GrpcService[];
  verifyToken?: TokenVerifier;
  logger: Logger;
  graceMs?: number;
}): Promise<{ port: number; close(): Promise<void> }> {
  const server = new Server({
    'grpc.max_connection_age_ms': 60_000,
    'grpc.max_connection_age_grace_ms': 30_000,
    'grpc.max_receive_message_length': 8 * 1024 * 1024,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 2_000,
  });
  for (const service of options.services) {
    const implementation: Record<string, UntypedHandleCall> = {};
    for (const [method, definition] of Object.entries(service.definition)) {
      const handler = service.handlers[method]!;
      implementation[method] = definition.responseStream
        ? streamHandler(definition.path, handler, options)
        : unaryHandler(definition.path, handler, options);
    }
    server.addService(service.definition, implementation);
  }
  const health = new HealthImplementation(
    Object.fromEntries(
      ['', ...options.services.map((service) => service.name)].map((name) => [name, 'SERVING' as const]),
    ),
  );
  health.addToServer(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${options.host}:${options.port}`, ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return {
    port,
    async close() {
      for (const name of ['', ...options.services.map((service) => service.name)])
        health.setStatus(name, 'NOT_SERVING');
      const forced = setTimeout(() => server.forceShutdown(), options.graceMs ?? 5_000);
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      clearTimeout(forced);
    },
  };
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;
interface HandlerOptions {
  verifyToken?: TokenVerifier;
  logger: Logger;
}

/** Everything that unary and streaming calls share: context, span, metric, log line of a failure. */
async function serve<T>(
  path: string,
  call: AnyCall,
  options: HandlerOptions,
  work: (serverCall: ServerCall) => Promise<T>,
): Promise<T> {
  const header = (name: string) => call.metadata.get(name)[0]?.toString();
  const abort = new AbortController();
  call.on('cancelled', () => abort.abort());
  const deadline = call.getDeadline();
  const deadlineAt = Math.min(Number(deadline), Date.now() + 3_600_000);
  const accessToken = header('authorization')?.replace(/^Bearer /, '');
  const requestId = header('x-request-id') ?? randomUUID();
  let principal: Promise<Principal> | undefined;
  const verified = () => {
    if (!accessToken || !options.verifyToken) throw unauthenticated('an access token is required');
    return (principal ??= options.verifyToken(accessToken));
  };
  const serverCall: ServerCall = {
    signal: abort.signal,
    isRetry: header('grpc-previous-rpc-attempts') !== undefined,
    principal: async () => verified(),
    async admin() {
      const found = await verified();
      if (found.role !== 'admin')
        throw new Fault('forbidden', 'FORBIDDEN', { detail: 'this needs the role admin' });
      return found;
    },
  };
  const start = performance.now();
  let code: number = status.OK;
  try {
    return await inSpan(
      `grpc ${path}`,
      {
        kind: 'server',
        traceparent: header('traceparent'),
        attributes: { 'rpc.system': 'grpc', 'rpc.method': path, 'headroom.request_id': requestId },
      },
      () =>
        withCallContext(
          {
            deadlineAt: Number.isFinite(deadlineAt) ? deadlineAt : Date.now() + DEFAULT_DEADLINE_MS,
            requestId,
            accessToken,
          },
          async () => {
            try {
              return await work(serverCall);
            } catch (error) {
              if (!(error instanceof Fault) || error.kind === 'internal')
                options.logger.error('call failed', { err: error, method: path, requestId });
              throw error;
            }
          },
        ),
    );
  } catch (error) {
    code = faultToStatus(error).code ?? status.UNKNOWN;
    throw error;
  } finally {
    observe({ method: path, code: status[code] ?? 'UNKNOWN' }, (performance.now() - start) / 1_000);
  }
}

function unaryHandler(
  path: string,
  handler: (request: unknown, call: ServerCall) => unknown,
  options: HandlerOptions,
) {
  return (call: ServerUnaryCall<unknown, unknown>, respond: sendUnaryData<unknown>) => {
    serve(path, call, options, async (serverCall) => handler(call.request, serverCall)).then(
      (reply) => respond(null, reply),
      (error: unknown) => respond(faultToStatus(error), null),
    );
  };
}

function streamHandler(
  path: string,
  handler: (request: unknown, call: ServerCall) => unknown,
  options: HandlerOptions,
) {
  return (call: ServerWritableStream<unknown, unknown>) => {
    serve(path, call, options, async (serverCall) => {
      for await (const item of handler(call.request, serverCall) as AsyncIterable<unknown>) {
        if (serverCall.signal.aborted) return;
        if (!call.write(item)) await drained(call, serverCall.signal);
      }
    }).then(
      () => call.end(),
      (error: unknown) => call.emit('error', faultToStatus(error)),
    );
  };
}

/** Waits until a slow reader has taken what was written, or is gone. */
function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const finish = () => {
      call.off('drain', finish);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    call.once('drain', finish);
    signal.addEventListener('abort', finish, { once: true });
  });
}
