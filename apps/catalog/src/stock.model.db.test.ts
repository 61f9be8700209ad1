import { sql, type Database, type Queryable, type Tx } from '@headroom/postgres';
import { Fault, uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { ManualClock } from '@headroom/testing';
import fc from 'fast-check';
import { openCatalogShop, type CatalogShop } from '../test/catalog-shop';
import { trackContention } from './contention';
import { createHolds, splitStock } from './holds';
import { publishStock } from './jobs';
import type { HoldState } from './stock';
import { expireHolds } from './stock-repository';

let shop: CatalogShop;
beforeAll(async () => {
  shop = await openCatalogShop();
});
afterAll(() => shop.close());

/** What happens around one statement: the process dies before it is sent, or after it had its effect. */
type Fate = 'lives' | 'before' | 'after';
const dead = () => new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { detail: 'the process died' });

/** The database as seen by a process that dies around the statements that `fates` says; then it lives. */
function mortal(db: Database, fates: Fate[]): Database {
  const around = async <T>(work: () => Promise<T>): Promise<T> => {
    const fate = fates.shift() ?? 'lives';
    if (fate === 'before') throw dead();
    const result = await work();
    if (fate === 'after') throw dead();
    return result;
  };
  const statements = (queryable: Queryable): Queryable => ({
    rows: <Row>(statement: Parameters<Queryable['rows']>[0]) => around(() => queryable.rows<Row>(statement)),
    row: <Row>(statement: Parameters<Queryable['row']>[0]) => around(() => queryable.row<Row>(statement)),
    execute: (statement) => around(() => queryable.execute(statement)),
  });
  return {
    ...db,
    ...statements(db),
    transaction: <T>(work: (tx: Tx) => Promise<T>) =>
      around(() => db.transaction((tx) => work({ ...tx, ...statements(tx) }))),
  };
}

interface ModelHold {
  state: HoldState;
  lines: Map<number, number>;
  expiresAtMs: number;
}

const PRODUCTS = 3;
const ORDERS = 4;
const TTL_SECONDS = 5;
const order = fc.nat({ max: ORDERS - 1 });
const product = fc.nat({ max: PRODUCTS - 1 });
const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('place' as const),
      order,
      lines: fc.dictionary(fc.constantFrom('0', '1', '2'), fc.integer({ min: 1, max: 6 }), { minKeys: 1 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('confirm' as const), order }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), order }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('return' as const), order }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.constantFrom(1, 6) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('expire' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('publish' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('split' as const), product }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('correct' as const),
      product,
      delta: fc.integer({ min: -5, max: 15 }),
    }),
  },
);
const fate = fc.constantFrom<Fate>('lives', 'lives', 'lives', 'lives', 'before', 'after');

it('behaves as its model under any sequence of operations, wherever processes die and calls are repeated', async () => {
  const play = async (
    operations: Array<{ what: typeof operation extends fc.Arbitrary<infer T> ? T : never; fates: Fate[] }>,
  ) => {
    const clock = new ManualClock();
    const products = [];
    for (const onHand of [12n, 20n, 70n]) products.push((await shop.addProduct({ onHand })).id);
    const ids = products;
    const available = [12, 20, 70];
    const ledger = [12, 20, 70];
    const orders = Array.from({ length: ORDERS }, () => uuidv7());
    const holds = new Map<number, ModelHold>();
    const quantity = (hold: ModelHold, sign: 1 | -1, of: number[]) => {
      for (const [index, units] of hold.lines) of[index]! += sign * units;
    };
    const enough = (lines: Map<number, number>) =>
      [...lines].every(([index, units]) => available[index]! >= units);

    for (const { what, fates } of operations) {
      const db = mortal(shop.db, [...fates]);
      const service = createHolds({
        db,
        clock,
        logger: silentLogger,
        contention: trackContention({ thresholdMs: Number.POSITIVE_INFINITY }),
      });
      /** The caller repeats its call until it has an answer, as the contract of every operation allows. */
      const insist = async (call: () => Promise<unknown>): Promise<unknown> => {
        for (;;)
          try {
            return await call();
          } catch (error) {
            if (!(error instanceof Fault)) throw error;
            if (error.code !== 'DEPENDENCY_UNAVAILABLE') return error.code;
          }
      };
      switch (what.kind) {
        case 'place': {
          const lines = new Map(Object.entries(what.lines).map(([index, units]) => [Number(index), units]));
          const answer = await insist(() =>
            service
              .place(
                orders[what.order]!,
                [...lines].map(([index, units]) => ({ productId: ids[index]!, quantity: units })),
                TTL_SECONDS,
              )
              .then((hold) => hold.lines.map((line) => [ids.indexOf(line.productId), line.quantity])),
          );
          const known = holds.get(what.order);
          if (known) {
            const stands =
              known.state === 'confirmed' || (known.state === 'held' && known.expiresAtMs > clock.now());
            expect(answer).toEqual(stands ? [...known.lines] : 'HOLD_EXPIRED');
          } else if (enough(lines)) {
            const hold: ModelHold = { state: 'held', lines, expiresAtMs: clock.now() + TTL_SECONDS * 1_000 };
            quantity(hold, -1, available);
            holds.set(what.order, hold);
            expect(answer).toEqual([...lines]);
          } else expect(answer).toBe('OUT_OF_STOCK');
          break;
        }
        case 'confirm': {
          const answer = await insist(() => service.confirm(orders[what.order]!));
          const hold = holds.get(what.order);
          if (hold?.state === 'expired' && enough(hold.lines)) {
            quantity(hold, -1, available);
            hold.state = 'held';
          }
          if (hold?.state === 'held') {
            quantity(hold, -1, ledger);
            hold.state = 'confirmed';
          }
          expect(answer).toBe(
            hold?.state === 'confirmed' || hold?.state === 'returned' ? hold.state : 'HOLD_EXPIRED',
          );
          break;
        }
        case 'release':
        case 'return': {
          const call = what.kind === 'release' ? service.release : service.returnUnits;
          const answer = await insist(() => call(orders[what.order]!));
          const hold = holds.get(what.order) ?? {
            state: 'released' as const,
            lines: new Map(),
            expiresAtMs: 0,
          };
          holds.set(what.order, hold);
          if (hold.state === 'held') quantity(hold, 1, available);
          if (hold.state === 'held' || hold.state === 'expired') hold.state = 'released';
          if (what.kind === 'return' && hold.state === 'confirmed') {
            quantity(hold, 1, available);
            quantity(hold, 1, ledger);
            hold.state = 'returned';
          }
          expect(answer).toBe(hold.state);
          break;
        }
        case 'wait':
          clock.advance(what.seconds * 1_000);
          break;
        case 'expire':
          await insist(() => expireHolds(db, { nowMs: clock.now(), limit: 100 }));
          for (const hold of holds.values())
            if (hold.state === 'held' && hold.expiresAtMs <= clock.now()) {
              quantity(hold, 1, available);
              hold.state = 'expired';
            }
          break;
        case 'publish':
          await insist(() => publishStock({ db, clock }));
          break;
        case 'split':
          await insist(() => splitStock(db, ids[what.product]!));
          break;
        case 'correct': {
          const answer = await insist(() =>
            shop.as('admin').setStock({
              productId: ids[what.product]!,
              change: { $case: 'delta', value: BigInt(what.delta) },
            }),
          );
          if (available[what.product]! + what.delta < 0) expect(answer).toBe('STOCK_NEGATIVE');
          else {
            available[what.product]! += what.delta;
            ledger[what.product]! += what.delta;
          }
        }
      }
      const books = await Promise.all(ids.map((id) => shop.books(id)));
      for (const [index, { available: free, held, ledger: entered }] of books.entries()) {
        expect([free, entered]).toEqual([BigInt(available[index]!), BigInt(ledger[index]!)]);
        expect(free + held).toBe(entered);
      }
    }

    clock.advance(60_000);
    while ((await publishStock({ db: shop.db, clock })) > 0);
    for (const [index, id] of ids.entries()) {
      const events = (await shop.events(id)).filter(({ subject }) => subject === `stock/${id}`);
      expect(events.map(({ version }) => version)).toEqual(events.map((_, position) => position + 1));
      expect(events.at(-1)!.data).toMatchObject({ available: available[index], onHand: ledger[index] });
    }
    await shop.test.db.execute(sql('test.forget')`truncate holds, held_units`);
  };
  const step = fc.record({ what: operation, fates: fc.array(fate, { maxLength: 6 }) });
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), play), {
    numRuns: 40,
  });
}, 120_000);
