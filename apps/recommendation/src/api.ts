import { activityEvent, fault, recommendationV1, type catalogV1 } from '@headroom/contracts';
import type { Database } from '@headroom/postgres';
import { isUuidv7, systemClock, uuidv7, type Clock } from '@headroom/resilience';
import { blend, HISTORY, MIN_TREND, recentlyBought, seedsOf, trend } from '@headroom/recommend';
import { currentCall, implement, type GrpcService } from '@headroom/rpc';
import { currentTraceparent } from '@headroom/telemetry';
import type { ActivityBuffer } from './activity';
import type { LiveModel } from './live-model';
import {
  findListed,
  historyOf,
  listCards,
  listMostRecent,
  listNeighbours,
  listPopular,
  neighboursOf,
  type CardRow,
} from './model-repository';

export interface RecommendationOptions {
  db: Database;
  liveModel: LiveModel;
  activity: ActivityBuffer;
  clock?: Clock;
}

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;
const MAX_GUEST_ID = 128;
/** Of the products that draw most interest now, so many are compared with their past. */
const TREND_CANDIDATES = 500;
/** More than are asked for, since some may be archived. */
const BLENDED = 3 * MAX_LIMIT;

/** What goes with what. Each list is full as long as the catalogue has enough: what is missing is filled up with popular products. */
export function recommendationService(options: RecommendationOptions): GrpcService {
  const { db, liveModel, activity, clock = systemClock } = options;

  /** `found`, filled up from the popular ones of a category and then of all, those in stock first. */
  const filledUp = async (
    found: readonly CardRow[],
    {
      limit,
      category = '',
      excluded = [],
    }: { limit: number; category?: string; excluded?: Iterable<string> },
  ) => {
    const rows = [...found];
    const seen = new Set([...excluded, ...found.map((row) => row.id)]);
    for (const within of category === '' ? [{}] : [{ category }, {}]) {
      if (rows.length >= limit) break;
      const popular = await listPopular(db, liveModel.schema(), { ...within, limit: limit + seen.size });
      for (const row of popular) {
        if (rows.length >= limit) break;
        if (!seen.has(row.id)) rows.push(row);
        seen.add(row.id);
      }
    }
    const inStock = rows.filter((row) => row.available > 0n);
    const soldOut = rows.filter((row) => row.available <= 0n);
    return { products: [...inStock, ...soldOut].slice(0, limit).map(productOf) };
  };

  return implement(
    'headroom.recommendation.v1.RecommendationService',
    recommendationV1.RecommendationServiceService,
    {
      async listRelated({ productId, limit: asked }) {
        const limit = limitOf(asked);
        const schema = liveModel.schema();
        const product = isUuidv7(productId) ? await findListed(db, schema, productId) : undefined;
        if (!product)
          throw fault('NOT_FOUND', { detail: `there is no product ${JSON.stringify(productId)}` });
        return filledUp(await listNeighbours(db, schema, productId, limit), {
          limit,
          category: product.card.category,
          excluded: [productId],
        });
      },

      async listTrending({ limit: asked }) {
        const limit = limitOf(asked);
        const nowMs = clock.now();
        const rising = (await listMostRecent(db, liveModel.schema(), TREND_CANDIDATES))
          .map((row) => ({ row, trend: trend(row, nowMs) }))
          .filter((each) => each.trend >= MIN_TREND)
          .sort((a, b) => b.trend - a.trend || (a.row.id < b.row.id ? 1 : -1))
          .sort((a, b) => Number(b.row.available > 0n) - Number(a.row.available > 0n));
        return filledUp(
          rising.slice(0, limit).map(({ row }) => row),
          { limit },
        );
      },

      async listForMe({ limit: asked }, call) {
        const { userId } = await call.principal();
        const limit = limitOf(asked);
        const schema = liveModel.schema();
        const nowMs = clock.now();
        const history = await historyOf(db, schema, userId, { ...HISTORY, nowMs });
        const excluded = recentlyBought(history, nowMs);
        const seeds = seedsOf(history);
        const neighbours = await neighboursOf(
          db,
          schema,
          seeds.map(({ id }) => id),
        );
        const wanted = blend(seeds, (id) => neighbours.get(id) ?? [], { excluded, limit: BLENDED });
        const cards = await listCards(
          db,
          schema,
          wanted.map(({ id }) => id),
        );
        const inStock = cards.filter((card) => card.available > 0n);
        const soldOut = cards.filter((card) => card.available <= 0n);
        return filledUp([...inStock, ...soldOut].slice(0, limit), { limit, excluded });
      },

      async recordActivity({ type, productId, guestId }, call) {
        if (type !== 'view' && type !== 'click') throw invalid('type', 'must be view or click');
        if (!isUuidv7(productId)) throw invalid('productId', 'must be the id of a product');
        const userId = currentCall()?.accessToken === undefined ? null : (await call.principal()).userId;
        if (userId === null && (guestId === '' || guestId.length > MAX_GUEST_ID))
          throw invalid('guestId', `must have 1 to ${MAX_GUEST_ID} characters where nobody is signed in`);
        const nowMs = clock.now();
        activity.take(
          activityEvent({
            id: uuidv7(nowMs),
            time: new Date(nowMs).toISOString(),
            traceparent: currentTraceparent(),
            data: { type, productId, userId, guestId: userId === null ? guestId : null },
          }),
        );
        return {};
      },
    },
  );
}

const invalid = (path: string, message: string) =>
  fault('VALIDATION_FAILED', { detail: `${path} ${message}`, errors: [{ path, message }] });

function limitOf(limit: number): number {
  if (limit === 0) return DEFAULT_LIMIT;
  if (limit < 1 || limit > MAX_LIMIT) throw invalid('limit', `must be from 1 to ${MAX_LIMIT}`);
  return limit;
}

/** The card as the service's callers see it. */
const productOf = ({ card, version, available }: CardRow): catalogV1.Product => ({
  id: card.id,
  slug: card.slug,
  sku: card.sku,
  name: card.name,
  description: card.description,
  category: card.category,
  price: { amountMinor: BigInt(card.price.amountMinor), currency: card.price.currency },
  available,
  imageUrl: card.imageUrl ?? '',
  archived: card.archived,
  createdAt: card.createdAt,
  updatedAt: card.updatedAt,
  version,
  ...(card.group ? { group: card.group } : {}),
  ...(card.options ? { options: { values: card.options } } : {}),
});
