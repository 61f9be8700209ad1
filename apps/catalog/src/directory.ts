import { catalogV1 } from '@headroom/contracts';
import type { Queryable } from '@headroom/postgres';
import { implement, type GrpcService } from '@headroom/rpc';
import { validate } from './product';
import { resolveSkus } from './repository';

const MOST_SKUS = 1_000;

/**
 * Finds products by what other systems call them, for services that bring in history: archived ones too, since old orders name
 * them. A SKU stays with its product for ever, so an answer may be kept.
 */
export function directoryService({ db }: { db: Queryable }): GrpcService {
  return implement('headroom.catalog.v1.CatalogDirectoryService', catalogV1.CatalogDirectoryServiceService, {
    async resolveSkus({ skus }) {
      validate(skus.length <= MOST_SKUS ? [] : [{ path: 'skus', message: `must be at most ${MOST_SKUS}` }]);
      // No product has such a SKU, and the database refuses texts with NUL.
      return {
        products: await resolveSkus(
          db,
          skus.filter((sku) => !sku.includes('\0')),
        ),
      };
    },
  });
}
