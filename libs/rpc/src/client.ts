import {
  Client,
  credentials,
  Metadata,
  type ClientOptions,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { Fault } from '@headroom/resilience';
import { currentTraceparent, durationHistogram, inSpan } from '@headroom/telemetry';
import { currentCall } from './call-context';
import { statusToFault } from './fault-status';
import type { AnyService, Callers } from './service-types';

export interface CallOptions {
  /** Own cap in milliseconds; the caller's remaining time, less a margin, may be shorter. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export type RpcClient<S> = Callers<S, CallOptions> & {
  /** Resolves when a connection stands, rejects after `timeoutMs`. */
  connected(timeoutMs: number): Promise<void>;
  close(): void;
};

const observe = durationHistogram({
  name: 'grpc_client_handling_seconds',
  help: 'Time of an outgoing gRPC call with its retries, by method and outcome',
  labels: ['method', 'outcome'],
});

/** Kept back from the caller's remaining time, so that its answer still arrives. */
const DEADLINE_MARGIN_MS = 50;

/**
 * A typed client of one service. Every call has a deadline, carries request id, access token and trace of the request
 * being served, and fails with a Fault. Calls that find no server (UNAVAILABLE) are repeated up to twice by the channel
 * under a retry budget (gRPC retry throttling: one retry per ten calls once the first tokens are spent), except the
 * methods in `neverRetry`, whose repetition is not harmless.
 */
export function createRpcClient<S extends AnyService>(
  definition: S,
  options: { address: string; timeoutMs?: number; neverRetry?: ReadonlyArray<keyof S & string> },
): RpcClient<S> {
  const retried = Object.entries(definition).filter(
    ([method, { responseStream }]) => !responseStream && !options.neverRetry?.includes(method),
  );
  const channelOptions: ClientOptions = {
    'grpc.service_config': JSON.stringify({
      loadBalancingConfig: [{ round_robin: {} }],
      methodConfig: [
        {
          name: retried.map(([, { path }]) => ({ service: path.split('/')[1], method: path.split('/')[2] })),
          retryPolicy: {
            maxAttempts: 3,
            initialBackoff: '0.05s',
            maxBackoff: '0.5s',
            backoffMultiplier: 2,
            retryableStatusCodes: ['UNAVAILABLE'],
          },
        },
      ],
      retryThrottling: { maxTokens: 10, tokenRatio: 0.1 },
    }),
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 2_000,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
    'grpc.dns_min_time_between_resolutions_ms': 5_000,
    'grpc.max_receive_message_length': 8 * 1024 * 1024,
  };
  const client = new Client(options.address, credentials.createInsecure(), channelOptions);
  const callers: Record<string, unknown> = {
    connected: (timeoutMs: number) =>
      new Promise<void>((resolve, reject) =>
        client.waitForReady(Date.now() + timeoutMs, (error) =>
          error
            ? reject(
                new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
                  cause: error,
                  detail: `no connection to ${options.address}`,
                }),
              )
            : resolve(),
        ),
      ),
    close: () => client.close(),
  };
  for (const [method, { path, responseStream, requestSerialize, responseDeserialize }] of Object.entries(
    definition,
  ) as Array<[string, MethodDefinition<unknown, unknown>]>) {
    callers[method] = responseStream
      ? (request: unknown, call: CallOptions = {}) =>
          streamResponses(
            () =>
              client.makeServerStreamRequest(
                path,
                requestSerialize,
                responseDeserialize,
                request,
                callMetadata(),
                {},
              ),
            path,
            call.signal,
          )
      : (request: unknown, call: CallOptions = {}) =>
          unary(
            path,
            Math.min(call.timeoutMs ?? options.timeoutMs ?? 5_000, remainingMs()),
            call.signal,
            (metadata, deadline, done) =>
              client.makeUnaryRequest(
                path,
                requestSerialize,
                responseDeserialize,
                request,
                metadata,
                { deadline },
                done,
              ),
          );
  }
  return callers as RpcClient<S>;
}

function remainingMs(): number {
  const call = currentCall();
  return call ? Math.max(0, call.deadlineAt - Date.now() - DEADLINE_MARGIN_MS) : Number.POSITIVE_INFINITY;
}

function callMetadata(): Metadata {
  const metadata = new Metadata();
  const call = currentCall();
  const traceparent = currentTraceparent();
  if (call) metadata.set('x-request-id', call.requestId);
  if (call?.accessToken) metadata.set('authorization', `Bearer ${call.accessToken}`);
  if (traceparent) metadata.set('traceparent', traceparent);
  return metadata;
}

async function unary(
  path: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  send: (
    metadata: Metadata,
    deadline: number,
    done: (error: ServiceError | null, reply?: unknown) => void,
  ) => { cancel(): void },
): Promise<unknown> {
  const start = performance.now();
  let outcome = 'ok';
  try {
    return await inSpan(
      `grpc ${path}`,
      { kind: 'client', attributes: { 'rpc.system': 'grpc', 'rpc.method': path } },
      () =>
        new Promise((resolve, reject) => {
          if (timeoutMs <= 0)
            return reject(
              new Fault('timeout', 'DEPENDENCY_UNAVAILABLE', {
                detail: `no time left to call ${path}`,
                retryAfterSeconds: 1,
              }),
            );
          const cancel = () => call.cancel();
          const call = send(callMetadata(), Date.now() + timeoutMs, (error, reply) => {
            signal?.removeEventListener('abort', cancel);
            if (error) reject(statusToFault(error, path));
            else resolve(reply);
          });
          signal?.addEventListener('abort', cancel, { once: true });
        }),
    );
  } catch (error) {
    outcome = error instanceof Fault ? error.kind : 'internal';
    throw error;
  } finally {
    observe({ method: path, outcome }, (performance.now() - start) / 1_000);
  }
}

async function* streamResponses(
  open: () => AsyncIterable<unknown> & { cancel(): void },
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<unknown> {
  const stream = open();
  const cancel = () => stream.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const item of stream) yield item;
  } catch (error) {
    if (!signal?.aborted) throw statusToFault(error as ServiceError, path);
  } finally {
    signal?.removeEventListener('abort', cancel);
    stream.cancel();
  }
}
