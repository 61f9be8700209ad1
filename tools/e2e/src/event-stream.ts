/** One server-sent event. */
export interface StreamedEvent {
  event: string;
  id: string;
  data: string;
}

/**
 * Opens a stream of server-sent events. `events` ends when the server closes the stream; `close` ends it from this side.
 * Comments (heartbeats) are left out.
 */
export async function openEventStream(
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; contentType: string; events: AsyncIterable<StreamedEvent>; close(): void }> {
  const abort = new AbortController();
  const response = await fetch(url, {
    headers: { accept: 'text/event-stream', ...headers },
    signal: abort.signal,
  });
  async function* events(): AsyncGenerator<StreamedEvent> {
    let pending = '';
    const text = response.body?.pipeThrough(new TextDecoderStream()) ?? [];
    try {
      for await (const chunk of text as AsyncIterable<string>) {
        const blocks = (pending + chunk).split('\n\n');
        pending = blocks.pop()!;
        for (const block of blocks) {
          const field = (name: string) =>
            block
              .split('\n')
              .filter((line) => line.startsWith(`${name}:`))
              .map((line) => line.slice(name.length + 1).trimStart())
              .join('\n');
          if (field('data') !== '') yield { event: field('event'), id: field('id'), data: field('data') };
        }
      }
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
  }
  return {
    status: response.status,
    contentType: response.headers.get('content-type') ?? '',
    events: events(),
    close: () => abort.abort(),
  };
}
