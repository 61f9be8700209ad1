import { createHash } from 'node:crypto';
import sharp from 'sharp';

/** Longest sides of a picture's thumbnails in pixels; the second is the one that a product names. */
export const IMAGE_SIZES = [160, 480, 1_024] as const;

/** Largest picture that is taken, in pixels; decoded row by row it needs a part of them in memory. */
const MOST_PIXELS = 40_000_000;
/** An interlaced PNG is decoded as a whole. */
const MOST_WHOLE_BYTES = 160_000_000;
const LONGEST_SIDE = 16_383; // the most that WebP can say
const QUALITY = 80;
/** A picture that takes longer is not worth it. */
const TIMEOUT_SECONDS = 20;

/** Why a picture is not taken; the message is for whoever uploaded it. */
export class BadImage extends Error {
  constructor(
    readonly code: 'IMAGE_UNSUPPORTED' | 'IMAGE_TOO_LARGE' | 'IMAGE_DAMAGED',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'BadImage';
  }
}

// One picture at a time on one thread, and nothing kept: the service is there for shoppers, and its memory has a bound. Of the many
// decoders of libvips, only those for the formats that are taken stay in reach of what strangers upload.
sharp.concurrency(1);
sharp.cache(false);
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['VipsForeignLoadJpegBuffer', 'VipsForeignLoadPngBuffer', 'VipsForeignLoadWebpBuffer'],
});

/** How many bytes `imageFormat` wants to see. */
export const MAGIC_BYTES = 12;

/** The format that the first bytes of a file claim, whatever its sender calls it; undefined for any other than these three. */
export function imageFormat(head: Uint8Array): 'jpeg' | 'png' | 'webp' | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  if (bytes.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]))) return 'jpeg';
  if (bytes.subarray(0, 8).equals(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'))) return 'png';
  if (bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WEBP') return 'webp';
  return undefined;
}

/**
 * Reads the header and throws BadImage for what will not be decoded: other formats, pictures of more than 40 million pixels (a
 * few kilobytes can claim to be gigabytes) and moving ones. No pixel is decoded, so it costs milliseconds and no memory.
 */
export async function checkImage(content: Uint8Array): Promise<void> {
  if (!imageFormat(content))
    throw new BadImage('IMAGE_UNSUPPORTED', 'the file is no JPEG, PNG or WebP picture');
  let header;
  try {
    // The limit is checked below, where it can be named.
    header = await sharp(content, { limitInputPixels: false }).metadata();
  } catch (cause) {
    throw damaged(cause);
  }
  const { width = 0, height = 0, pages = 1, channels, depth } = header;
  if (pages > 1) throw new BadImage('IMAGE_UNSUPPORTED', 'the picture moves: a still one is needed');
  if (width * height > MOST_PIXELS || Math.max(width, height) > LONGEST_SIDE)
    throw new BadImage(
      'IMAGE_TOO_LARGE',
      `the picture has ${width} x ${height} pixels: at most ${MOST_PIXELS} in all and ${LONGEST_SIDE} on a side are accepted`,
    );
  const bytes = width * height * (channels ?? 4) * (depth === 'ushort' ? 2 : 1);
  if (header.format === 'png' && header.isProgressive && bytes > MOST_WHOLE_BYTES)
    throw new BadImage(
      'IMAGE_TOO_LARGE',
      'the picture is interlaced and needs too much memory: save it without',
    );
}

/** The thumbnails of a picture, by their sizes, and the hash that names them all. */
export interface Thumbnails {
  hash: string;
  files: Array<{ size: number; content: Buffer }>;
}

/**
 * Decodes a picture once and makes its thumbnails: WebP in sRGB, upright as its EXIF orientation says, without any metadata (places
 * and cameras are nobody's business), never larger than the original. Throws BadImage where the content is damaged or breaks the
 * limits of `checkImage`.
 */
export async function makeThumbnails(content: Uint8Array): Promise<Thumbnails> {
  const largest = Math.max(...IMAGE_SIZES);
  let pixels;
  try {
    pixels = await sharp(content, { limitInputPixels: MOST_PIXELS, failOn: 'error' })
      .timeout({ seconds: TIMEOUT_SECONDS })
      .autoOrient()
      .resize({ width: largest, height: largest, fit: 'inside', withoutEnlargement: true })
      .toColourspace('srgb')
      .raw()
      .toBuffer({ resolveWithObject: true });
  } catch (cause) {
    throw damaged(cause);
  }
  const { width, height, channels } = pixels.info;
  const files = [];
  for (const size of IMAGE_SIZES)
    files.push({
      size,
      content: await sharp(pixels.data, { raw: { width, height, channels } })
        .resize({ width: size, height: size, fit: 'inside', withoutEnlargement: true })
        .webp({ quality: QUALITY })
        .toBuffer(),
    });
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.content);
  return { hash: hash.digest('hex').slice(0, 32), files };
}

const damaged = (cause: unknown) =>
  new BadImage(
    'IMAGE_DAMAGED',
    `the picture cannot be decoded: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`,
    { cause },
  );
