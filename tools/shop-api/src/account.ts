import { Bulkhead, type Clock } from '@headroom/resilience';
import { UnexpectedAnswer, type Answer, type Http } from './http';

interface Page<T> {
  items: T[];
  page: { nextCursor: string | null };
}

/** Somebody who is signed in for as long as the run takes. */
export interface Account {
  /** A call in this account's name; a token that is about to end, or was refused, is renewed first. */
  call<T>(
    method: string,
    path: string,
    options?: { body?: unknown; idempotencyKey?: string },
  ): Promise<Answer<T>>;
  /** An access token that holds for some minutes yet. */
  token(): Promise<string>;
  /** Every item of a list, page after page, for as long as `wanted` says so of the last item of a page. */
  list<T>(path: string, wanted?: (last: T) => boolean): AsyncGenerator<T>;
}

interface Session {
  accessToken: string;
  refreshToken: string;
  expiresInSeconds: number;
}

/** Signs in; fails with an UnexpectedAnswer where e-mail or password is wrong. */
export async function signIn(
  http: Http,
  clock: Clock,
  credentials: { email: string; password: string },
): Promise<Account> {
  const open = async () => {
    const answer = await http.call<Session>('POST', '/v1/sessions', { body: credentials });
    if (answer.status !== 201) throw new UnexpectedAnswer(`sign-in of ${credentials.email}`, answer);
    return { session: answer.body, renewAtMs: renewalOf(answer.body) };
  };
  const renewalOf = (session: Session) => clock.now() + session.expiresInSeconds * 800;
  const renew = async ({ session }: { session: Session }) => {
    const answer = await http.call<Session>('POST', '/v1/sessions/refresh', {
      body: { refreshToken: session.refreshToken },
    });
    // A refresh whose answer was lost cannot be repeated for long: the password always can.
    return answer.status === 200 ? { session: answer.body, renewAtMs: renewalOf(answer.body) } : open();
  };

  let current = await open();
  let renewing: Promise<unknown> | undefined;
  const renewed = (stale: Session) => {
    if (current.session !== stale) return undefined; // somebody else has renewed it meanwhile
    renewing ??= renew(current)
      .then((next) => (current = next))
      .finally(() => (renewing = undefined));
    return renewing;
  };

  const account: Account = {
    async call<T>(method: string, path: string, options: { body?: unknown; idempotencyKey?: string } = {}) {
      await account.token();
      const { session } = current;
      const answer = await http.call<T>(method, path, { ...options, token: session.accessToken });
      if (answer.status !== 401) return answer;
      await renewed(session);
      return http.call<T>(method, path, { ...options, token: current.session.accessToken });
    },
    async token() {
      if (clock.now() >= current.renewAtMs) await renewed(current.session);
      return current.session.accessToken;
    },
    async *list<T>(path: string, wanted: (last: T) => boolean = () => true) {
      const joint = path.includes('?') ? '&' : '?';
      for (let cursor: string | null = ''; cursor !== null;) {
        const from: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const answer: Answer<Page<T>> = await account.call<Page<T>>('GET', `${path}${joint}limit=100${from}`);
        if (answer.status !== 200) throw new UnexpectedAnswer(`GET ${path}`, answer);
        yield* answer.body.items;
        const last = answer.body.items.at(-1);
        cursor = last !== undefined && wanted(last) ? answer.body.page.nextCursor : null;
      }
    },
  };
  return account;
}

/** The code of a problem document, or undefined. */
export function codeOf({ body }: Answer<unknown>): string | undefined {
  return (body as { code?: string } | undefined)?.code;
}

/** Runs `work` for every item, so many at a time; the first failure ends it, after those under way. */
export async function inParallel<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const slots = new Bulkhead({ concurrency, queue: Infinity });
  let failed = false;
  const results = await Promise.allSettled(
    items.map((item) =>
      slots.run(async () => {
        if (failed) return;
        try {
          await work(item);
        } catch (error) {
          failed = true;
          throw error;
        }
      }),
    ),
  );
  const failure = results.find((result) => result.status === 'rejected');
  if (failure) throw failure.reason;
}
