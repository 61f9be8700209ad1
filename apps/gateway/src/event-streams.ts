import { fault } from '@headroom/contracts';
import type { Clock } from '@headroom/resilience';
import type { FastifyReply } from 'fastify';
import { once } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http';

/** One open stream of server-sent events, as its writer sees it. */
export interface EventStream {
  /** Aborts when the reader has gone or the stream must end. */
  signal: AbortSignal;
  /** Resolves when the reader can take more: a slow reader holds its writer back. */
  send(event: { event: string; id: string; data: string }): Promise<void>;
}

export interface EventStreams {
  /**
   * Answers with server-sent events until `write` returns, the reader goes, or `mayGoOn` (asked every second) denies. A
   * comment every 15 s keeps the connection alive. Throws OVERLOADED before the answer when too many streams are open.
   */
  serve(
    reply: FastifyReply,
    options: { mayGoOn: () => Promise<boolean>; onOpen?: () => void },
    write: (stream: EventStream) => Promise<void>,
  ): Promise<void>;
  /** Ends every stream: readers come back by themselves, to another gateway. */
  closeAll(): void;
  readonly open: number;
}

export const EVENT_STREAM_TYPE = 'text/event-stream';
const HEARTBEAT_MS = 15_000;
const CHECK_MS = 1_000;

/** The server-sent event streams of one process, at most `limit` at once. */
export function createEventStreams(options: { clock: Clock; limit?: number }): EventStreams {
  const { clock, limit = 10_000 } = options;
  const streams = new Set<AbortController>();
  let closing = false;
  return {
    get open() {
      return streams.size;
    },
    async serve(reply, { mayGoOn, onOpen }, write) {
      if (closing || streams.size >= limit) throw fault('OVERLOADED', { retryAfterSeconds: 1 });
      const end = new AbortController();
      streams.add(end);
      reply.hijack();
      const { raw } = reply;
      raw.on('close', () => end.abort());
      raw.writeHead(200, {
        ...(reply.getHeaders() as OutgoingHttpHeaders),
        'content-type': EVENT_STREAM_TYPE,
        'cache-control': 'no-store',
        'x-accel-buffering': 'no', // or a proxy in front would hold events back
      });
      raw.write('retry: 1000\n\n');
      onOpen?.();
      const watched = watch(end, mayGoOn, () => {
        if (!raw.writableNeedDrain) raw.write(': still here\n\n');
      });
      try {
        await write({
          signal: end.signal,
          async send({ event, id, data }) {
            if (end.signal.aborted) return;
            if (!raw.write(`event: ${event}\nid: ${id}\ndata: ${data}\n\n`))
              await once(raw, 'drain', { signal: end.signal }).catch(() => undefined);
          },
        });
      } finally {
        end.abort();
        streams.delete(end);
        raw.end();
        await watched;
      }
    },
    closeAll() {
      closing = true;
      for (const stream of streams) stream.abort();
    },
  };

  async function watch(end: AbortController, mayGoOn: () => Promise<boolean>, beat: () => void) {
    let beatAt = clock.now();
    for (;;) {
      await clock.sleep(CHECK_MS, end.signal);
      if (end.signal.aborted) return;
      if (!(await mayGoOn().catch(() => false))) return end.abort();
      if (clock.now() - beatAt >= HEARTBEAT_MS) {
        beatAt = clock.now();
        beat();
      }
    }
  }
}
