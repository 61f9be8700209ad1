import { fault } from '@headroom/contracts';
import { startPoller, systemClock, type Clock } from '@headroom/resilience';
import { unauthenticated, withCallContext, type Principal, type TokenVerifier } from '@headroom/rpc';
import type { Logger } from '@headroom/telemetry';
import type { UserCalls } from './deps';

export interface Sessions {
  /**
   * The caller behind an Authorization header. Throws UNAUTHENTICATED for a token that does not verify or whose session has
   * ended, DEPENDENCY_UNAVAILABLE while that cannot be known.
   */
  authenticate(authorization: string): Promise<Principal>;
  /** False once the session of a verified caller has ended; throws DEPENDENCY_UNAVAILABLE while that cannot be known. */
  isActive(principal: Principal): Promise<boolean>;
  /** True once all revocations that still matter have been read. */
  loaded(): boolean;
  /** True while revocations arrive as they happen. */
  following(): boolean;
  close(): Promise<void>;
}

/** Access tokens live for 10 minutes; a revocation that is older than that and all skew has nothing left to revoke. */
const KEPT_MS = 11 * 60_000;
/** The stream says something every second; after this silence it counts as lost, and each session is asked about. */
const LOST_AFTER_MS = 4_000;
/** How long the answer about one session holds while the stream is lost. With the silence: less than 5 s more or less. */
const CHECK_HOLDS_MS = 4_000;
const MOST_CHECKS = 10_000;

/**
 * Knows which sessions have ended without a call per request: revocations are followed as a stream, kept for 11 minutes.
 * While the stream is lost the user service is asked per session, at most every 4 s.
 */
export function followSessions(options: {
  verify: TokenVerifier;
  user: Pick<UserCalls, 'watchRevocations' | 'checkSession'>;
  logger: Logger;
  clock?: Clock;
}): Sessions {
  const clock = options.clock ?? systemClock;
  const revokedAt = new Map<string, number>();
  const checks = new Map<string, { at: number; active: Promise<boolean> }>();
  let loaded = false;
  let heardAt = Number.NEGATIVE_INFINITY;
  const following = () => clock.now() - heardAt <= LOST_AFTER_MS;

  const follow = async (stopped: AbortSignal) => {
    const stream = new AbortController();
    const stop = () => stream.abort();
    stopped.addEventListener('abort', stop, { once: true });
    let lastBatchAt = clock.now();
    const watchdog = (async () => {
      while (!stream.signal.aborted) {
        await clock.sleep(1_000, stream.signal);
        if (clock.now() - lastBatchAt > LOST_AFTER_MS) stream.abort();
      }
    })();
    try {
      let caughtUp = false;
      for await (const batch of options.user.watchRevocations({}, { signal: stream.signal })) {
        lastBatchAt = clock.now();
        for (const { sessionId, revokedAtMs } of batch.revocations)
          revokedAt.set(sessionId, Math.max(Number(revokedAtMs), revokedAt.get(sessionId) ?? 0));
        forgetOld();
        caughtUp ||= batch.caughtUp;
        if (caughtUp) {
          if (!following()) options.logger.info('following revocations', { count: revokedAt.size });
          loaded = true;
          heardAt = lastBatchAt;
          checks.clear();
        }
      }
    } finally {
      stream.abort();
      stopped.removeEventListener('abort', stop);
      await watchdog;
    }
    return false;
  };
  const forgetOld = () => {
    for (const [sessionId, at] of revokedAt) if (at < clock.now() - KEPT_MS) revokedAt.delete(sessionId);
  };
  const poller = startPoller({
    round: follow,
    idleMs: 100,
    clock,
    onError: (error) => {
      // A server ends long connections from time to time; what counts is whether the next stream comes in time.
      const log = following() ? options.logger.debug : options.logger.warn;
      log('the stream of revocations broke', { err: error });
    },
  });

  const ask = ({ sessionId, userId }: Principal) => {
    const known = checks.get(sessionId);
    if (known && clock.now() - known.at < CHECK_HOLDS_MS) return known.active;
    const active = withCallContext({ deadlineAt: Date.now() + 2_000, requestId: 'session-check' }, () =>
      options.user.checkSession({ sessionId, userId }),
    ).then(
      (reply) => reply.active,
      (error: unknown) => {
        checks.delete(sessionId);
        throw fault('DEPENDENCY_UNAVAILABLE', {
          detail: 'whether this session has ended cannot be known right now',
          cause: error,
          retryAfterSeconds: 1,
        });
      },
    );
    checks.delete(sessionId);
    checks.set(sessionId, { at: clock.now(), active });
    if (checks.size > MOST_CHECKS) checks.delete(checks.keys().next().value!);
    return active;
  };
  // A session that goes on after a revocation (a change of role) does so under another id, so that no clocks are compared.
  const isActive = async (principal: Principal) =>
    !revokedAt.has(principal.sessionId) && (following() || ask(principal));

  return {
    isActive,
    async authenticate(authorization) {
      const token = /^Bearer +([\w-]+\.[\w-]+\.[\w-]+) *$/i.exec(authorization)?.[1];
      if (token === undefined) throw unauthenticated('the Authorization header holds no Bearer access token');
      const principal = await options.verify(token);
      if (!(await isActive(principal))) throw unauthenticated('the session has ended');
      return principal;
    },
    loaded: () => loaded,
    following,
    close: () => poller.close(),
  };
}
