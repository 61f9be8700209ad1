import { silentLogger } from '@headroom/telemetry';
import { hasS3Server, startS3Server, type S3Server } from '@headroom/testing';
import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PART_BYTES, type BlobStore } from './blob-store';
import { describeBlobStore } from './blob-store.contract';
import { openBlobStore } from './open-blob-store';
import { createS3Store } from './s3-store';

jest.setTimeout(120_000); // tens of megabytes are moved, on machines that may be busy

const noDatabase = undefined as never;
const opened: BlobStore[] = [];
const openAt = async (endpoint: string, bucket = 'headroom-test', prefix = 'shop') => {
  const store = await openBlobStore({
    url: `s3://${bucket}/${prefix}?endpoint=${endpoint}`,
    db: noDatabase,
    logger: silentLogger,
  });
  opened.push(store);
  return store;
};
const saved = { ...process.env };
beforeAll(() => {
  process.env['AWS_ACCESS_KEY_ID'] = 'headroom-test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'headroom-test-secret';
});
afterAll(async () => {
  process.env = saved;
  for (const store of opened) await store.close();
});

// `npm test` builds the server where Go is there, and says so where it is not.
(hasS3Server() ? describe : describe.skip)('on a real S3 server', () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(() => server.stop());

  describeBlobStore('objects of an S3 bucket', async () => ({
    store: await openAt(server.endpoint),
    close: () => Promise.resolve(),
  }));

  it('keeps to its own prefix', async () => {
    const [one, other] = [
      await openAt(server.endpoint, undefined, 'one'),
      await openAt(server.endpoint, undefined, 'other'),
    ];
    await one.put('a', Buffer.from('1'), { contentType: 'text/plain' });
    expect(await other.stat('a')).toBeUndefined();
    const handle = await one.startUpload('b', { contentType: 'text/plain' });
    await other.sweep(new Date(Date.now() + 60_000));
    await one.putPart(handle, 0, Buffer.from('still open'));
  });

  it('changes nothing when an upload that was ended is finished under the name of another', async () => {
    const store = await openAt(server.endpoint);
    const contentType = 'text/plain';
    const first = await store.startUpload('same', { contentType });
    const second = await store.startUpload('same', { contentType });
    const tags = [
      await store.putPart(first, 0, Buffer.from('first')),
      await store.putPart(second, 0, Buffer.from('second')),
    ];
    await store.finishUpload(second, [{ index: 0, tag: tags[1]! }]);
    await store.abortUpload(first);
    // Some servers take it for a repetition of the one that worked; Amazon's says that there is no such upload.
    await store.finishUpload(first, [{ index: 0, tag: tags[0]! }]).catch((error: unknown) => {
      expect(error).toMatchObject({ kind: 'not_found' });
    });
    let text = '';
    for await (const piece of store.read('same')) text += Buffer.from(piece).toString();
    expect(text).toBe('second');
  });

  it('reads a file of many parts with a few pieces in memory', async () => {
    const store = await openAt(server.endpoint);
    const handle = await store.startUpload('large', { contentType: 'text/plain' });
    const content = randomBytes(PART_BYTES);
    const parts = [];
    for (let index = 0; index < 20; index += 1)
      parts.push({ index, tag: await store.putPart(handle, index, content) });
    await store.finishUpload(handle, parts);
    const before = buffersInUse();
    let [size, most, looked] = [0, 0, 0];
    for await (const piece of store.read('large')) {
      size += piece.byteLength;
      if (size < looked + PART_BYTES) continue;
      looked = size;
      most = Math.max(most, buffersInUse() - before);
    }
    expect(size).toBe(20 * PART_BYTES);
    expect(most).toBeLessThan(4 * PART_BYTES);
  });

  it('says unavailable, not whose fault it is, where the bucket or the right to it is missing', async () => {
    const store = await openAt(server.endpoint, 'no-such-bucket');
    await expect(store.ping()).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(store.put('a', Buffer.from('1'), { contentType: 'text/plain' })).rejects.toMatchObject({
      kind: 'unavailable',
    });
  });
});

describe('a store that does not answer', () => {
  it('is unavailable after three tries when nobody listens', async () => {
    const store = await openAt('http://127.0.0.1:9');
    await expect(store.stat('a')).rejects.toMatchObject({ kind: 'unavailable', retryAfterSeconds: 1 });
    await expect(store.ping()).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('is unavailable when an answer does not begin in time', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const store = createS3Store({
      bucket: 'headroom-test',
      prefix: '',
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      logger: silentLogger,
      answerTimeoutMs: 100,
    });
    opened.push(store);
    await expect(store.stat('a')).rejects.toMatchObject({ kind: 'unavailable' });
    expect(sockets.size).toBe(3);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  }, 10_000);
});

/** Bytes of buffers after a full collection. */
function buffersInUse(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().arrayBuffers;
}
