import { operationsV1 } from '@headroom/contracts';
import { operationsHandlers } from '@headroom/jobs';
import { parkedDeadLetters } from '@headroom/messaging';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { createRpcClient, implement, type ServerCall } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { eventually, ManualClock } from '@headroom/testing';
import { orderEvent, productEvent, stockEvent, viewEvent } from '../test/events';
import { startRecommendationSystem, type RecommendationSystem } from '../test/system';
import { startLearning, type Learning } from './learn';

const DAY = 24 * 3_600_000;
const NOW = Date.now();
const clock = new ManualClock(NOW);

jest.setTimeout(30_000); // real databases, beside whatever else the machine does

let system: RecommendationSystem;
let learning: Learning;
beforeEach(async () => {
  system = await startRecommendationSystem({
    clock,
    services: (db) => [
      implement(
        'headroom.operations.v1.OperationsService',
        operationsV1.OperationsServiceService,
        operationsHandlers<ServerCall>({
          deadLetters: parkedDeadLetters(db),
          authorize: (call) => call.admin(),
        }),
      ),
    ],
  });
  learning = startLearning({ db: system.learnt.db, log: system.log, logger: silentLogger });
});
afterEach(async () => {
  await learning.close();
  await system.close();
});

/** Products with stock; their names are their indexes. */
async function products(count: number, category: (index: number) => string = () => 'all'): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => uuidv7(NOW - DAY + index));
  await system.append(
    ...ids.flatMap((id, index) => [
      productEvent(1, { id, name: String(index), category: category(index) }),
      stockEvent(1, id, 10),
    ]),
  );
  return ids;
}

/** Confirmed orders of these products, the same number of days ago. */
async function sell(
  productIds: string[],
  times: number,
  daysAgo = 1,
  userId: string | null = null,
): Promise<void> {
  await system.append(
    ...Array.from({ length: times }, () =>
      orderEvent(2, {
        id: uuidv7(),
        userId,
        status: 'confirmed',
        placedAt: new Date(NOW - daysAgo * DAY).toISOString(),
        productIds,
      }),
    ),
  );
}

const names = (answer: { products: Array<{ name: string }> }) => answer.products.map(({ name }) => name);
const failsWith = (code: string, path?: string) =>
  expect.objectContaining({ code, ...(path ? { errors: [expect.objectContaining({ path })] } : {}) });

describe('related products', () => {
  it('are those bought together, best first, then others of the category, then popular ones, never the product itself', async () => {
    const ids = await products(8, (index) => (index < 5 ? 'kitchen' : 'garden'));
    await sell([ids[0]!, ids[6]!], 9);
    await sell([ids[0]!, ids[7]!], 3);
    await sell([ids[7]!], 30);
    await sell([ids[4]!], 2);
    await sell([ids[5]!], 40);
    await system.settled();
    const found = names(await system.client.listRelated({ productId: ids[0]!, limit: 7 }));
    expect(found.slice(0, 2)).toEqual(['6', '7']);
    expect(found[2]).toBe('4');
    expect([...found.slice(3, 6)].sort()).toEqual(['1', '2', '3']);
    expect(found[6]).toBe('5');
  });

  it('rank what is out of stock below what is not, and show the stock', async () => {
    const ids = await products(4);
    await sell([ids[0]!, ids[1]!], 9);
    await sell([ids[0]!, ids[2]!], 2);
    await system.append(stockEvent(2, ids[1]!, 0));
    await system.settled();
    const { products: found } = await system.client.listRelated({ productId: ids[0]!, limit: 3 });
    expect(names(await system.client.listRelated({ productId: ids[0]!, limit: 1 }))).toEqual(['2']);
    expect(found.map(({ name, available }) => [name, available])).toEqual([
      ['2', 10n],
      ['3', 10n],
      ['1', 0n],
    ]);
  });

  it('lose an archived product at once and get it back restored; its own list is not found', async () => {
    const ids = await products(3);
    await sell([ids[0]!, ids[1]!], 5);
    await system.append(productEvent(2, { id: ids[1]!, name: '1', archived: true }));
    await system.settled();
    expect(names(await system.client.listRelated({ productId: ids[0]!, limit: 5 }))).toEqual(['2']);
    expect(names(await system.client.listTrending({ limit: 5 }))).not.toContain('1');
    await expect(system.client.listRelated({ productId: ids[1]!, limit: 5 })).rejects.toEqual(
      failsWith('NOT_FOUND'),
    );
    await system.append(productEvent(3, { id: ids[1]!, name: '1' }));
    await system.settled();
    expect(names(await system.client.listRelated({ productId: ids[0]!, limit: 5 }))[0]).toBe('1');
  });

  it('show whole cards, and say what is wrong with a request', async () => {
    const [id, other] = await products(2);
    await system.append(
      productEvent(2, {
        id: other!,
        name: 'Mug',
        group: 'mugs',
        options: { size: 'L' },
        imageUrl: '/images/a.webp',
      }),
    );
    await system.settled();
    const { products: found } = await system.client.listRelated({ productId: id!, limit: 1 });
    expect(found[0]).toMatchObject({
      id: other,
      name: 'Mug',
      price: { amountMinor: 2_495n, currency: 'EUR' },
      available: 10n,
      imageUrl: '/images/a.webp',
      archived: false,
      version: 2n,
      group: 'mugs',
      options: { values: { size: 'L' } },
    });
    for (const productId of [uuidv7(), 'x'])
      await expect(system.client.listRelated({ productId, limit: 1 })).rejects.toEqual(
        failsWith('NOT_FOUND'),
      );
    for (const limit of [-1, 101])
      await expect(system.client.listRelated({ productId: id!, limit })).rejects.toEqual(
        failsWith('VALIDATION_FAILED', 'limit'),
      );
  });
});

describe('trending products', () => {
  it('rise: not those that sell as always, not what was bought years ago, and full lists all the same', async () => {
    const ids = await products(4);
    for (let daysAgo = 0; daysAgo < 60; daysAgo += 1) await sell([ids[0]!], 3, daysAgo);
    await sell([ids[1]!], 12, 0.5);
    await sell([ids[2]!], 500, 5_000);
    await system.settled();
    expect(names(await system.client.listTrending({ limit: 1 }))).toEqual(['1']);
    const all = names(await system.client.listTrending({ limit: 4 }));
    expect(all[1]).toBe('0'); // the most popular one fills up
    expect(all).toHaveLength(4);
  }, 30_000);

  it('are raised by views, each counted once by its id', async () => {
    const ids = await products(3);
    const view = viewEvent(ids[2]!, null, new Date(NOW));
    await system.append(
      ...Array.from({ length: 20 }, () => viewEvent(ids[2]!, null, new Date(NOW))),
      view,
      view,
      view,
    );
    const schema = await system.settled();
    expect(names(await system.client.listTrending({ limit: 1 }))).toEqual(['2']);
    const views = () =>
      system.learnt.db.row(sql('test.views')`select views from ${schema}.products where id = ${ids[2]!}`);
    expect(await views()).toEqual({ views: 21n });
    await system.append(view); // once more, in a batch of its own
    await system.settled();
    expect(await views()).toEqual({ views: 21n });
  });
});

describe('personal lists', () => {
  it('follow what somebody bought and looked at, without what was bought just now', async () => {
    const ids = await products(9);
    const user = uuidv7();
    await sell([ids[0]!, ids[1]!, ids[2]!], 20, 40);
    await sell([ids[3]!, ids[4]!], 20, 40);
    await sell([ids[8]!], 50, 1);
    await sell([ids[0]!, ids[1]!], 1, 2, user);
    await system.settled();
    const mine = () => system.as(user, () => system.client.listForMe({ limit: 4 }));
    expect(names(await mine())[0]).toBe('2');
    expect(names(await mine())).not.toEqual(expect.arrayContaining(['0']));
    await system.append(viewEvent(ids[3]!, user, new Date(NOW - DAY)));
    await system.settled();
    expect(
      names(await mine())
        .slice(0, 2)
        .sort(),
    ).toEqual(['2', '4']);
  });

  it('are popular products for who is not known, and none for guests', async () => {
    const ids = await products(3);
    await sell([ids[1]!], 5);
    await system.settled();
    const found = await system.as(uuidv7(), () => system.client.listForMe({ limit: 3 }));
    expect(names(found)[0]).toBe('1');
    expect(found.products).toHaveLength(3);
    await expect(system.client.listForMe({ limit: 3 })).rejects.toEqual(failsWith('UNAUTHENTICATED'));
  });
});

describe('activities', () => {
  it('reach the log as events of the caller or the guest, those of unknown products never', async () => {
    const [id] = await products(1);
    await system.settled();
    const user = uuidv7();
    await system.as(user, () =>
      system.client.recordActivity({ type: 'view', productId: id!, guestId: 'somebody else' }),
    );
    await system.client.recordActivity({ type: 'click', productId: id!, guestId: 'guest' });
    await system.client.recordActivity({ type: 'view', productId: uuidv7(), guestId: 'guest' });
    const records = await eventually(async () => {
      const found = await system.events.db.rows<{ key: string; value: string }>(sql('test.activity')`
        select key, value from log_records where topic = 'headroom.activity.v1'`);
      expect(found).toHaveLength(2);
      return found;
    });
    expect(records.map(({ key, value }) => [key, JSON.parse(value).data]).sort()).toEqual(
      [
        ['guest', { type: 'click', productId: id, userId: null, guestId: 'guest' }],
        [user, { type: 'view', productId: id, userId: user, guestId: null }],
      ].sort(),
    );
    const schema = await system.settled();
    const kept = await system.learnt.db.rows<{ actor: string }>(sql('test.actors')`
      select actor from ${schema}.activity order by actor`);
    expect(kept.map(({ actor }) => actor)).toEqual(['guest/guest', `user/${user}`]);
  });

  it('are refused with the field that is wrong', async () => {
    const record = (request: { type: string; productId: string; guestId: string }) =>
      system.client.recordActivity(request);
    const good = { type: 'view', productId: uuidv7(), guestId: 'guest' };
    await expect(record({ ...good, type: 'buy' })).rejects.toEqual(failsWith('VALIDATION_FAILED', 'type'));
    await expect(record({ ...good, productId: 'x' })).rejects.toEqual(
      failsWith('VALIDATION_FAILED', 'productId'),
    );
    for (const guestId of ['', 'x'.repeat(129)])
      await expect(record({ ...good, guestId })).rejects.toEqual(failsWith('VALIDATION_FAILED', 'guestId'));
  });
});

it('parks an event that cannot be learnt from, lists and requeues it for an admin alone, and goes on with the others', async () => {
  const ids = await products(2);
  const order = { userId: null, status: 'confirmed' as const, placedAt: new Date(NOW).toISOString() };
  const poison = orderEvent(2, { ...order, id: uuidv7(), productIds: ['no id', ids[0]!] });
  await system.append(poison, orderEvent(2, { ...order, id: uuidv7(), productIds: ids }));
  const schema = await system.settled();
  expect(await system.learnt.db.row(sql('test.total')`select orders from ${schema}.totals`)).toEqual({
    orders: 1n,
  });
  const operations = createRpcClient(operationsV1.OperationsServiceService, { address: system.address });
  try {
    const list = () => operations.listDeadLetters({ limit: 10, afterId: '' });
    const { deadLetters } = await system.as('admin', list);
    expect(deadLetters).toMatchObject([
      { source: 'recommendation.v1', topic: 'headroom.order.v1', eventId: poison.event.id, attempts: 1 },
    ]);
    await expect(system.as('user', list)).rejects.toEqual(failsWith('FORBIDDEN'));
    await system.as('admin', () => operations.requeueDeadLetter({ deadLetterId: deadLetters[0]!.id }));
    await eventually(async () => {
      const again = await system.as('admin', list);
      expect(again.deadLetters[0]!.attempts).toBe(2);
    });
    await system.as('admin', () => operations.discardDeadLetter({ deadLetterId: deadLetters[0]!.id }));
    expect((await system.as('admin', list)).deadLetters).toEqual([]);
  } finally {
    operations.close();
  }
});
