import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';

/** Pictures of plain content, made on the spot. */
export const picture = (
  width: number,
  height: number,
  background: string,
  format: 'jpeg' | 'png' | 'webp' = 'jpeg',
): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 3, background } })
    .toFormat(format)
    .toBuffer();

/** A PNG of a few hundred bytes whose header claims that many pixels. */
export function pngBomb(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const framed = Buffer.alloc(body.byteLength + 8);
    framed.writeUInt32BE(data.byteLength, 0);
    body.copy(framed, 4);
    framed.writeUInt32BE(crc32(body), body.byteLength + 4);
    return framed;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.alloc(1_000_000))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** An animated WebP of two frames. */
export const movingPicture = (): Promise<Buffer> => {
  const frame = { create: { width: 20, height: 20, channels: 3 as const, background: 'red' } };
  return sharp([frame, { create: { ...frame.create, background: 'blue' } }] as never, {
    join: { animated: true },
  })
    .webp()
    .toBuffer();
};
