import type { ServiceDefinition } from '@grpc/grpc-js';
import { Fault } from '@headroom/resilience';
import { inSpan, silentLogger, startTracing } from '@headroom/telemetry';
import { ManualClock } from '@headroom/testing';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace-base';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import {
  createRpcClient,
  createTokenVerifier,
  currentCall,
  implement,
  serveGrpc,
  withCallContext,
  type ServerCall,
} from './index';

interface Message {
  text: string;
}
const json = {
  serialize: (value: Message) => Buffer.from(JSON.stringify(value)),
  deserialize: (bytes: Buffer) => JSON.parse(bytes.toString()) as Message,
};
const method = <P extends string, S extends boolean>(path: P, responseStream: S) => ({
  path,
  requestStream: false as const,
  responseStream,
  requestSerialize: json.serialize,
  requestDeserialize: json.deserialize,
  responseSerialize: json.serialize,
  responseDeserialize: json.deserialize,
});
const Echo = {
  say: method('/test.Echo/Say', false),
  whoAmI: method('/test.Echo/WhoAmI', false),
  count: method('/test.Echo/Count', true),
} satisfies ServiceDefinition;

let say: (request: Message, call: ServerCall) => Promise<Message> = async (request) => request;
let server: Awaited<ReturnType<typeof serveGrpc>>;
let client: ReturnType<typeof createRpcClient<typeof Echo>>;
let key: { privateKey: CryptoKey; publicKey: CryptoKey };
const spans = new InMemorySpanExporter();
let tracing: Awaited<ReturnType<typeof startTracing>>;

const jwk = async (publicKey: CryptoKey, kid: string): Promise<JWK> => ({
  ...(await exportJWK(publicKey)),
  kid,
  alg: 'EdDSA',
});
const sign = (
  privateKey: CryptoKey,
  kid: string,
  claims: { typ?: string; aud?: string; iss?: string; role?: string; issuedAt?: number } = {},
) => {
  const issuedAt = claims.issuedAt ?? Math.floor(Date.now() / 1_000);
  return new SignJWT({ sid: 's1', role: claims.role ?? 'customer', tier: 'free' })
    .setProtectedHeader({ alg: 'EdDSA', kid, typ: claims.typ ?? 'at+jwt' })
    .setIssuer(claims.iss ?? 'https://shop.example')
    .setAudience(claims.aud ?? 'headroom-api')
    .setSubject('u1')
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + 600)
    .sign(privateKey);
};

beforeAll(async () => {
  tracing = await startTracing({ service: 'test', exporter: spans });
  key = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
  const verifyToken = createTokenVerifier({
    issuer: 'https://shop.example',
    fetchKeys: async () => ({ keys: [await jwk(key.publicKey, 'k1')] }),
  });
  const handlers = implement('test.Echo', Echo, {
    say: (request, call) => say(request, call),
    whoAmI: async (_request, call) => ({ text: (await call.admin()).userId }),
    async *count(request) {
      for (let n = 0; n < Number(request.text); n += 1) yield { text: String(n) };
      if (request.text === '2') throw new Fault('not_found', 'NO_MORE');
    },
  });
  server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [handlers],
    verifyToken,
    logger: silentLogger,
  });
  client = createRpcClient(Echo, { address: `127.0.0.1:${server.port}`, timeoutMs: 2_000 });
});
afterAll(async () => {
  client.close();
  await server.close();
  await tracing.close();
});

it('a fault arrives as it was thrown, with its fields', async () => {
  say = async () => {
    throw new Fault('invalid', 'VALIDATION_FAILED', {
      detail: 'no',
      errors: [{ path: 'name', message: 'is too long' }],
      retryAfterSeconds: 3,
      extra: { productIds: ['p1'] },
    });
  };
  await expect(client.say({ text: 'x' })).rejects.toMatchObject({
    kind: 'invalid',
    code: 'VALIDATION_FAILED',
    detail: 'no',
    errors: [{ path: 'name', message: 'is too long' }],
    retryAfterSeconds: 3,
    extra: { productIds: ['p1'] },
  });
});

it('a programming error crosses as internal, without its text', async () => {
  say = async () => {
    throw new TypeError('secret detail of the code');
  };
  const fault = await client.say({ text: 'x' }).catch((error: Fault) => error);
  expect(fault).toMatchObject({ kind: 'internal' });
  expect((fault as Fault).detail).not.toContain('secret');
});

it('a server that is not there is unavailable; one that does not answer in time is a timeout', async () => {
  const nobody = createRpcClient(Echo, { address: '127.0.0.1:1', timeoutMs: 1_500 });
  await expect(nobody.say({ text: 'x' })).rejects.toMatchObject({
    kind: 'unavailable',
    code: 'DEPENDENCY_UNAVAILABLE',
  });
  nobody.close();
  say = () => new Promise(() => undefined);
  await expect(client.say({ text: 'x' }, { timeoutMs: 50 })).rejects.toMatchObject({ kind: 'timeout' });
});

it("a call gets no more time than its caller has left, and carries its request id; the handler's signal aborts with it", async () => {
  let seen: { deadlineAt: number; requestId: string } | undefined;
  let aborted: () => void;
  const gaveUp = new Promise<void>((resolve) => (aborted = resolve));
  say = (_request, call) => {
    seen = currentCall();
    call.signal.addEventListener('abort', () => aborted());
    return new Promise(() => undefined);
  };
  const deadlineAt = Date.now() + 250;
  await withCallContext({ deadlineAt, requestId: 'req-1' }, () =>
    expect(client.say({ text: 'x' })).rejects.toMatchObject({ kind: 'timeout' }),
  );
  expect(seen?.requestId).toBe('req-1');
  expect(seen!.deadlineAt).toBeLessThanOrEqual(deadlineAt);
  await gaveUp;
});

it('streams arrive in order, end with the fault of their handler, and stop when the reader leaves', async () => {
  const seen: string[] = [];
  const read = async () => {
    for await (const { text } of client.count({ text: '2' })) seen.push(text);
  };
  await expect(read()).rejects.toMatchObject({ code: 'NO_MORE' });
  expect(seen).toEqual(['0', '1']);
  for await (const { text } of client.count({ text: '1000000' })) if (text === '3') break;
});

it('a role is taken from the verified token only', async () => {
  const call = (accessToken?: string) =>
    withCallContext({ deadlineAt: Date.now() + 2_000, requestId: 'r', accessToken }, () =>
      client.whoAmI({ text: '' }),
    );
  await expect(call()).rejects.toMatchObject({ kind: 'unauthenticated' });
  await expect(call(await sign(key.privateKey, 'k1'))).rejects.toMatchObject({ kind: 'forbidden' });
  await expect(call(await sign(key.privateKey, 'k1', { role: 'admin' }))).resolves.toEqual({ text: 'u1' });
});

it('one trace covers caller and handler', async () => {
  say = (request) => inSpan('work inside', {}, async () => request);
  await inSpan('the request', {}, () => client.say({ text: 'x' }));
  await tracing.flush();
  const named = (name: string, kind?: number) =>
    spans
      .getFinishedSpans()
      .findLast((span) => span.name === name && (kind === undefined || span.kind === kind))!;
  const [request, outgoing, incoming, inside] = [
    named('the request'),
    named('grpc /test.Echo/Say', 2),
    named('grpc /test.Echo/Say', 1),
    named('work inside'),
  ];
  expect(outgoing.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
  expect(incoming.parentSpanContext?.spanId).toBe(outgoing.spanContext().spanId);
  expect(inside.parentSpanContext?.spanId).toBe(incoming.spanContext().spanId);
  expect(inside.spanContext().traceId).toBe(request.spanContext().traceId);
});

describe('a token verifier', () => {
  const verifier = (keys: () => Promise<JWK[]>, clock = new ManualClock(Date.now())) => {
    let reads = 0;
    const verify = createTokenVerifier({
      issuer: 'https://shop.example',
      clock,
      fetchKeys: async () => {
        reads += 1;
        return { keys: await keys() };
      },
    });
    return { verify, reads: () => reads, clock };
  };

  it('refuses another issuer, audience, type, an expired token and one signed by a stranger', async () => {
    const { verify, clock } = verifier(async () => [await jwk(key.publicKey, 'k1')]);
    const stranger = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const bad = [
      await sign(key.privateKey, 'k1', { iss: 'https://evil.example' }),
      await sign(key.privateKey, 'k1', { aud: 'another' }),
      await sign(key.privateKey, 'k1', { typ: 'JWT' }),
      await sign(key.privateKey, 'k1', { issuedAt: Math.floor(clock.now() / 1_000) - 700 }),
      await sign(stranger.privateKey, 'k1'),
      'not.a.token',
      `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${Buffer.from('{"sub":"u1"}').toString('base64url')}.`,
    ];
    for (const token of bad)
      await expect(verify(token)).rejects.toMatchObject({ kind: 'unauthenticated', code: 'UNAUTHENTICATED' });
    await expect(verify(await sign(key.privateKey, 'k1'))).resolves.toMatchObject({
      userId: 'u1',
      sessionId: 's1',
      role: 'customer',
      tier: 'free',
    });
  });

  it('takes up a new key as soon as a token uses it, and does not ask again for every unknown one', async () => {
    const next = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const published = [await jwk(key.publicKey, 'k1')];
    const { verify, reads, clock } = verifier(async () => published);
    await verify(await sign(key.privateKey, 'k1'));
    published.push(await jwk(next.publicKey, 'k2'));
    clock.advance(6_000);
    await expect(verify(await sign(next.privateKey, 'k2'))).resolves.toMatchObject({ userId: 'u1' });
    expect(reads()).toBe(2);
    for (let n = 0; n < 10; n += 1)
      await expect(verify(await sign(next.privateKey, `forged-${n}`))).rejects.toMatchObject({
        kind: 'unauthenticated',
      });
    expect(reads()).toBe(2);
  });
});
