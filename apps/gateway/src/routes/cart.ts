import type { orderV1 } from '@headroom/contracts';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { expectedVersion, versionEtag } from '../http-cache';
import { Cart, cartJson } from '../schemas';
import { pathId } from './accounts';
import { tellPositions } from './catalog';

const cartReply = { status: 200, schema: Cart, description: "The cart at today's prices" };

/** The cart of who is signed in. */
export const cartEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/cart',
    tag: 'Cart and orders',
    summary: 'The cart',
    access: 'user',
    cache: 'private',
    reply: cartReply,
    async handle({ deps, reply }) {
      return shown(reply, await deps.order.getCart({}));
    },
  }),

  endpoint({
    method: 'PUT',
    path: '/v1/cart/items/:productId',
    tag: 'Cart and orders',
    summary: 'Put a product into the cart, or change its quantity',
    access: 'user',
    cache: 'none',
    ifMatch: 'optional',
    body: Type.Object(
      { quantity: Type.Integer({ minimum: 1, maximum: 9_999, examples: [2] }) },
      { additionalProperties: false },
    ),
    reply: cartReply,
    faults: ['PRODUCT_UNAVAILABLE', 'CURRENCY_MIXED'],
    faultKinds: { CURRENCY_MIXED: 'conflict' },
    async handle({ deps, params, body, principal, request, reply }) {
      const cart = await deps.order.putCartItem({
        productId: pathId(params.productId),
        quantity: body.quantity,
        ifVersion: await cartVersion(deps, request.headers['if-match']),
      });
      return written(deps, reply, principal.userId, cart);
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/cart/items/:productId',
    tag: 'Cart and orders',
    summary: 'Take a product out of the cart',
    description: 'Also of one that is not in it.',
    access: 'user',
    cache: 'none',
    ifMatch: 'optional',
    reply: cartReply,
    async handle({ deps, params, principal, request, reply }) {
      const cart = await deps.order.removeCartItem({
        productId: pathId(params.productId),
        ifVersion: await cartVersion(deps, request.headers['if-match']),
      });
      return written(deps, reply, principal.userId, cart);
    },
  }),
];

const cartVersion = (deps: Deps, ifMatch: string | undefined) =>
  expectedVersion(ifMatch, async () => (await deps.order.getCart({})).version);

function shown(reply: FastifyReply, cart: orderV1.Cart) {
  reply.header('etag', versionEtag(cart.version));
  return cartJson(cart);
}

function written(deps: Deps, reply: FastifyReply, userId: string, cart: orderV1.Cart) {
  tellPositions(deps, reply, [{ subject: `cart/${userId}`, version: cart.version }]);
  return shown(reply, cart);
}
