import { fault, problemOf, type Problem } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import type { FastifyReply } from 'fastify';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';

export const PROBLEM_TYPE = 'application/problem+json';

/** The fault behind anything thrown while a request was served. What is not known is a fault of our own: INTERNAL. */
export function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return withoutInternals(error);
  const { code = '', statusCode = 500 } = (error ?? {}) as { code?: string; statusCode?: number };
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return fault('BODY_TOO_LARGE', { cause: error });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return fault('MEDIA_TYPE_UNSUPPORTED', { cause: error });
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return fault('NOT_FOUND', { cause: error });
  }
  // The framework marks a body that ended early or disagrees with its length as the client's error.
  if (statusCode >= 400 && statusCode < 500)
    return fault('BODY_MALFORMED', { detail: 'the body could not be read', cause: error });
  return fault('INTERNAL', { cause: error });
}

/** Failures of the inside are told without naming what is inside, and always say when to come back. */
function withoutInternals(error: Fault): Fault {
  const temporary = error.kind === 'unavailable' || error.kind === 'timeout' || error.kind === 'overloaded';
  if (!temporary) return error;
  return new Fault(error.kind, error.code, {
    cause: error,
    retryAfterSeconds: error.retryAfterSeconds ?? 1,
    ...(error.code === 'CONSISTENCY_TIMEOUT' && error.detail ? { detail: error.detail } : {}),
  });
}

/** Answers with the problem document of a fault and the headers that go with it. */
export function sendProblem(reply: FastifyReply, error: Fault, requestId: string): Problem {
  const problem = problemOf(error, requestId);
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  if (problem.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer');
  // Whoever is still sending a body would lose the answer with a connection that closes at once: see `lingerOn`.
  if (reply.request.raw.complete === false) reply.removeHeader('connection');
  reply.header('cache-control', 'no-store');
  reply.code(problem.status).type(PROBLEM_TYPE).serializer(JSON.stringify);
  return problem;
}

/** Answers bytes that are no HTTP request, below the framework, and ends the connection. */
export function refuseConnection(socket: Socket, requestId: string, detail: string): void {
  if (!socket.writable) return void socket.destroy();
  const problem = problemOf(fault('VALIDATION_FAILED', { detail }), requestId);
  const body = JSON.stringify(problem);
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      `content-type: ${PROBLEM_TYPE}`,
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestId}`,
      'cache-control: no-store',
      'connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}
