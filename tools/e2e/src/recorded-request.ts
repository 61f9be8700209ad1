import { request as httpRequest } from 'node:http';
import createClient, { type Client } from 'openapi-fetch';
import type { CheckedAnswer } from './answer-checker';
import type { paths } from './gen/api';

/** A request that can be sent as it is, or changed first. */
export interface RecordedRequest {
  method: string;
  /** With its query. */
  path: string;
  headers: Record<string, string>;
  body?: Uint8Array<ArrayBuffer>;
}

/**
 * The request that a call of the typed client makes, without sending it: what is wrong in a test starts from what compiles
 * against the document.
 */
export async function recorded(call: (api: Client<paths>) => Promise<unknown>): Promise<RecordedRequest> {
  let found: RecordedRequest | undefined;
  const api = createClient<paths>({
    baseUrl: 'http://recorded.invalid',
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      const body = new Uint8Array(await request.arrayBuffer());
      found = {
        method: request.method,
        path: pathname + search,
        headers: Object.fromEntries(request.headers),
        ...(body.length > 0 ? { body } : {}),
      };
      return new Response(null, { status: 204 });
    },
  });
  await call(api);
  if (!found) throw new Error('the call made no request');
  return found;
}

/** A body of `sizeBytes` whose length is not announced: `head`, then blanks. */
export async function* unannounced(sizeBytes: number, head = new Uint8Array()): AsyncGenerator<Uint8Array> {
  yield head;
  const piece = new Uint8Array(64 * 1024).fill(0x20);
  for (let sent = head.length; sent < sizeBytes; sent += piece.length) yield piece;
}

const PATIENCE_MS = 30_000;

/** Sends a request and reads the whole answer. */
export async function send(
  base: string,
  { method, path, headers, body }: RecordedRequest,
): Promise<CheckedAnswer> {
  const response = await fetch(`${base}${path}`, {
    method,
    headers,
    redirect: 'manual',
    signal: AbortSignal.timeout(PATIENCE_MS),
    ...(body && method !== 'HEAD' && method !== 'GET' ? { body } : {}),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Announces a body of `sizeBytes` of which not one byte follows, and gives the answer to that. */
export function announce(base: string, request: RecordedRequest, sizeBytes: number): Promise<CheckedAnswer> {
  const { method, path, headers } = request;
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      `${base}${path}`,
      { method, headers: { ...headers, 'content-length': String(sizeBytes) }, timeout: PATIENCE_MS },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => {
          const pairs = Object.entries(answer.headers).map(([name, value]): [string, string] => [
            name,
            String(value),
          ]);
          resolve({ status: answer.statusCode!, headers: new Headers(pairs), text });
          outgoing.destroy();
        });
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer to the headers')));
    outgoing.on('error', reject);
    outgoing.flushHeaders();
  });
}
