import { queryV1, type recommendationV1 } from '@headroom/contracts';
import { Fault, uuidv7 } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import type { Deps } from '../deps';
import { endpoint } from '../endpoint';
import { cartTokenOf } from '../guest-cart';
import { Id, Product, productJson } from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';
import { pathId } from './accounts';

/** Recommendations are ready-made: they come at once or are not worth waiting for. */
const PATIENCE_MS = 1_000;

const query = {
  ...FIELDS_QUERY,
  limit: Type.Integer({ minimum: 1, maximum: 100, default: 20, examples: [20] }),
};
const reply = {
  status: 200,
  schema: Type.Object({
    items: Type.Array(Product),
    degraded: Type.Optional(
      Type.Boolean({
        description: 'True when recommendations are away: popular products instead',
        examples: [true],
      }),
    ),
  }),
  description: 'Products, best first',
};

/** What a shopper may like, and what shoppers do that it is learnt from. */
export const recommendationEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/products/:id/related',
    tag: 'Recommendations',
    summary: 'What goes with a product',
    access: 'optional',
    cache: 'catalog',
    query,
    reply,
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, params, query: { limit }, reply }) {
      const productId = pathId(params.id);
      return recommended(deps, reply, {
        limit,
        ask: () => deps.recommendation.listRelated({ productId, limit }, { timeoutMs: PATIENCE_MS }),
        without: productId,
      });
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/products/trending',
    tag: 'Recommendations',
    summary: 'What is looked at and sold more than it was',
    access: 'optional',
    cache: 'catalog',
    query,
    reply,
    faults: ['DEPENDENCY_UNAVAILABLE'],
    async handle({ deps, query: { limit }, reply }) {
      return recommended(deps, reply, {
        limit,
        ask: () => deps.recommendation.listTrending({ limit }, { timeoutMs: PATIENCE_MS }),
      });
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/me/recommendations',
    tag: 'Recommendations',
    summary: 'What the caller may like',
    access: 'user',
    cache: 'private',
    query,
    reply,
    async handle({ deps, query: { limit }, reply }) {
      return recommended(deps, reply, {
        limit,
        ask: () => deps.recommendation.listForMe({ limit }, { timeoutMs: PATIENCE_MS }),
      });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/activity',
    tag: 'Recommendations',
    summary: 'Tell that a product was looked at or chosen',
    description:
      'Of who is signed in, or of a guest, who is told from others by a digest of the Cart-Token. It feeds recommendations; a crash may lose the last half second.',
    access: 'optional',
    cache: 'none',
    unseen: true,
    cartToken: true,
    body: Type.Object(
      { type: Type.Enum(['view', 'click'], { examples: ['view'] }), productId: Id },
      { additionalProperties: false },
    ),
    reply: { status: 202, description: 'Taken' },
    async handle({ deps, body, principal, request }) {
      const cartToken = cartTokenOf(request.headers);
      const guestId = cartToken === undefined ? uuidv7() : guestIdOf(cartToken);
      await deps.recommendation.recordActivity({ ...body, guestId: principal ? '' : guestId });
    },
  }),
];

/** The token opens a cart and must not stand in an event; its digest tells guests apart as well. */
const guestIdOf = (cartToken: string): string =>
  createHash('sha256').update(`activity/${cartToken}`).digest('base64url').slice(0, 22);

/** What the recommendations say, or popular products while they cannot be asked. */
async function recommended(
  { query, logger }: Pick<Deps, 'query' | 'logger'>,
  reply: FastifyReply,
  options: { limit: number; ask: () => Promise<recommendationV1.ProductList>; without?: string },
) {
  const { limit, ask, without } = options;
  try {
    return { items: (await ask()).products.map(productJson) };
  } catch (error) {
    if (error instanceof Fault && !['unavailable', 'timeout', 'overloaded', 'internal'].includes(error.kind))
      throw error;
    logger.warn('recommendations are away: popular products stand in', {
      reason: error instanceof Error ? error.message : String(error),
    });
  }
  const { products } = await query.listProducts({
    category: '',
    currency: '',
    q: '',
    sort: queryV1.ProductSort.PRODUCT_SORT_POPULAR,
    limit: Math.min(limit + 1, 100),
    after: '',
    page: 0,
    includeTotal: false,
    positions: [],
  });
  reply.header('cache-control', 'no-store'); // the real ones may be back in a second
  return {
    items: products
      .filter(({ id }) => id !== without)
      .slice(0, limit)
      .map(productJson),
    degraded: true,
  };
}
