/** What a job's row holds: the caller's payload and what the library must know of it. */
export interface Envelope {
  payload: unknown;
  /** W3C trace context of the span that enqueued it. */
  traceparent?: string;
  /** The tracked job that it works for. */
  trackedJobId?: string;
}

const MAX_PAYLOAD_BYTES = 256 * 1024;

/** Refuses what belongs into a file or table: a job names its input, it does not carry it. */
export function assertPayloadSize(queue: string, payload: unknown): void {
  const bytes = Buffer.byteLength(JSON.stringify(payload) ?? '');
  if (bytes > MAX_PAYLOAD_BYTES)
    throw new RangeError(
      `the payload of a job of ${queue} has ${bytes} bytes, at most ${MAX_PAYLOAD_BYTES} are allowed`,
    );
}
