import { backoffMs, type Clock } from '@headroom/resilience';

/** An answer of the API. */
export interface Answer<T> {
  status: number;
  body: T;
}

/** What a call may have beside its method and path. */
export interface CallOptions {
  body?: unknown;
  token?: string;
  /** Makes the call safe to repeat with one effect. */
  idempotencyKey?: string;
}

/** A call that was given up: the API cannot be reached, or kept saying that it is busy. */
export class GaveUp extends Error {}

/** An answer that the caller has no use for, with what the API says about it. */
export class UnexpectedAnswer extends Error {
  constructor(
    what: string,
    readonly answer: Answer<unknown>,
  ) {
    super(`${what} answered ${describeAnswer(answer)}`);
  }
}

/** `status CODE: detail` of a problem document. */
export function describeAnswer({ status, body }: Answer<unknown>): string {
  const { code, detail, errors } = (body ?? {}) as {
    code?: string;
    detail?: string;
    errors?: Array<{ path: string; message: string }>;
  };
  const members = errors?.map(({ path, message }) => `${path} ${message}`).join('; ');
  return [`${status}${code ? ` ${code}` : ''}`, members || detail].filter(Boolean).join(': ');
}

/** Counts of what had to be tried again, by cause (a status, or `network`). */
export type Retries = Map<string, number>;

export interface HttpOptions {
  clock: Clock;
  /** One answer may take so long, default 30,000 ms. */
  timeoutMs?: number;
  /** A call is tried again for so long after its first try, default 120,000 ms. */
  patienceMs?: number;
  random?: () => number;
}

/** One API behind one address. */
export interface Http {
  retries: Retries;
  /**
   * Sends a request; 429, 502, 503, 504, a key still in flight and a broken or silent connection are tried again, with the
   * same key, after what `Retry-After` asks or after a growing pause. Every other answer is returned. Fails with GaveUp.
   */
  call<T>(method: string, path: string, options?: CallOptions): Promise<Answer<T>>;
}

export function createHttp(base: string, options: HttpOptions): Http {
  const { clock, timeoutMs = 30_000, patienceMs = 120_000 } = options;
  const retries: Retries = new Map();

  const once = async (method: string, path: string, { body, token, idempotencyKey }: CallOptions) => {
    const response = await fetch(`${base}${path}`, {
      method,
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
      retryAfterMs: Number(response.headers.get('retry-after') ?? 0) * 1_000 || 0,
    };
  };

  return {
    retries,
    async call<T>(method: string, path: string, callOptions: CallOptions = {}) {
      const start = clock.now();
      for (let attempt = 1; ; attempt += 1) {
        let cause: string;
        let said: string;
        let pauseMs = backoffMs(attempt, {
          baseMs: 200,
          capMs: 5_000,
          ...(options.random ? { random: options.random } : {}),
        });
        try {
          const answer = await once(method, path, callOptions);
          if (!isBusy(answer)) return answer as Answer<T>;
          cause = String(answer.status);
          said = describeAnswer(answer);
          pauseMs = Math.max(pauseMs, answer.retryAfterMs);
        } catch (error) {
          cause = 'network';
          said = reasonOf(error);
        }
        if (clock.now() - start + pauseMs > patienceMs)
          throw new GaveUp(
            `${method} ${base}${path} was given up after ${attempt} tries: ${said} (to be tried again in ${Math.ceil(pauseMs / 1_000)} s)`,
          );
        retries.set(cause, (retries.get(cause) ?? 0) + 1);
        await clock.sleep(pauseMs);
      }
    },
  };
}

function isBusy({ status, body }: Answer<unknown>): boolean {
  const inFlight =
    status === 409 && (body as { code?: string } | undefined)?.code === 'IDEMPOTENCY_IN_FLIGHT';
  return inFlight || [429, 502, 503, 504].includes(status);
}

/** What a person needs of a failed fetch: its cause, not "fetch failed". */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause as { code?: string; message?: string } | undefined;
  return cause?.code ?? cause?.message ?? error.message;
}
