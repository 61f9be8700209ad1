import type { userV1 } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import type { Principal } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { eventually, ManualClock } from '@headroom/testing';
import { followSessions, type Sessions } from './auth';

const TTL_SECONDS = 600;

/** A stream that the test feeds and breaks. */
function openStream() {
  const queue: userV1.RevocationBatch[] = [];
  let wake = () => {};
  let broken = false;
  return {
    send(revocations: Array<[string, number]>, caughtUp = false) {
      queue.push({
        revocations: revocations.map(([sessionId, at]) => ({ sessionId, revokedAtMs: BigInt(at) })),
        caughtUp,
      });
      wake();
    },
    break() {
      broken = true;
      wake();
    },
    async *read(signal: AbortSignal | undefined) {
      signal?.addEventListener('abort', () => wake(), { once: true });
      for (;;) {
        if (signal?.aborted) return;
        const next = queue.shift();
        if (next) yield next;
        else if (broken) throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE');
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

let clock: ManualClock;
let streams: Array<ReturnType<typeof openStream>>;
let checks: string[];
let answerCheck: () => Promise<boolean>;
let sessions: Sessions;
let verified: number;

const principal = (sessionId: string, issuedAt = clock.now()): Principal => ({
  userId: 'user-1',
  sessionId,
  role: 'customer',
  tier: 'free',
  issuedAtSeconds: Math.floor(issuedAt / 1_000),
  expiresAtSeconds: Math.floor(issuedAt / 1_000) + TTL_SECONDS,
});

beforeEach(() => {
  clock = new ManualClock();
  streams = [];
  checks = [];
  verified = 0;
  answerCheck = async () => true;
  sessions = followSessions({
    clock,
    logger: silentLogger,
    verify: async (token) => {
      verified += 1;
      return principal(token.split('.')[0]!);
    },
    user: {
      watchRevocations: (_request, options) => {
        const stream = openStream();
        streams.push(stream);
        return stream.read(options?.signal);
      },
      checkSession: async ({ sessionId }) => {
        checks.push(sessionId);
        return { active: await answerCheck() };
      },
    },
  });
});
afterEach(async () => {
  const closing = sessions.close();
  const finished = closing.then(() => true);
  await eventually(async () => {
    clock.advance(60_000);
    expect(await Promise.race([finished, Promise.resolve(false)])).toBe(true);
  });
});

const following = () => eventually(() => expect(sessions.following()).toBe(true));
async function caughtUp(revocations: Array<[string, number]> = []) {
  await eventually(() => expect(streams.length).toBeGreaterThan(0));
  streams.at(-1)!.send(revocations, true);
  await following();
}
/** The stream that follows the last one, which has broken or was given up. */
async function reopened() {
  const { length } = streams;
  return eventually(() => {
    clock.advance(50);
    expect(streams.length).toBeGreaterThan(length);
    return streams.at(-1)!;
  });
}
/** Time passes without a word from the stream, and the gateway has noticed. */
async function silence(ms: number) {
  for (let passed = 0; passed < ms; passed += 1_000) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('it is not ready before the revocations that still matter have been read', async () => {
  await eventually(() => expect(streams.length).toBe(1));
  streams[0]!.send([['ended', clock.now()]]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(sessions.loaded()).toBe(false);
  streams[0]!.send([], true);
  await eventually(() => expect(sessions.loaded()).toBe(true));
});

test('a revoked session ends, and no other, without a call per request', async () => {
  await caughtUp();
  expect(await sessions.isActive(principal('a'))).toBe(true);
  streams[0]!.send([['a', clock.now() + 1]]);
  await eventually(async () => expect(await sessions.isActive(principal('a'))).toBe(false));
  expect(await sessions.isActive(principal('b'))).toBe(true);
  expect(checks).toEqual([]);
});

test('a revoked session stays ended whatever time its tokens claim, since clocks differ', async () => {
  await caughtUp([['a', clock.now()]]);
  for (const skewMs of [-60_000, 0, 60_000])
    expect(await sessions.isActive(principal('a', clock.now() + skewMs))).toBe(false);
});

test('a stream that went silent for over 4 s is asked around: once per session in 4 s', async () => {
  await caughtUp();
  await silence(4_000);
  expect(sessions.following()).toBe(true);
  await silence(1_000);
  expect(sessions.following()).toBe(false);
  const asked = await Promise.all([1, 2, 3].map(() => sessions.isActive(principal('a'))));
  expect([asked, checks]).toEqual([[true, true, true], ['a']]);
  answerCheck = async () => false;
  expect(await sessions.isActive(principal('a'))).toBe(true);
  await silence(4_000);
  expect(await sessions.isActive(principal('a'))).toBe(false);
  expect(checks).toEqual(['a', 'a']);
});

test('when nobody can tell, the answer is 503 and not a guess', async () => {
  answerCheck = () => Promise.reject(new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE'));
  await expect(sessions.isActive(principal('a'))).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  await expect(sessions.authenticate('Bearer a.b.c')).rejects.toMatchObject({ kind: 'unavailable' });
  answerCheck = async () => true;
  expect(await sessions.isActive(principal('a'))).toBe(true);
});

test('a broken stream is taken up again, and only what has caught up is believed', async () => {
  await caughtUp();
  streams[0]!.break();
  const renewed = await reopened();
  const revokedAt = clock.now() + 1;
  for (let second = 0; second < 6; second += 1) {
    renewed.send([['a', revokedAt]]);
    await silence(1_000);
  }
  expect(streams.length).toBe(2);
  expect(sessions.following()).toBe(false); // it speaks, but has not told all yet
  renewed.send([], true);
  await following();
  expect(await sessions.isActive(principal('a'))).toBe(false);
});

test('a revocation is forgotten once the last token it concerns has expired', async () => {
  const at = clock.now();
  await caughtUp([['old', at]]);
  expect(await sessions.isActive(principal('old'))).toBe(false);
  clock.advance(11 * 60_000 + 1);
  (await reopened()).send([], true);
  await following();
  expect(await sessions.isActive(principal('old'))).toBe(true);
});

test('only a Bearer token that verifies and whose session lives gets in', async () => {
  await caughtUp([['ended', clock.now() + 1_000]]);
  for (const header of ['', 'Bearer', 'Bearer ', 'Basic YTpi', 'Bearer not-a-token', 'Bearer a.b.c d'])
    await expect(sessions.authenticate(header)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(verified).toBe(0);
  await expect(sessions.authenticate('Bearer ended.b.c')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  expect((await sessions.authenticate('bearer good.b.c')).sessionId).toBe('good');
});
