import type { orderV1 } from '@headroom/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { cartTokenOf } from '../guest-cart';
import { expectedVersion, versionEtag } from '../http-cache';
import { Cart, cartJson } from '../schemas';
import { pathId } from './accounts';
import { tellPositions } from './catalog';

const cartReply = { status: 200, schema: Cart, description: "The cart at today's prices" };
const guests =
  'Without Authorization it is the cart of the guest whose Cart-Token is sent: the first PUT returns one, good for 30 days. An unknown token counts as none; beside Authorization it is ignored.';

/** The cart of who is signed in, or of a guest. */
export const cartEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/cart',
    tag: 'Cart and orders',
    summary: 'The cart',
    description: guests,
    access: 'optional',
    cache: 'private',
    cartToken: true,
    reply: cartReply,
    async handle({ deps, request, reply }) {
      return shown(reply, await deps.order.getCart(guestOf(request)));
    },
  }),

  endpoint({
    method: 'PUT',
    path: '/v1/cart/items/:productId',
    tag: 'Cart and orders',
    summary: 'Put a product into the cart, or change its quantity',
    description: guests,
    access: 'optional',
    cache: 'none',
    cartToken: true,
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
        ifVersion: await cartVersion(deps, request),
        ...guestOf(request),
      });
      return written(deps, reply, principal?.userId, cart);
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/cart/items/:productId',
    tag: 'Cart and orders',
    summary: 'Take a product out of the cart',
    description: 'Also of one that is not in it.',
    access: 'optional',
    cache: 'none',
    cartToken: true,
    ifMatch: 'optional',
    reply: cartReply,
    async handle({ deps, params, principal, request, reply }) {
      const cart = await deps.order.removeCartItem({
        productId: pathId(params.productId),
        ifVersion: await cartVersion(deps, request),
        ...guestOf(request),
      });
      return written(deps, reply, principal?.userId, cart);
    },
  }),
];

/** Whose cart it is where nobody is signed in. */
const guestOf = ({ principal, headers }: FastifyRequest) => {
  const cartToken = principal ? undefined : cartTokenOf(headers);
  return cartToken === undefined ? {} : { cartToken };
};

const cartVersion = (deps: Deps, request: FastifyRequest) =>
  expectedVersion(
    request.headers['if-match'],
    async () => (await deps.order.getCart(guestOf(request))).version,
  );

function shown(reply: FastifyReply, cart: orderV1.Cart) {
  reply.header('etag', versionEtag(cart.version));
  if (cart.cartToken) reply.header('cart-token', cart.cartToken);
  return cartJson(cart);
}

function written(deps: Deps, reply: FastifyReply, userId: string | undefined, cart: orderV1.Cart) {
  tellPositions(
    deps,
    reply,
    userId === undefined ? [] : [{ subject: `cart/${userId}`, version: cart.version }],
  );
  return shown(reply, cart);
}
