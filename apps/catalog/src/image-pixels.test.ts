import sharp from 'sharp';
import { movingPicture, picture, pngBomb } from '../test/pictures';
import { checkImage, imageFormat, makeThumbnails } from './image-pixels';

jest.setTimeout(120_000); // tens of megapixels, on machines that may be busy

const MIB = 1024 * 1024;

describe('pictures', () => {
  it.each(['jpeg', 'png', 'webp'] as const)('are known by their content: %s', async (format) => {
    const content = await picture(30, 20, 'red', format);
    expect(imageFormat(content.subarray(0, 12))).toBe(format);
    await checkImage(content);
    const { files } = await makeThumbnails(content);
    expect(files.map(({ size }) => size)).toEqual([160, 480, 1_024]);
  });

  it.each([
    ['a GIF', Buffer.from('GIF89a-------------')],
    ['a text', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')],
    ['a TIFF', Buffer.from('II*\0aaaaaaaaaaaaaaaa')],
    ['a sound in the container of WebP', Buffer.from('RIFF\x10\0\0\0WAVEfmt ')],
    ['nothing', Buffer.alloc(0)],
  ])('%s is none', async (_, content) => {
    expect(imageFormat(content)).toBeUndefined();
    await expect(checkImage(content)).rejects.toMatchObject({ code: 'IMAGE_UNSUPPORTED' });
  });

  it('that are bombs are refused by their header, without memory', async () => {
    const bomb = pngBomb(60_000, 60_000);
    expect(bomb.byteLength).toBeLessThan(2_000);
    const before = process.memoryUsage().rss;
    for (let n = 0; n < 20; n += 1) {
      await expect(checkImage(bomb)).rejects.toMatchObject({
        code: 'IMAGE_TOO_LARGE',
        message: expect.stringContaining('60000 x 60000'),
      });
      // The decoder has the same limit, should anything ever come to it unchecked.
      await expect(makeThumbnails(bomb)).rejects.toMatchObject({ code: 'IMAGE_DAMAGED' });
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(40 * MIB);
    for (const [width, height] of [
      [16_384, 1],
      [16_000, 16_000],
      [8_000, 5_001],
    ] as const)
      await expect(checkImage(pngBomb(width, height))).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' });
  });

  it('of the largest size that is taken need bounded memory', async () => {
    const content = await picture(8_000, 5_000, 'green', 'png');
    await checkImage(content);
    const before = process.memoryUsage().rss;
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss - before)), 5);
    await makeThumbnails(content);
    clearInterval(watch);
    expect(peak).toBeLessThan(200 * MIB);
  });

  it('that would have to be decoded as a whole are refused when that is too much', async () => {
    const content = await sharp({
      create: { width: 6_000, height: 4_000, channels: 4, background: { r: 1, g: 2, b: 3, alpha: 0.5 } },
    })
      .toColourspace('rgb16')
      .png({ progressive: true })
      .toBuffer();
    await expect(checkImage(content)).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining('interlaced'),
    });
  });

  it('that move are refused', async () => {
    await expect(checkImage(await movingPicture())).rejects.toMatchObject({
      code: 'IMAGE_UNSUPPORTED',
      message: expect.stringContaining('moves'),
    });
  });

  it('that are cut off or damaged are refused with a reason', async () => {
    const whole = await sharp(
      Buffer.alloc(300 * 300 * 3, 0).map((_, n) => (n * 2_654_435_761) % 256),
      {
        raw: { width: 300, height: 300, channels: 3 },
      },
    )
      .jpeg()
      .toBuffer();
    await expect(makeThumbnails(whole.subarray(0, whole.byteLength / 2))).rejects.toMatchObject({
      code: 'IMAGE_DAMAGED',
      message: expect.stringMatching(/^the picture cannot be decoded: /),
    });
    await expect(checkImage(Buffer.concat([whole.subarray(0, 3), Buffer.alloc(50)]))).rejects.toMatchObject({
      code: 'IMAGE_DAMAGED',
    });
  });

  it('become upright WebP thumbnails of three sizes without metadata, never enlarged', async () => {
    // Stored lying on its side: red above and blue below as a viewer sees it, which is red right and blue left in the file.
    const content = await sharp({ create: { width: 1_000, height: 600, channels: 3, background: 'blue' } })
      .composite([
        {
          input: { create: { width: 500, height: 600, channels: 3, background: 'red' } },
          left: 0,
          top: 0,
        },
      ])
      .withExif({ IFD0: { Copyright: 'secret place' } })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    expect((await sharp(content).metadata()).orientation).toBe(6);
    const { files } = await makeThumbnails(content);
    const seen = [];
    for (const { size, content: thumbnail } of files) {
      const { format, width, height, exif, icc, xmp, orientation } = await sharp(thumbnail).metadata();
      expect({ format, exif, icc, xmp, orientation }).toEqual({ format: 'webp' });
      seen.push([size, width, height]);
      const at = async (top: number) => {
        const [red, , blue] = await sharp(thumbnail)
          .extract({ left: width / 2, top, width: 1, height: 1 })
          .raw()
          .toBuffer();
        return red! > blue! ? 'red' : 'blue';
      };
      expect([await at(2), await at(height - 3)]).toEqual(['red', 'blue']);
    }
    expect(seen).toEqual([
      [160, 96, 160],
      [480, 288, 480],
      [1_024, 600, 1_000],
    ]);
  });

  it('have the name of their content: the same again has the same, another has another', async () => {
    const [red, again, blue] = [
      await makeThumbnails(await picture(50, 50, 'red')),
      await makeThumbnails(await picture(50, 50, 'red')),
      await makeThumbnails(await picture(50, 50, 'blue')),
    ];
    expect(red.hash).toMatch(/^[0-9a-f]{32}$/);
    expect(again.hash).toBe(red.hash);
    expect(blue.hash).not.toBe(red.hash);
  });
});
