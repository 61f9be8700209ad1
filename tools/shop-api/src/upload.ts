import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Answer } from './http';

/** A file to be sent as it is. */
export interface Upload {
  url: string;
  method: 'POST' | 'PUT';
  token: string;
  contentType: string;
  body: Readable;
  /** Told how many bytes of the body have been handed to the connection. */
  onSent?(bytes: number): void;
  /** Gives up when nothing was sent or received for so long, default 60,000 ms. */
  idleMs?: number;
}

/**
 * Sends a body of any size with backpressure: no more of it is in memory than the connection takes. An answer that comes
 * before the end of the body (a refusal) is returned, and the rest is not sent. Not repeated by itself: a cut upload has no
 * effect, so the caller may start it again.
 */
export async function upload<T>(options: Upload): Promise<Answer<T>> {
  const { url, method, token, contentType, body, onSent, idleMs = 60_000 } = options;
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  const request = send(url, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': contentType, accept: 'application/json' },
  });
  request.setTimeout(idleMs, () => request.destroy(new Error(`nothing moved for ${idleMs / 1_000} s`)));
  const answered = new Promise<Answer<T>>((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.once('error', reject);
      response.once('end', () => {
        try {
          resolve({ status: response.statusCode!, body: (text === '' ? undefined : JSON.parse(text)) as T });
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
  });
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      onSent?.(chunk.length);
      done(null, chunk);
    },
  });
  // A refusal ends the connection under the sender: what counts then is the answer.
  const sent = pipeline(body, counted, request).catch(() => undefined);
  try {
    return await answered;
  } finally {
    request.destroy();
    await sent;
  }
}
