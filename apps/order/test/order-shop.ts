import { catalogV1, type OrderData, type StoredResponse } from '@headroom/contracts';
import { messagingMigrations } from '@headroom/messaging';
import { jobsMigrations } from '@headroom/jobs';
import { migrationsDirectory, openDatabase, sql, type Database } from '@headroom/postgres';
import { uuidv7, type Clock } from '@headroom/resilience';
import { createRpcClient } from '@headroom/rpc';
import { storageMigrations } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, ManualClock, type TestDatabase } from '@headroom/testing';
import { createHash } from 'node:crypto';
import { createCarts, type Carts } from '../src/cart';
import { createCheckout, type Checkout, type PlaceRequest } from '../src/checkout';
import { createGuestCarts, type GuestCarts } from '../src/guest-cart';
import { createSagaRunner, makePartitionsAhead, type SagaRunner } from '../src/jobs';
import type { Order } from '../src/order';
import { createPayments } from '../src/payment';
import { findOrders } from '../src/repository';
import { createOrderWatch, type OrderWatch } from '../src/watch';
import { startCatalogDouble, type CatalogDouble, type ProductState } from './catalog-double';
import { startPaymentDouble, type PaymentDouble } from './payment-double';

/** When a process dies: around its n-th call to a database or another system, before or after that has its effect. */
export interface Death {
  at: number;
  when: 'before' | 'after';
}

/** One process of the order service, without its listeners. */
export interface OrderProcess {
  db: Database;
  checkout: Checkout;
  carts: Carts;
  guestCarts: GuestCarts;
  sagas: SagaRunner;
  watch: OrderWatch;
  /** True once the process has died; nothing it does has any effect from then on, and nothing it was asked for answers. */
  dead(): boolean;
  /** Resolves when the process dies. */
  death: Promise<void>;
  /** Ends the process: in good order, or what a dead one has left of its connections. */
  stop(): Promise<void>;
}

/** What the event of an order looks like in the outbox. */
interface StoredEvent {
  type: string;
  subject: string;
  aggregateversion: number;
  traceparent?: string;
  data: OrderData;
}

/** A shop for tests: a database, the systems around the order service, and processes that may die. */
export interface OrderShop {
  test: TestDatabase;
  clock: ManualClock;
  catalog: CatalogDouble;
  payment: PaymentDouble;
  /** Starts a process; with `jobs: false` it takes no due sagas. `database` may come between it and its database. */
  start(options?: { death?: Death; jobs?: boolean; database?: (db: Database) => Database }): OrderProcess;
  addProduct(product?: Partial<ProductState>): string;
  /** Moves time on until no order has anything left to do. */
  settle(): Promise<void>;
  order(id: string): Promise<Order>;
  /** `type@version` of everything that was published about the order. */
  events(orderId: string): Promise<StoredEvent[]>;
  /** Stops every process. */
  stopAll(): Promise<void>;
  /** Stops every process and everything around them. */
  close(): Promise<void>;
}

export const PAYMENT_TIMEOUT_SECONDS = 600;
export const HOLD_TTL_SECONDS = 900;

/** Opens a shop on a database of its own. A call to the payment provider ends after `paymentTimeoutMs` of real time. */
export async function openOrderShop({ paymentTimeoutMs = 1_000 } = {}): Promise<OrderShop> {
  const test = await createTestDatabase(
    migrationsDirectory(`${__dirname}/../src`),
    messagingMigrations('outbox'),
    jobsMigrations(),
    storageMigrations(),
  );
  const clock = new ManualClock();
  await makePartitionsAhead(test.db, clock.now());
  const catalog = await startCatalogDouble();
  const payment = await startPaymentDouble({ slowMs: 50 });
  const processes = new Set<OrderProcess>();

  const start: OrderShop['start'] = ({ death, jobs = true, database = (db: Database) => db } = {}) => {
    const mortality = createMortality(death);
    const pool = openDatabase({ url: test.url, name: 'order', logger: silentLogger, maxConnections: 4 });
    const client = createRpcClient(catalogV1.CatalogServiceService, {
      address: catalog.address,
      timeoutMs: 2_000,
    });
    const db = mortality.wrap(database(pool), ['rows', 'row', 'execute', 'transaction']);
    const holds = mortality.wrap(client, [
      'getQuotes',
      'placeHold',
      'confirmHold',
      'releaseHold',
      'returnUnits',
    ]);
    const payments = mortality.wrap(createPayments({ url: payment.url, timeoutMs: paymentTimeoutMs }), [
      'charge',
      'find',
      'refund',
    ]);
    const processClock = mortality.clock(clock);
    const watch = createOrderWatch({
      load: (ids) => findOrders(db, ids),
      clock: processClock,
      logger: silentLogger,
    });
    const shared = { db, clock: processClock, logger: silentLogger, onChange: watch.changed };
    const sagas = createSagaRunner({ ...shared, holds, payments });
    if (jobs) sagas.start();
    const checkout = createCheckout({
      ...shared,
      holds,
      holdTtlSeconds: HOLD_TTL_SECONDS,
      paymentTimeoutSeconds: PAYMENT_TIMEOUT_SECONDS,
      wakeSagas: () => sagas.kick(),
      returnUnits: (orderId) => sagas.step(orderId, 1_000),
    });
    const carts = createCarts({ db, catalog: holds, clock: processClock, shopCurrency: 'EUR' });
    const guestCarts = createGuestCarts({ db, carts, catalog: holds, clock: processClock });
    const started: OrderProcess = {
      ...{ db, checkout, carts, guestCarts, sagas, watch, dead: mortality.dead, death: mortality.death },
      async stop() {
        processes.delete(started);
        const ending = async () => {
          await watch.close();
          await sagas.close();
        };
        if (!mortality.dead()) await Promise.race([ending(), mortality.death]);
        client.close();
        await pool.close();
      },
    };
    processes.add(started);
    return started;
  };

  const stopAll = async () => void (await Promise.all([...processes].map((each) => each.stop())));

  return {
    test,
    clock,
    catalog,
    payment,
    start,
    addProduct(product = {}) {
      const id = uuidv7();
      catalog.products.set(id, {
        sku: `SKU-${id.slice(-6)}`,
        name: 'Oak Board',
        priceMinor: 1_999n,
        currency: 'EUR',
        available: 100,
        ...product,
      });
      return id;
    },
    settle: () =>
      eventually(async () => {
        clock.advance(2_000);
        const left = await test.db.rows(sql('test.sagas')`select step, attempt from order_sagas`);
        if (left.length > 0) throw new Error(`unfinished: ${JSON.stringify(left)}`);
      }, 20_000),
    async order(id) {
      const [order] = await findOrders(test.db, [id]);
      if (!order) throw new Error(`there is no order ${id}`);
      return order;
    },
    async events(orderId) {
      const rows = await test.db.rows<{ event: StoredEvent }>(
        sql('test.events')`select event from outbox where key = ${orderId} order by id`,
      );
      return rows.map((row) => row.event);
    },
    stopAll,
    async close() {
      await stopAll();
      await catalog.close();
      await payment.close();
      await test.drop();
    },
  };
}

/** A checkout of one product by a new user under a new key; the fingerprint follows from what is ordered. */
export function placeRequest(lines: PlaceRequest['lines'], rest: Partial<PlaceRequest> = {}): PlaceRequest {
  const paymentToken = rest.paymentToken ?? 'tok_ok';
  return {
    userId: uuidv7(),
    key: uuidv7(),
    fingerprint: createHash('sha256')
      .update(JSON.stringify([lines, paymentToken]))
      .digest(),
    requestId: 'request-1',
    lines,
    shippingAddress: {
      name: 'Ada Lovelace',
      line1: '12 St James Square',
      line2: '',
      postalCode: 'SW1Y 4JH',
      city: 'London',
      region: '',
      country: 'GB',
    },
    paymentToken,
    ...rest,
  };
}

/** The members of a stored response's body. */
export const bodyOf = (response: StoredResponse): Record<string, unknown> & { id: string } =>
  JSON.parse(response.body.toString('utf8'));

/** Lets everything that a process uses die with it. */
export function createMortality(death: Death | undefined) {
  let operations = 0;
  let dead = false;
  let die: () => void = () => undefined;
  const never = new Promise<never>(() => undefined);
  const died = new Promise<void>((resolve) => {
    die = () => {
      dead = true;
      resolve();
    };
  });
  return {
    death: died,
    dead: () => dead,
    wrap<T extends object>(target: T, methods: ReadonlyArray<keyof T>): T {
      return new Proxy(target, {
        get(object, name, receiver) {
          const member: unknown = Reflect.get(object, name, receiver);
          if (typeof member !== 'function' || !methods.includes(name as keyof T)) return member;
          return async (...args: unknown[]): Promise<unknown> => {
            if (dead) return never;
            operations += 1;
            const last = operations === death?.at;
            if (last && death?.when === 'before') {
              die();
              return never;
            }
            try {
              const result: unknown = await Reflect.apply(member, object, args);
              if (dead) return await never;
              if (!last) return result;
            } catch (error) {
              if (dead) return await never;
              if (!last) throw error;
            }
            die();
            return never;
          };
        },
      });
    },
    clock: (clock: Clock): Clock => ({
      now: () => clock.now(),
      sleep: async (ms, signal) => {
        await clock.sleep(ms, signal);
        if (dead) await never;
      },
    }),
  };
}
