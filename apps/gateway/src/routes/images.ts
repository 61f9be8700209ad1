import { fault } from '@headroom/contracts';
import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import { endpoint } from '../endpoint';
import { openFile } from '../files';

/** What a browser may be told that a picture is; anything else would be a file of unknown kind on the shop's own origin. */
const PICTURES = ['image/jpeg', 'image/png', 'image/webp', 'image/avif'];

/** Pictures of products, under names that their content decides. */
export const imageEndpoints = [
  endpoint({
    method: 'GET',
    path: '/images/:name',
    tag: 'Catalog',
    summary: 'A picture of a product',
    description:
      'A name never changes what it stands for: keep it for a year. `imageUrl` of a product tells the name.',
    access: 'open',
    cache: 'immutable',
    reply: {
      status: 200,
      schema: Type.Unsafe<Readable>({ type: 'string', format: 'binary', examples: ['RIFF....WEBPVP8 '] }),
      contentType: 'image/*',
      description: 'The file',
    },
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, params, reply }) {
      const { name } = params;
      if (!/^[A-Za-z0-9][\w.-]{0,199}$/.test(name)) throw fault('NOT_FOUND');
      const file = await openFile((offset) => deps.images.getImage({ name, offset }));
      if (!PICTURES.includes(file.contentType)) throw fault('NOT_FOUND');
      reply.headers({
        'content-type': file.contentType,
        'content-length': file.sizeBytes,
        etag: `"${name.replaceAll('.', '-')}"`,
        'cross-origin-resource-policy': 'cross-origin', // or a shop page on another origin could not show it
      });
      return file.content;
    },
  }),
];
