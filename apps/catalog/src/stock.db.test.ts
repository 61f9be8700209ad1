import type { catalogV1 } from '@headroom/contracts';
import { sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually, ManualClock } from '@headroom/testing';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';
import { trackContention } from './contention';
import { createHolds, splitStock } from './holds';
import { publishStock } from './jobs';
import { seedCatalogue } from './seed';
import { deleteMarks, expireHolds } from './stock-repository';

jest.setTimeout(30_000); // many callers at once, on machines that may be busy

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

const hold = (lines: Array<[productId: string, quantity: number]>, orderId = uuidv7(), ttlSeconds = 0) =>
  shop.as('nobody').placeHold({
    orderId,
    lines: lines.map(([productId, quantity]) => ({ productId, quantity })),
    ttlSeconds,
  });
const confirm = (orderId: string) => shop.as('nobody').confirmHold({ orderId });
const release = (orderId: string) => shop.as('nobody').releaseHold({ orderId });
const giveBack = (orderId: string) => shop.as('nobody').returnUnits({ orderId });
const expire = () => expireHolds(shop.db, { nowMs: shop.clock.now(), limit: 1_000 });
const setStock = (productId: string, change: catalogV1.SetStockRequest['change']) =>
  shop.as('admin').setStock({ productId, change });
const ledger = async (productId: string) =>
  (await shop.as('admin').listStockLedger({ productId, limit: 100, afterId: '', includeTotal: true }))
    .entries;

/** How a call ended: `ok`, the code of its fault, or the text of anything else, such as a deadlock. */
const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );
const times = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, index) => make(index));
const tally = (outcomes: readonly string[]) =>
  outcomes.reduce<Record<string, number>>(
    (counts, each) => ({ ...counts, [each]: (counts[each] ?? 0) + 1 }),
    {},
  );

describe('a hold', () => {
  it('takes units at the price of the moment, and keeps both when the same order asks again', async () => {
    const a = await shop.addProduct({ onHand: 5n });
    const b = await shop.addProduct({ onHand: 5n });
    const orderId = uuidv7();
    const first = await hold(
      [
        [b.id, 2],
        [a.id, 1],
      ],
      orderId,
    );
    expect(first).toEqual({
      orderId,
      lines: [
        { productId: b.id, sku: b.sku, name: b.name, quantity: 2, unitPrice: b.price },
        { productId: a.id, sku: a.sku, name: a.name, quantity: 1, unitPrice: a.price },
      ],
      expiresAt: new Date(shop.clock.now() + 900_000).toISOString(),
    });
    await shop.as('admin').updateProduct({
      productId: a.id,
      name: 'Dearer',
      price: { amountMinor: 9_999n, currency: '' },
    });
    await shop.as('admin').archiveProduct({ productId: b.id });
    expect(
      await hold(
        [
          [b.id, 2],
          [a.id, 1],
        ],
        orderId,
      ),
    ).toEqual(first);
    expect(await shop.books(a.id)).toMatchObject({ available: 4n, held: 1n, ledger: 5n });
    expect(await shop.books(b.id)).toMatchObject({ available: 3n, held: 2n, ledger: 5n });
  });

  it('is taken once by one order, however often it asks at the same time', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    const orderId = uuidv7();
    const answers = await Promise.all(times(20, () => hold([[id, 3]], orderId)));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(await shop.books(id)).toMatchObject({ available: 7n, held: 3n });
  });

  it('is all or nothing, and names every product that is missing, of another currency or short', async () => {
    const plenty = await shop.addProduct({ onHand: 10n });
    const short = await shop.addProduct({ onHand: 1n });
    const none = await shop.addProduct({ onHand: 0n });
    const archived = await shop.addProduct();
    await shop.as('admin').archiveProduct({ productId: archived.id });
    const dollars = await shop.addProduct({ price: { amountMinor: 1n, currency: 'USD' } });
    const unknown = uuidv7();
    await expect(
      hold([
        [plenty.id, 1],
        [unknown, 1],
        [archived.id, 1],
        [short.id, 2],
      ]),
    ).rejects.toMatchObject({
      code: 'PRODUCT_UNAVAILABLE',
      kind: 'unprocessable',
      extra: { productIds: [unknown, archived.id] },
    });
    await expect(
      hold([
        [plenty.id, 1],
        [dollars.id, 1],
      ]),
    ).rejects.toMatchObject({ code: 'CURRENCY_MIXED' });
    await expect(
      hold([
        [short.id, 2],
        [plenty.id, 1],
        [none.id, 1],
      ]),
    ).rejects.toMatchObject({
      code: 'OUT_OF_STOCK',
      kind: 'conflict',
      extra: { productIds: [short.id, none.id] },
    });
    expect(await shop.books(plenty.id)).toMatchObject({ available: 10n, held: 0n });
    expect(await shop.books(short.id)).toMatchObject({ available: 1n, held: 0n });
  });

  it('that was released or has expired never comes again for its order', async () => {
    const { id } = await shop.addProduct();
    const released = uuidv7();
    await hold([[id, 1]], released);
    expect(await release(released)).toEqual({ orderId: released, state: 'released' });
    expect(await release(released)).toEqual({ orderId: released, state: 'released' });
    const early = uuidv7();
    await release(early);
    const late = uuidv7();
    await hold([[id, 1]], late, 60);
    shop.clock.advance(60_000);
    await expect(hold([[id, 1]], late)).rejects.toMatchObject({ code: 'HOLD_EXPIRED' });
    await expire();
    for (const orderId of [released, early, late])
      await expect(hold([[id, 1]], orderId)).rejects.toMatchObject({
        code: 'HOLD_EXPIRED',
        kind: 'conflict',
      });
    expect(await shop.books(id)).toMatchObject({ available: 10n, held: 0n, ledger: 10n });
  });

  it.each<[string, Partial<catalogV1.PlaceHoldRequest>, string]>([
    ['an order that is no id', { orderId: 'x' }, 'orderId'],
    ['no lines', { lines: [] }, 'lines'],
    ['a product that is no id', { lines: [{ productId: 'x', quantity: 1 }] }, 'lines[0].productId'],
    ['no units', { lines: [{ productId: uuidv7(), quantity: 0 }] }, 'lines[0].quantity'],
    ['a time that is none', { ttlSeconds: -1 }, 'ttlSeconds'],
  ])('is refused for %s', async (_name, members, path) => {
    const request = { orderId: uuidv7(), lines: [{ productId: uuidv7(), quantity: 1 }], ttlSeconds: 0 };
    await expect(shop.as('nobody').placeHold({ ...request, ...members })).rejects.toMatchObject({
      code: 'VALIDATION_FAILED',
      errors: [expect.objectContaining({ path })],
    });
  });

  it('is refused for one product on two lines', async () => {
    const id = uuidv7();
    await expect(
      hold([
        [id, 1],
        [id, 2],
      ]),
    ).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  });
});

describe('a sale', () => {
  it('leaves what is on hand and enters the ledger, once', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    const orderId = uuidv7();
    await hold([[id, 3]], orderId);
    expect(await Promise.all(times(5, () => confirm(orderId)))).toEqual(
      times(5, () => ({ orderId, state: 'confirmed' })),
    );
    expect(await release(orderId)).toEqual({ orderId, state: 'confirmed' });
    expect(await shop.as('admin').getStock({ productId: id })).toMatchObject({
      onHand: 7n,
      available: 7n,
      held: 0n,
    });
    expect(await ledger(id)).toEqual([
      expect.objectContaining({ delta: -3n, reason: 'sale', orderId }),
      expect.objectContaining({ delta: 10n, reason: 'opening', orderId: '' }),
    ]);
  });

  it('is returned once, and its hold stays over', async () => {
    const a = await shop.addProduct({ onHand: 10n });
    const b = await shop.addProduct({ onHand: 10n });
    const orderId = uuidv7();
    await hold(
      [
        [a.id, 3],
        [b.id, 1],
      ],
      orderId,
    );
    await confirm(orderId);
    for (const settled of await Promise.all(times(5, () => giveBack(orderId))))
      expect(settled).toEqual({ orderId, state: 'returned' });
    expect(await confirm(orderId)).toEqual({ orderId, state: 'returned' });
    expect(await shop.books(a.id)).toMatchObject({ available: 10n, held: 0n, ledger: 10n });
    expect(await shop.books(b.id)).toMatchObject({ available: 10n, held: 0n, ledger: 10n });
    expect((await ledger(a.id)).map((entry) => entry.reason)).toEqual(['return', 'sale', 'opening']);
  });

  it('of a hold that expired takes the units once more at the old price, or fails when they are gone', async () => {
    const { id, price } = await shop.addProduct({ onHand: 2n });
    const lucky = uuidv7();
    const unlucky = uuidv7();
    await hold([[id, 1]], lucky, 1);
    await hold([[id, 1]], unlucky, 1);
    shop.clock.advance(1_000);
    expect(await expire()).toBe(2);
    await shop.as('admin').updateProduct({ productId: id, price: { amountMinor: 1n, currency: '' } });
    expect(await confirm(lucky)).toEqual({ orderId: lucky, state: 'confirmed' });
    await hold([[id, 1]]);
    await expect(confirm(unlucky)).rejects.toMatchObject({ code: 'HOLD_EXPIRED', kind: 'conflict' });
    await expect(confirm(uuidv7())).rejects.toMatchObject({ code: 'HOLD_EXPIRED' });
    expect(await shop.books(id)).toMatchObject({ available: 0n, held: 1n, ledger: 1n });
    expect((await hold([[id, 1]], lucky)).lines[0]!.unitPrice).toEqual(price);
  });

  it('of a hold whose time is over, but which nobody has ended yet, is a sale', async () => {
    const { id } = await shop.addProduct({ onHand: 1n });
    const orderId = uuidv7();
    await hold([[id, 1]], orderId, 1);
    shop.clock.advance(5_000);
    expect(await confirm(orderId)).toEqual({ orderId, state: 'confirmed' });
    expect(await expire()).toBe(0);
  });

  it('that never was holds nothing afterwards', async () => {
    const { id } = await shop.addProduct({ onHand: 5n });
    const held = uuidv7();
    await hold([[id, 2]], held);
    expect(await giveBack(held)).toEqual({ orderId: held, state: 'released' });
    expect(await giveBack(uuidv7())).toMatchObject({ state: 'released' });
    expect(await shop.books(id)).toMatchObject({ available: 5n, held: 0n, ledger: 5n });
  });
});

describe('a correction', () => {
  it('sets or changes what is on hand beside what is held', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    await hold([[id, 4]]);
    const set = await setStock(id, { $case: 'onHand', value: 7n });
    expect(set.stock).toEqual({ productId: id, onHand: 7n, available: 3n, held: 4n, version: 2n });
    expect(set.positions).toEqual([{ subject: `stock/${id}`, version: 2n }]);
    const changed = await setStock(id, { $case: 'delta', value: -3n });
    expect(changed.stock).toMatchObject({ onHand: 4n, available: 0n, held: 4n });
    expect((await ledger(id)).map(({ delta, reason }) => [delta, reason])).toEqual([
      [-3n, 'correction'],
      [-3n, 'correction'],
      [10n, 'opening'],
    ]);
  });

  it('below what is held, or zero, is refused', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    await hold([[id, 4]]);
    for (const change of [
      { $case: 'onHand', value: 3n },
      { $case: 'delta', value: -7n },
    ] as const)
      await expect(setStock(id, change)).rejects.toMatchObject({ code: 'STOCK_NEGATIVE', kind: 'conflict' });
    expect(await shop.books(id)).toMatchObject({ available: 6n, held: 4n, ledger: 10n });
  });

  it('needs one of onHand and delta, within bounds', async () => {
    const { id } = await shop.addProduct();
    for (const change of [
      undefined,
      { $case: 'onHand', value: -1n },
      { $case: 'delta', value: 2_000_000_000n },
    ] as const)
      await expect(setStock(id, change)).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
  });
});

describe('many buyers', () => {
  it('get exactly the last 20 units when 200 want one at once', async () => {
    const { id } = await shop.addProduct({ onHand: 20n });
    const outcomes = await Promise.all(times(200, () => outcome(hold([[id, 1]]))));
    expect(tally(outcomes)).toEqual({ ok: 20, OUT_OF_STOCK: 180 });
    expect(await shop.books(id)).toMatchObject({ available: 0n, held: 20n, ledger: 20n });
  });

  it('get the last unit out of buckets that no single one of them could fill', async () => {
    const { id } = await shop.addProduct({ onHand: 64n });
    while ((await splitStock(shop.db, id)) !== undefined);
    expect((await shop.books(id)).buckets).toBe(16);
    const outcomes = await Promise.all(times(20, () => outcome(hold([[id, 7]]))));
    expect(tally(outcomes)).toEqual({ ok: 9, OUT_OF_STOCK: 11 });
    expect(tally(await Promise.all(times(2, () => outcome(hold([[id, 1]])))))).toEqual({
      ok: 1,
      OUT_OF_STOCK: 1,
    });
    expect(await shop.books(id)).toMatchObject({ available: 0n, held: 64n });
  });

  it('of the same products in opposite orders never block one another for good', async () => {
    // Among many products rows are found by index, in the order asked for, unless the statement says otherwise.
    await seedCatalogue({ db: shop.db, products: 1_000, seed: 1, currency: 'EUR' });
    await shop.test.db.execute(sql('test.analyze')`analyze stock_buckets`);
    const products = await Promise.all(times(6, () => shop.addProduct({ onHand: 10_000n })));
    await splitStock(shop.db, products[2]!.id);
    const orders = times(120, (n) => {
      const rotated = products.map((_, index) => products[(index + n) % products.length]!);
      const lines = (n % 2 === 0 ? rotated : rotated.reverse()).map(({ id }): [string, number] => [id, 1]);
      return { orderId: uuidv7(), lines };
    });
    const outcomes = await Promise.all(
      orders.map(({ orderId, lines }, n) =>
        outcome(
          hold(lines, orderId).then(() =>
            n % 3 === 0
              ? release(orderId)
              : n % 3 === 1
                ? confirm(orderId).then(() => giveBack(orderId))
                : undefined,
          ),
        ),
      ),
    );
    expect(tally(outcomes)).toEqual({ ok: 120 });
    for (const { id } of products)
      expect(await shop.books(id)).toMatchObject({ available: 9_960n, held: 40n, ledger: 10_000n });
  });

  it('and an expiry at the same moment share the units without making or losing one', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    const orders = times(10, () => uuidv7());
    await Promise.all(orders.map((orderId) => hold([[id, 1]], orderId, 1)));
    shop.clock.advance(1_000);
    const [confirmed, bought] = await Promise.all([
      Promise.all(orders.map((orderId) => outcome(confirm(orderId)))),
      Promise.all(times(20, () => outcome(hold([[id, 1]])))),
      ...times(5, () => expireHolds(shop.db, { nowMs: shop.clock.now(), limit: 3 })),
    ]);
    while ((await expire()) > 0);
    const sold = tally(confirmed).ok ?? 0;
    const held = tally(bought).ok ?? 0;
    expect(Object.keys({ ...tally(confirmed), ...tally(bought) }).sort()).toEqual(
      expect.arrayContaining(['OUT_OF_STOCK', 'ok']),
    );
    expect(sold + held).toBeLessThanOrEqual(10);
    expect(await shop.books(id)).toMatchObject({
      available: BigInt(10 - sold - held),
      held: BigInt(held),
      ledger: BigInt(10 - sold),
    });
  });
});

describe('a split', () => {
  const contended = () =>
    createHolds({ db: shop.db, clock: shop.clock, logger: silentLogger, contention: trackContention() });

  it('happens by itself when buyers wait for one another, and not when they do not', async () => {
    const hot = await shop.addProduct({ onHand: 1_000n });
    const calm = await shop.addProduct({ onHand: 1_000n });
    const holds = contended();
    for (const n of times(60, (index) => index))
      await holds.place(uuidv7(), [{ productId: calm.id, quantity: 1 + (n % 2) }], 60);
    let buyers: Array<Promise<unknown>> = [];
    await shop.test.db.transaction(async (tx) => {
      await tx.execute(sql('test.lock')`select 1 from stock_buckets where product_id = ${hot.id} for update`);
      buyers = times(30, () => holds.place(uuidv7(), [{ productId: hot.id, quantity: 1 }], 60));
      await eventually(async () => {
        const waiting = await tx.row<{ count: bigint }>(
          sql(
            'test.waiting',
          )`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        expect(waiting!.count).toBeGreaterThanOrEqual(14n);
      });
    });
    await Promise.all(buyers);
    await holds.close();
    expect(await shop.books(hot.id)).toMatchObject({ buckets: 2, available: 970n, held: 30n });
    expect(await shop.books(calm.id)).toMatchObject({ buckets: 1, available: 910n, held: 90n });
  });

  it('again and again amid buyers keeps every unit, and all are sold', async () => {
    const { id } = await shop.addProduct({ onHand: 400n });
    const everyWait = trackContention({ thresholdMs: 0, leastSamples: 5 });
    const holds = createHolds({
      db: shop.db,
      clock: shop.clock,
      logger: silentLogger,
      contention: everyWait,
    });
    const buyUntilSoldOut = async () => {
      for (let bought = 0; ; bought += 1)
        if ((await outcome(holds.place(uuidv7(), [{ productId: id, quantity: 1 }], 60))) !== 'ok')
          return bought;
    };
    const bought = await Promise.all(times(24, buyUntilSoldOut));
    await holds.close();
    expect(bought.reduce((sum, each) => sum + each, 0)).toBe(400);
    const books = await shop.books(id);
    expect(books).toMatchObject({ available: 0n, held: 400n, ledger: 400n });
    expect(books.buckets).toBe(16);
  });
});

describe('published stock', () => {
  const stockEvents = async (productId: string) =>
    (await shop.events(productId)).filter((event) => event.subject === `stock/${productId}`);
  const publish = (db: Database = shop.db) => publishStock({ db, clock: shop.clock });
  beforeEach(async () => {
    shop.clock.advance(1_000);
    while ((await publish()) > 0);
  });

  it('has absolute values, versions without a hole, and comes at most once a second per product', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    const other = await shop.addProduct({ onHand: 10n });
    await hold([[id, 1]]);
    expect(await publish()).toBe(0);
    shop.clock.advance(1_000);
    await Promise.all(times(5, () => hold([[id, 1]])));
    expect(await publish()).toBe(1);
    await hold([
      [id, 1],
      [other.id, 1],
    ]);
    expect(await publish()).toBe(1);
    shop.clock.advance(999);
    expect(await publish()).toBe(0);
    shop.clock.advance(1);
    expect(await publish()).toBe(1);
    expect(await publish()).toBe(0);
    expect((await stockEvents(id)).map(({ version, data }) => [version, data])).toEqual([
      [1, { productId: id, onHand: 10, available: 10, held: 0 }],
      [2, { productId: id, onHand: 10, available: 4, held: 6 }],
      [3, { productId: id, onHand: 10, available: 3, held: 7 }],
    ]);
    expect((await stockEvents(other.id)).map(({ version }) => version)).toEqual([1, 2]);
  });

  it('includes a correction under the version that its answer named', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    shop.clock.advance(1_000);
    const { positions } = await setStock(id, { $case: 'onHand', value: 3n });
    const same = await setStock(id, { $case: 'onHand', value: 3n });
    expect(same.positions).toEqual(positions);
    await publish();
    expect(positions).toEqual([{ subject: `stock/${id}`, version: 2n }]);
    expect((await stockEvents(id)).at(-1)).toMatchObject({ version: 2, data: { onHand: 3, available: 3 } });
  });

  it('follows sales and releases, too', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    const [sold, dropped, returned] = times(3, () => uuidv7());
    for (const orderId of [sold!, dropped!, returned!]) await hold([[id, 2]], orderId, 5);
    const last = async () => {
      shop.clock.advance(1_000);
      expect(await publish()).toBe(1);
      return (await stockEvents(id)).at(-1)!.data;
    };
    expect(await last()).toMatchObject({ onHand: 10, available: 4, held: 6 });
    await confirm(sold!);
    expect(await last()).toMatchObject({ onHand: 8, available: 4, held: 4 });
    await release(dropped!);
    expect(await last()).toMatchObject({ onHand: 8, available: 6, held: 2 });
    shop.clock.advance(5_000);
    await expire();
    expect(await last()).toMatchObject({ onHand: 8, available: 8, held: 0 });
    await giveBack(sold!);
    expect(await last()).toMatchObject({ onHand: 10, available: 10, held: 0 });
  });

  it.each([1, 2, 3, 4])(
    'never lacks for good a sale that commits behind statement %i of the publisher',
    async (at) => {
      const { id } = await shop.addProduct({ onHand: 10n });
      shop.clock.advance(1_000);
      await hold([[id, 1]]);
      let statements = 0;
      const sellBehind = async <T>(work: Promise<T>): Promise<T> => {
        const result = await work;
        statements += 1;
        if (statements === at) await hold([[id, 1]]);
        return result;
      };
      await publish({
        ...shop.db,
        transaction: (work, options) =>
          shop.db.transaction(
            (tx) =>
              work({
                ...tx,
                rows: (statement) => sellBehind(tx.rows(statement)),
                execute: (statement) => sellBehind(tx.execute(statement)),
              }),
            options,
          ),
      });
      expect(statements).toBe(4);
      shop.clock.advance(1_000);
      await publish();
      expect((await stockEvents(id)).at(-1)!.data).toMatchObject({ available: 8, held: 2 });
    },
  );

  it('comes in order from publishers side by side', async () => {
    const { id } = await shop.addProduct({ onHand: 1_000n });
    for (let round = 0; round < 5; round += 1) {
      await Promise.all([...times(5, () => hold([[id, 1]])), ...times(4, () => publish())]);
      shop.clock.advance(1_000);
    }
    await publish();
    const events = await stockEvents(id);
    expect(events.map(({ version }) => version)).toEqual(times(events.length, (index) => index + 1));
    expect(events.at(-1)!.data).toMatchObject({ available: 975, held: 25 });
  });

  it('is not lost with a mark that was deleted for nothing', async () => {
    const { id } = await shop.addProduct({ onHand: 10n });
    shop.clock.advance(1_000);
    await hold([[id, 1]]);
    const dying = shop.db.transaction(async (tx) => {
      await deleteMarks(tx, [id]);
      throw new Error('the process dies here');
    });
    await expect(dying).rejects.toThrow('dies');
    expect(await publish()).toBe(1);
  });
});

it('keeps the ledger equal to what is on hand at every moment of a busy day', async () => {
  const products = await Promise.all(times(4, () => shop.addProduct({ onHand: 300n })));
  const clock = new ManualClock(shop.clock.now());
  const contention = trackContention({ thresholdMs: 0, leastSamples: 10 });
  const holds = createHolds({ db: shop.db, clock, logger: silentLogger, contention });
  let open = true;
  const audits: string[] = [];
  const audit = async () => {
    for (; open;) {
      const wrong = await shop.test.db.rows<{ id: string; on_hand: bigint; entered: bigint }>(sql(
        'test.audit',
      )`
        select s.product_id as id, on_hand, entered from stock s,
          lateral (select (select sum(available) from stock_buckets b where b.product_id = s.product_id)
            + (select coalesce(sum(quantity), 0) from held_units u where u.product_id = s.product_id) as on_hand) h,
          lateral (select coalesce(sum(delta), 0) as entered from stock_ledger l where l.product_id = s.product_id) l
        where on_hand <> entered and s.product_id = any(${products.map(({ id }) => id)}::uuid[])`);
      audits.push(...wrong.map((row) => `${row.id}: ${row.on_hand} on hand, ${row.entered} entered`));
      audited += 1;
    }
  };
  let audited = 0;
  const shopper = async (n: number) => {
    const ends: string[] = [];
    for (let round = 0; round < 12; round += 1) {
      const orderId = uuidv7();
      const lines = products
        .filter((_, index) => (n + round + index) % 3 !== 0)
        .map(({ id }, index) => ({ productId: id, quantity: 1 + ((n + index) % 3) }));
      if (n % 2 === 0) lines.reverse();
      ends.push(await outcome(holds.place(orderId, lines, 1)));
      const end = (n + round) % 4;
      if (end === 0) ends.push(await outcome(holds.release(orderId)));
      if (end === 1) ends.push(await outcome(holds.confirm(orderId)));
      if (end === 2) ends.push(await outcome(holds.confirm(orderId).then(() => holds.returnUnits(orderId))));
      clock.advance(20);
    }
    return ends;
  };
  const storekeeper = async () => {
    const ends: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      const { id } = products[round % products.length]!;
      ends.push(await outcome(setStock(id, { $case: 'delta', value: round % 2 === 0 ? 40n : -5n })));
      ends.push(await outcome(expireHolds(shop.db, { nowMs: clock.now(), limit: 5 })));
      ends.push(await outcome(publishStock({ db: shop.db, clock })));
    }
    return ends;
  };
  const auditing = audit();
  const ends = await Promise.all([...times(16, shopper), storekeeper()]);
  open = false;
  await auditing;
  await holds.close();
  const allowed = ['ok', 'OUT_OF_STOCK', 'HOLD_EXPIRED', 'STOCK_NEGATIVE'];
  expect(ends.flat().filter((end) => !allowed.includes(end))).toEqual([]);
  expect(audits).toEqual([]);
  expect(audited).toBeGreaterThan(5);
});
