import { catalogImagesV1, fault } from '@headroom/contracts';
import { implement, type GrpcService } from '@headroom/rpc';
import type { BlobStore } from '@headroom/storage';
import { blobOf } from './images';

const CHUNK_BYTES = 1024 * 1024;

/** The gRPC handlers of pictures, which everybody may see. A name never changes what it stands for, so an answer may be kept. */
export function imageService({ blobs }: { blobs: BlobStore }): GrpcService {
  return implement('headroom.catalog.v1.ImageService', catalogImagesV1.ImageServiceService, {
    async getImage({ name, offset }) {
      // Only thumbnails: nothing else in the store is public.
      const found = /^[0-9a-f]{32}-\d{1,5}\.webp$/.test(name) ? await blobs.stat(blobOf(name)) : undefined;
      if (!found || offset < 0n) throw fault('NOT_FOUND');
      const pieces: Uint8Array[] = [];
      for await (const piece of blobs.read(blobOf(name), { from: Number(offset), length: CHUNK_BYTES }))
        pieces.push(piece);
      return {
        content: Buffer.concat(pieces),
        sizeBytes: BigInt(found.sizeBytes),
        contentType: found.contentType,
      };
    },
  });
}
