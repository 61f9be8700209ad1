import { randomUUID } from 'node:crypto';
import { ADDRESS, recorded } from '../../src';
import { asIs, UNKNOWN, type OperationCase, type World } from './world';

const put = (world: World, productId: string, headers: Record<string, string> = {}) =>
  recorded((api) =>
    api.PUT('/v1/cart/items/{productId}', {
      params: { path: { productId } },
      headers: { ...world.asCustomer, ...headers },
      body: { quantity: 3 },
    }),
  );
const take = (world: World, productId: string, headers: Record<string, string> = {}) =>
  recorded((api) =>
    api.DELETE('/v1/cart/items/{productId}', {
      params: { path: { productId } },
      headers: { ...world.asCustomer, ...headers },
    }),
  );
const order = (world: World, productId: string, quantity = 1) =>
  recorded((api) =>
    api.POST('/v1/orders', {
      params: { header: { 'Idempotency-Key': randomUUID() } },
      headers: world.asCustomer,
      body: {
        items: [{ productId, quantity }],
        shippingAddress: ADDRESS,
        payment: { method: 'card', token: 'tok_ok' },
      },
    }),
  );
const follow = (world: World, headers: Record<string, string> = {}) =>
  recorded((api) =>
    api.GET('/v1/orders/{id}/events', {
      params: { path: { id: world.orderId } },
      headers: { ...world.asCustomer, ...headers },
      parseAs: 'text',
    }),
  );
const cancel = (world: World, id: string) =>
  recorded((api) =>
    api.POST('/v1/orders/{id}/cancel', {
      params: { path: { id }, header: { 'Idempotency-Key': randomUUID() } },
      headers: world.asCustomer,
    }),
  );
const cancelAsAdmin = (world: World, id: string) =>
  recorded((api) =>
    api.POST('/v1/admin/orders/{id}/cancel', {
      params: { path: { id }, header: { 'Idempotency-Key': randomUUID() } },
      headers: world.asAdmin,
    }),
  );

export const orders = {
  'GET /v1/cart': {
    right: ({ asCustomer }) => recorded((api) => api.GET('/v1/cart', { headers: asCustomer })),
  },
  'PUT /v1/cart/items/{productId}': {
    right: (world) => put(world, world.product.id),
    others: {
      404: (world) => put(world, 'not-an-id'),
      409: (world) => put(world, world.foreign.id),
      412: (world) => put(world, world.product.id, { 'if-match': '"99999"' }),
      422: (world) => put(world, UNKNOWN),
    },
  },
  'DELETE /v1/cart/items/{productId}': {
    right: (world) => take(world, UNKNOWN),
    others: {
      404: (world) => take(world, 'not-an-id'),
      412: (world) => take(world, world.product.id, { 'if-match': '"99999"' }),
    },
  },
  'POST /v1/orders': {
    right: (world) => order(world, world.product.id),
    others: {
      409: (world) => order(world, world.product.id, 9_999),
      422: (world) => order(world, UNKNOWN),
    },
  },
  'GET /v1/orders': {
    right: ({ asCustomer }) => recorded((api) => api.GET('/v1/orders', { headers: asCustomer })),
  },
  'GET /v1/orders/{id}': {
    right: ({ asCustomer, orderId }) =>
      recorded((api) =>
        api.GET('/v1/orders/{id}', { params: { path: { id: orderId } }, headers: asCustomer }),
      ),
  },
  'GET /v1/orders/{id}/events': {
    right: (world) => follow(world),
    others: { 204: (world) => follow(world, { 'last-event-id': world.lastEventId }) },
  },
  'POST /v1/orders/{id}/cancel': {
    right: async (world) => cancel(world, await world.settled('tok_ok')),
    others: {
      202: async (world) => cancel(world, await world.placed('tok_slow')),
      409: (world) => cancel(world, world.declinedId),
    },
  },
  'GET /v1/admin/orders': {
    right: ({ asAdmin }) => recorded((api) => api.GET('/v1/admin/orders', { headers: asAdmin })),
  },
  'GET /v1/admin/orders/{id}': {
    right: ({ asAdmin, orderId }) =>
      recorded((api) =>
        api.GET('/v1/admin/orders/{id}', { params: { path: { id: orderId } }, headers: asAdmin }),
      ),
  },
  'POST /v1/admin/orders/{id}/cancel': {
    right: async (world) => cancelAsAdmin(world, await world.settled('tok_ok')),
    others: {
      202: async (world) => cancelAsAdmin(world, await world.placed('tok_slow')),
      409: (world) => cancelAsAdmin(world, world.declinedId),
    },
  },
  'POST /v1/admin/order-imports': {
    right: ({ asAdmin, product }) =>
      recorded((api) =>
        api.POST('/v1/admin/order-imports', {
          headers: { ...asAdmin, 'content-type': 'application/x-ndjson' },
          body: `${JSON.stringify({
            externalId: randomUUID(),
            placedAt: '2020-02-29T10:00:00Z',
            items: [{ sku: product.sku, quantity: 1, unitPrice: { amountMinor: 100, currency: 'EUR' } }],
          })}\n`,
          ...asIs,
        }),
      ),
  },
} satisfies Record<string, OperationCase>;
