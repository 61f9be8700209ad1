import { randomUUID } from 'node:crypto';
import { png, recorded } from '../../src';
import { asIs, UNKNOWN, type OperationCase, type World } from './world';

const create = ({ asAdmin }: World, sku: string) =>
  recorded((api) =>
    api.POST('/v1/admin/products', {
      headers: asAdmin,
      body: {
        sku,
        name: 'Walnut spoon',
        description: '',
        category: 'kitchen/spoons',
        price: { amountMinor: 900 },
        onHand: 3,
        group: randomUUID(),
        options: { size: 'L' },
      },
    }),
  );
const change = ({ asAdmin }: World, id: string, headers: Record<string, string> = {}) =>
  recorded((api) =>
    api.PATCH('/v1/admin/products/{id}', {
      params: { path: { id } },
      headers: { ...asAdmin, ...headers },
      body: { name: 'Oak board' },
    }),
  );
const archive = ({ asAdmin }: World, id: string) =>
  recorded((api) => api.DELETE('/v1/admin/products/{id}', { params: { path: { id } }, headers: asAdmin }));
const setStock = ({ asAdmin, product }: World, delta: number) =>
  recorded((api) =>
    api.PUT('/v1/admin/products/{id}/stock', {
      params: { path: { id: product.id } },
      headers: asAdmin,
      body: { delta },
    }),
  );
const picture = ({ asAdmin }: World, id: string) =>
  recorded((api) =>
    api.PUT('/v1/admin/products/{id}/image', {
      params: { path: { id } },
      headers: { ...asAdmin, 'content-type': 'image/png' },
      body: png(8, 8, [200, 0, 0]) as unknown as string,
      ...asIs,
    }),
  );

export const catalog = {
  'GET /v1/products': {
    right: () => recorded((api) => api.GET('/v1/products', { params: { query: { include: 'total' } } })),
  },
  'GET /v1/products/{idOrSlug}': {
    right: ({ product }) =>
      recorded((api) => api.GET('/v1/products/{idOrSlug}', { params: { path: { idOrSlug: product.slug } } })),
  },
  'GET /v1/products/{id}/related': {
    right: ({ product }) =>
      recorded((api) => api.GET('/v1/products/{id}/related', { params: { path: { id: product.id } } })),
  },
  'GET /v1/products/trending': { right: () => recorded((api) => api.GET('/v1/products/trending')) },
  'GET /v1/me/recommendations': {
    right: ({ asCustomer }) => recorded((api) => api.GET('/v1/me/recommendations', { headers: asCustomer })),
  },
  'GET /v1/categories': { right: () => recorded((api) => api.GET('/v1/categories')) },
  'POST /v1/activity': {
    right: ({ product }) =>
      recorded((api) => api.POST('/v1/activity', { body: { type: 'view', productId: product.id } })),
  },
  'POST /v1/vitals': {
    right: () =>
      recorded((api) => api.POST('/v1/vitals', { body: { page: '/products/mug', metrics: { lcp: 1_800 } } })),
  },
  'POST /v1/admin/products': {
    right: (world) => create(world, randomUUID()),
    others: { 409: (world) => create(world, world.archived.sku) },
  },
  'GET /v1/admin/products': {
    right: ({ asAdmin }) =>
      recorded((api) =>
        api.GET('/v1/admin/products', { params: { query: { includeArchived: true } }, headers: asAdmin }),
      ),
  },
  'GET /v1/admin/products/{id}': {
    right: ({ asAdmin, archived }) =>
      recorded((api) =>
        api.GET('/v1/admin/products/{id}', { params: { path: { id: archived.id } }, headers: asAdmin }),
      ),
  },
  'PATCH /v1/admin/products/{id}': {
    right: (world) => change(world, world.product.id),
    others: {
      409: (world) => change(world, world.archived.id),
      412: (world) => change(world, world.product.id, { 'if-match': '"99999"' }),
    },
  },
  'DELETE /v1/admin/products/{id}': {
    right: async (world) => archive(world, (await world.shop.product(world.adminToken)).id),
  },
  'POST /v1/admin/products/{id}/restore': {
    async right({ shop, adminToken, asAdmin }) {
      const { id } = await shop.product(adminToken);
      await shop.request('DELETE', `/v1/admin/products/${id}`, { token: adminToken });
      return recorded((api) =>
        api.POST('/v1/admin/products/{id}/restore', { params: { path: { id } }, headers: asAdmin }),
      );
    },
  },
  'GET /v1/admin/products/{id}/stock': {
    right: ({ asAdmin, product }) =>
      recorded((api) =>
        api.GET('/v1/admin/products/{id}/stock', { params: { path: { id: product.id } }, headers: asAdmin }),
      ),
  },
  'PUT /v1/admin/products/{id}/stock': {
    right: (world) => setStock(world, 5),
    others: { 409: (world) => setStock(world, -1_000_000) },
  },
  'GET /v1/admin/products/{id}/stock/ledger': {
    right: ({ asAdmin, product }) =>
      recorded((api) =>
        api.GET('/v1/admin/products/{id}/stock/ledger', {
          params: { path: { id: product.id } },
          headers: asAdmin,
        }),
      ),
  },
  'PUT /v1/admin/products/{id}/image': {
    right: (world) => picture(world, world.foreign.id),
    others: {
      404: (world) => picture(world, UNKNOWN),
      409: (world) => picture(world, world.archived.id),
    },
  },
  'GET /images/{name}': {
    right: ({ imageName }) =>
      recorded((api) => api.GET('/images/{name}', { params: { path: { name: imageName } } })),
    others: {
      404: () =>
        recorded((api) => api.GET('/images/{name}', { params: { path: { name: 'none-480.webp' } } })),
    },
  },
  'POST /v1/admin/imports': {
    right: ({ asAdmin }) =>
      recorded((api) =>
        api.POST('/v1/admin/imports', {
          headers: { ...asAdmin, 'content-type': 'text/csv' },
          body: `sku,name,priceMinor\n${randomUUID()},Imported,100\n`,
          ...asIs,
        }),
      ),
  },
} satisfies Record<string, OperationCase>;
