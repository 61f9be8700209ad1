import { randomBytes } from 'node:crypto';
import { PART_BYTES, type BlobStore } from './blob-store';

/** What every store must do; `open` is called once per file of tests. */
export function describeBlobStore(
  name: string,
  open: () => Promise<{ store: BlobStore; close(): Promise<void> }>,
): void {
  describe(`the blob store: ${name}`, () => {
    let store: BlobStore;
    let close: () => Promise<void>;
    beforeAll(async () => {
      ({ store, close } = await open());
    });
    afterAll(() => close());

    const bytes = (size: number) => randomBytes(size);
    const contentType = 'application/octet-stream';
    const readAll = async (blob: string, range?: { from?: number; length?: number }) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of store.read(blob, range)) pieces.push(piece);
      return Buffer.concat(pieces);
    };
    const listAll = async (prefix: string) => {
      const names: string[] = [];
      for await (const each of store.list(prefix)) names.push(each);
      return names;
    };
    const upload = async (blob: string, contents: readonly Uint8Array[]) => {
      const handle = await store.startUpload(blob, { contentType });
      const parts = [];
      for (const [index, content] of contents.entries())
        parts.push({ index, tag: await store.putPart(handle, index, content) });
      return { handle, parts };
    };

    it('gives back what was put, with its size and media type', async () => {
      const content = bytes(1_300_000);
      await store.put('put/a.webp', content, { contentType: 'image/webp' });
      expect(await store.stat('put/a.webp')).toEqual({ sizeBytes: 1_300_000, contentType: 'image/webp' });
      expect((await readAll('put/a.webp')).equals(content)).toBe(true);
      await store.put('put/empty', new Uint8Array(), { contentType });
      expect(await store.stat('put/empty')).toEqual({ sizeBytes: 0, contentType });
      expect(await readAll('put/empty')).toHaveLength(0);
    });

    it('replaces a file as a whole', async () => {
      await store.put('replaced', bytes(1_300_000), { contentType });
      await store.put('replaced', Buffer.from('short'), { contentType: 'text/plain' });
      expect(await store.stat('replaced')).toEqual({ sizeBytes: 5, contentType: 'text/plain' });
      expect((await readAll('replaced')).toString()).toBe('short');
      const many = Array.from({ length: 6 }, (_, n) => Buffer.from(`content ${n}`));
      await Promise.all(many.map((content) => store.put('replaced', content, { contentType })));
      expect(many.map(String)).toContain((await readAll('replaced')).toString());
    });

    it('shows nothing of an upload before it is finished, and then all of it', async () => {
      const contents = [bytes(PART_BYTES), bytes(PART_BYTES), bytes(700_001)];
      const { handle, parts } = await upload('upload/whole', contents);
      expect(await store.stat('upload/whole')).toBeUndefined();
      expect(await listAll('upload/')).toEqual([]);
      await expect(readAll('upload/whole')).rejects.toMatchObject({ kind: 'not_found' });
      await store.finishUpload(handle, parts);
      expect(await store.stat('upload/whole')).toEqual({ sizeBytes: 2 * PART_BYTES + 700_001, contentType });
      expect((await readAll('upload/whole')).equals(Buffer.concat(contents))).toBe(true);
    });

    it('takes the parts in any order and side by side, the last content of each', async () => {
      const contents = [bytes(PART_BYTES), bytes(PART_BYTES), bytes(100)];
      const handle = await store.startUpload('upload/any-order', { contentType });
      await store.putPart(handle, 2, bytes(2_000_000)); // replaced by a shorter one
      const tags = await Promise.all(
        [2, 0, 1].map(async (index) => ({
          index,
          tag: await store.putPart(handle, index, contents[index]!),
        })),
      );
      await store.finishUpload(
        handle,
        [...tags].sort((a, b) => a.index - b.index),
      );
      expect((await readAll('upload/any-order')).equals(Buffer.concat(contents))).toBe(true);
    });

    it('leaves out parts that the completion does not name', async () => {
      const contents = [bytes(PART_BYTES), bytes(PART_BYTES), bytes(10)];
      const { handle, parts } = await upload('upload/fewer', contents);
      await store.finishUpload(handle, parts.slice(0, 1));
      expect((await readAll('upload/fewer')).equals(contents[0]!)).toBe(true);
    });

    it('makes an empty file of no parts', async () => {
      const { handle } = await upload('upload/empty', []);
      await store.finishUpload(handle, []);
      await store.finishUpload(handle, []);
      expect(await store.stat('upload/empty')).toEqual({ sizeBytes: 0, contentType });
    });

    it('finishes again what is finished, and leaves the file alone', async () => {
      const content = bytes(1_000);
      const { handle, parts } = await upload('upload/twice', [content]);
      await store.finishUpload(handle, parts);
      await store.finishUpload(handle, parts);
      await store.abortUpload(handle);
      expect((await readAll('upload/twice')).equals(content)).toBe(true);
      await expect(store.putPart(handle, 0, bytes(10))).rejects.toMatchObject({ kind: 'not_found' });
    });

    it('refuses to finish with a part that is missing, short or another one', async () => {
      const { handle, parts } = await upload('upload/refused', [bytes(PART_BYTES), bytes(10)]);
      const [first, second] = parts;
      for (const wrong of [
        [first!, { index: 1, tag: first!.tag }],
        [first!, second!, { index: 2, tag: second!.tag }],
      ])
        await expect(store.finishUpload(handle, wrong)).rejects.toMatchObject({ kind: 'invalid' });
      const short = await upload('upload/refused', [bytes(10), bytes(10)]);
      await expect(store.finishUpload(short.handle, short.parts)).rejects.toMatchObject({ kind: 'invalid' });
      expect(await store.stat('upload/refused')).toBeUndefined();
      await store.abortUpload(handle);
      await store.abortUpload(short.handle);
    });

    it('drops an upload that is ended, which then takes nothing more', async () => {
      const { handle, parts } = await upload('upload/ended', [bytes(100)]);
      await store.abortUpload(handle);
      await store.abortUpload(handle);
      await expect(store.putPart(handle, 1, bytes(10))).rejects.toMatchObject({ kind: 'not_found' });
      await expect(store.finishUpload(handle, parts)).rejects.toMatchObject({ kind: 'not_found' });
      expect(await store.stat('upload/ended')).toBeUndefined();
    });

    it('reads any range, across pieces and parts and beyond the end', async () => {
      const content = bytes(PART_BYTES + 600_000);
      const { handle, parts } = await upload('read/ranges', [
        content.subarray(0, PART_BYTES),
        content.subarray(PART_BYTES),
      ]);
      await store.finishUpload(handle, parts);
      const end = content.byteLength;
      for (const [from, length] of [
        [0, 1],
        [524_287, 2],
        [524_288, 524_288],
        [PART_BYTES - 3, 6],
        [1_000_000, 3_000_000],
        [end - 1, 100],
        [end, 10],
        [end + 5, 10],
        [7, 0],
      ] as const) {
        const read = await readAll('read/ranges', { from, length });
        expect(read.equals(content.subarray(from, from + length))).toBe(true);
      }
      expect((await readAll('read/ranges', { from: 2_000_001 })).equals(content.subarray(2_000_001))).toBe(
        true,
      );
    });

    it('hands a file out in pieces of at most 1 MiB, and stops reading when its reader does', async () => {
      await store.put('read/pieces', bytes(5_000_000), { contentType });
      let largest = 0;
      for await (const piece of store.read('read/pieces')) largest = Math.max(largest, piece.byteLength);
      expect(largest).toBeLessThanOrEqual(1024 * 1024);
      for await (const piece of store.read('read/pieces')) {
        expect(piece.byteLength).toBeGreaterThan(0);
        break;
      }
    });

    it('never mixes two files for a reader whose file is replaced', async () => {
      const old = Buffer.alloc(4_000_000, 'a');
      await store.put('read/replaced', old, { contentType });
      const seen: string[] = [];
      let failed: unknown;
      try {
        for await (const piece of store.read('read/replaced')) {
          if (seen.length === 0)
            await store.put('read/replaced', Buffer.alloc(4_000_000, 'b'), { contentType });
          seen.push(Buffer.from(piece).toString());
        }
      } catch (error) {
        failed = error;
      }
      expect(seen.every((piece) => /^a+$/.test(piece))).toBe(true);
      if (failed !== undefined) expect(failed).toMatchObject({ kind: 'not_found' });
      else expect(seen.join('')).toHaveLength(old.byteLength);
    });

    it('removes a file once and for all, and nothing beside it', async () => {
      await store.put('removed/a', bytes(600_000), { contentType });
      await store.put('removed/ab', bytes(10), { contentType });
      await store.delete('removed/a');
      await store.delete('removed/a');
      expect(await store.stat('removed/a')).toBeUndefined();
      await expect(readAll('removed/a')).rejects.toMatchObject({ kind: 'not_found' });
      expect(await listAll('removed/')).toEqual(['removed/ab']);
    });

    it('lists the names of a prefix in order, however many', async () => {
      const names = Array.from({ length: 1_050 }, (_, n) => `list/${String(n).padStart(5, '0')}`);
      for (let at = 0; at < names.length; at += 50)
        await Promise.all(
          names.slice(at, at + 50).map((each) => store.put(each, Buffer.from('x'), { contentType })),
        );
      await store.put('listed', Buffer.from('x'), { contentType });
      expect(await listAll('list/')).toEqual(names);
      expect(await listAll('list/0104')).toEqual(names.slice(1_040));
    });

    it('sweeps up uploads that were never finished, and leaves files and younger uploads alone', async () => {
      await store.put('sweep/file', bytes(10), { contentType });
      const { handle, parts } = await upload('sweep/upload', [bytes(10)]);
      await store.sweep(new Date(Date.now() - 3_600_000));
      expect(await store.putPart(handle, 0, bytes(10))).toBeTruthy();
      while ((await store.sweep(new Date(Date.now() + 3_600_000))) > 0);
      await expect(store.finishUpload(handle, parts)).rejects.toMatchObject({ kind: 'not_found' });
      expect(await store.stat('sweep/file')).toBeDefined();
    });

    it('refuses names and parts that not every store could keep', async () => {
      for (const wrong of ['', '/a', 'a//b', 'a/../b', '../a', 'a b', 'ä', 'a/', 'x'.repeat(501)])
        await expect(store.put(wrong, bytes(1), { contentType })).rejects.toThrow(TypeError);
      const { handle } = await upload('upload/parts', []);
      await expect(store.putPart(handle, -1, bytes(1))).rejects.toThrow(RangeError);
      await expect(store.putPart(handle, 0, new Uint8Array())).rejects.toThrow(RangeError);
      await expect(store.putPart(handle, 0, bytes(PART_BYTES + 1))).rejects.toThrow(RangeError);
    });

    it('answers a ping', () => store.ping());
  });
}
