import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { orderEvent, productEvent, stockEvent, viewEvent, type Published } from '../test/events';
import { dumpModel, startRecommendationSystem, type RecommendationSystem } from '../test/system';
import { learn, startLearning, type Learning, type LearningOptions } from './learn';
import { fold, markAllStale, refreshNeighbours } from './model-repository';
import { listModels, schemaOf } from './models-repository';
import { rebuild } from './rebuild';

const DAY = 24 * 3_600_000;

jest.setTimeout(30_000); // real databases, beside whatever else the machine does

let system: RecommendationSystem;
beforeEach(async () => {
  system = await startRecommendationSystem();
});
afterEach(async () => {
  await Promise.all(learnings.splice(0).map((each) => each.close()));
  await system.close();
});

const learnings: Learning[] = [];
const startToLearn = (options: Partial<LearningOptions> = {}) => {
  const learning = startLearning({
    db: system.learnt.db,
    log: system.log,
    logger: silentLogger,
    ...options,
  });
  learnings.push(learning);
  return learning;
};
const rebuildNow = () =>
  rebuild({ db: system.learnt.db, log: system.log, logger: silentLogger, report: () => undefined });

/** The rows of a version once all is learnt, with all neighbours worked out now: they depend on when that was done. */
async function settledDump(version: number) {
  await markAllStale(system.learnt.db, await system.settled());
  await system.settled();
  return dumpModel(system.learnt.db, `model_v${version}`);
}

/** A shop with products, customers, views, and orders in every state. */
function history(orders: number) {
  const users = Array.from({ length: 5 }, () => uuidv7());
  const productIds = Array.from({ length: 25 }, () => uuidv7());
  const events: Published[] = productIds.flatMap((id, index) => [
    productEvent(1, { id, category: `c${index % 3}` }),
    stockEvent(1, id, index),
    viewEvent(id, users[index % users.length]!),
  ]);
  for (let index = 0; index < orders; index += 1) events.push(...orderEvents(index, users, productIds));
  return { events, users, productIds };
}

function orderEvents(index: number, users: string[], productIds: string[]): Published[] {
  const at = (step: number) => productIds[(index * step + step) % productIds.length]!;
  const order = {
    id: uuidv7(),
    userId: index % 6 === 0 ? null : users[index % users.length]!,
    placedAt: new Date(Date.now() - (index % 40) * DAY).toISOString(),
    productIds: [at(1), at(2), at(3), at(index % 4)],
  };
  const event = (version: number, status: 'pending' | 'confirmed' | 'cancelled') =>
    orderEvent(version, { ...order, status });
  return [
    event(1, 'pending'),
    ...(index % 5 === 0 ? [] : [event(2, 'confirmed')]),
    ...(index % 7 === 0 ? [event(3, 'cancelled')] : []),
  ];
}

it('learns from the log anew, row by row what it had learnt bit by bit, while it goes on learning', async () => {
  startToLearn({ graceMs: 600_000 });
  const { events, users, productIds } = history(300);
  await system.append(...events);
  await system.settled();
  const rebuilding = rebuildNow();
  for (let index = 300; index < 400; index += 1)
    await system.append(...orderEvents(index, users, productIds));
  await rebuilding;
  const models = await listModels(system.learnt.db);
  expect(models.map(({ version, state }) => [version, state])).toEqual([
    [1, 'retired'],
    [2, 'live'],
  ]);
  const bitByBit = await settledDump(2);
  await rebuildNow();
  // Already now: what readers see has not gone back.
  expect((await dumpModel(system.learnt.db, 'model_v3'))['counted']).toEqual(bitByBit['counted']);
  const anew = await settledDump(3);
  expect(anew).toEqual(bitByBit);
  for (const table of ['activity', 'counted', 'neighbours', 'pairs', 'products'])
    expect([table, anew[table]!.length > 0]).toEqual([table, true]);
}, 60_000);

it('counts an order once however often its events come, and no longer when it is cancelled', async () => {
  startToLearn();
  const [a, b] = [uuidv7(), uuidv7()];
  const order = { id: uuidv7(), userId: null, placedAt: new Date().toISOString(), productIds: [a, b, a] };
  const confirmed = orderEvent(2, { ...order, status: 'confirmed' });
  await system.append(productEvent(1, { id: a }), productEvent(1, { id: b }));
  await system.append(orderEvent(1, { ...order, status: 'pending' }), confirmed, confirmed, confirmed);
  const counts = async () => {
    const schema = await system.settled();
    return {
      products: await system.learnt.db.rows(
        sql('test.products')`select orders, recent > '-infinity' as fading from ${schema}.products`,
      ),
      pairs: await system.learnt.db.rows(sql('test.pairs')`select together from ${schema}.pairs`),
      totals: await system.learnt.db.row(sql('test.totals')`select orders from ${schema}.totals`),
    };
  };
  expect(await counts()).toEqual({
    products: [
      { orders: 1n, fading: true },
      { orders: 1n, fading: true },
    ],
    pairs: [{ together: 1n }],
    totals: { orders: 1n },
  });
  const cancelled = orderEvent(3, { ...order, status: 'cancelled' });
  const nothing = {
    products: [
      { orders: 0n, fading: false },
      { orders: 0n, fading: false },
    ],
    pairs: [],
    totals: { orders: 0n },
  };
  await system.append(cancelled, confirmed, cancelled);
  expect(await counts()).toEqual(nothing);
  await system.append(confirmed); // once more, long after
  expect(await counts()).toEqual(nothing);
});

it('adds up in rounds of bounded size, however large the orders are', async () => {
  const { db } = system.learnt;
  const schema = schemaOf({ version: 1 });
  const productIds = Array.from({ length: 300 }, () => uuidv7());
  const orders = Array.from({ length: 15 }, () =>
    orderEvent(2, {
      id: uuidv7(),
      userId: null,
      status: 'confirmed',
      placedAt: new Date().toISOString(),
      productIds,
    }),
  );
  const events = orders.map(({ event }) => event);
  await db.transaction((tx) => learn(tx, schema, events, Date.now()));
  const roundsOf = async (work: () => Promise<number>) => {
    const rounds: number[] = [];
    for (let done = await work(); done > 0; done = await work()) rounds.push(done);
    return rounds;
  };
  expect(await roundsOf(() => fold(db, schema))).toEqual([6, 6, 3]); // 4,950 pairs each, until there are 25,000
  const pairs = await db.row<{ met: number }>(sql('test.met')`
    select sum(together)::int as met from ${schema}.pairs`);
  expect(pairs!.met).toBe(15 * 4_950);
  expect(Math.max(...(await roundsOf(() => refreshNeighbours(db, schema))))).toBe(20);
  const kept = await db.row<{ most: number }>(sql('test.most')`
    select max(cardinality(ids)) as most from ${schema}.neighbours`);
  expect(kept!.most).toBe(50);
});
