import type { catalogV1 } from '@headroom/contracts';
import { writeOutbox } from '@headroom/messaging';
import type { Database, Queryable } from '@headroom/postgres';
import { backoffMs, Fault, startPoller, withTimeout, type Clock, type Poller } from '@headroom/resilience';
import type { Uploads } from '@headroom/storage';
import { counter, durationHistogram, gauge, inSpan, untraced, type Logger } from '@headroom/telemetry';
import { orderEvent } from './events';
import { placedAtMs, type Order } from './order';
import type { Payments } from './payment';
import {
  deleteExpiredGuestCarts,
  deleteExpiredKeys,
  findOrders,
  lockSagaOrder,
  makePartition,
  overdueSagas,
  returnSaga,
  takeDueSagas,
  takeSaga,
  writeStep,
} from './repository';
import { decide, plan, resume, type Call, type Outcome, type Saga } from './saga';

/** What the saga needs of the catalog; every method is idempotent by order id. */
export interface SettledHolds {
  confirmHold(
    request: catalogV1.ConfirmHoldRequest,
    options?: { timeoutMs?: number },
  ): Promise<catalogV1.HoldSettled>;
  releaseHold(
    request: catalogV1.ReleaseHoldRequest,
    options?: { timeoutMs?: number },
  ): Promise<catalogV1.HoldSettled>;
  returnUnits(
    request: catalogV1.ReturnUnitsRequest,
    options?: { timeoutMs?: number },
  ): Promise<catalogV1.HoldSettled>;
}

/** Makes the steps of orders' sagas, for the orders given to it or all that are due. */
export interface SagaRunner {
  /** Takes rows that are due as they fall due, until `close`. */
  start(): void;
  /** Looks for due rows now; nothing when not started. */
  kick(): void;
  /** Makes the one step that is due for this order, waits for it at most `budgetMs`, and goes on with the rest alone. */
  step(orderId: string, budgetMs: number): Promise<void>;
  /** Lets the steps under way end and takes no more. */
  close(): Promise<void>;
}

/** How long a worker has a row before another may take it: longer than a step's calls and commit can take. */
export const SAGA_LEASE_MS = 30_000;
/** Steps at once. They wait for others nearly all the time, so it is bounded by memory and fairness, not by cores. */
const CONCURRENCY = 64;
/** How often a process looks for rows that became due by time, or were written by another process. */
const LOOK_EVERY_MS = 250;
const HOLD_TIMEOUT_MS = 5_000;
/** From this attempt on, an unfinished step is an error in the log, not a warning. */
const ALARMING_ATTEMPT = 8;

const countStep = counter({
  name: 'order_saga_steps_total',
  help: 'Steps of order sagas, by step and outcome',
  labels: ['step', 'outcome'],
});
const countEvent = counter({
  name: 'order_events_total',
  help: 'Changes of orders made by sagas, by event type',
  labels: ['type'],
});
const observeConfirmation = durationHistogram({
  name: 'order_confirmation_seconds',
  help: 'Time from the placing of an order to its confirmation',
});
const setOverdue = gauge({
  name: 'order_sagas_overdue',
  help: 'Sagas that have been due for more than a minute',
});

/**
 * Makes a runner. A step is: call the other system (no transaction is open), then decide and write under the order's lock,
 * fenced by the saga's epoch. `onChange` and `wakeRelay` run right after a commit and must not block.
 */
export function createSagaRunner(deps: {
  db: Database;
  holds: SettledHolds;
  payments: Payments;
  clock: Clock;
  random?: () => number;
  logger: Logger;
  wakeRelay?: (() => void) | undefined;
  onChange: (order: Order) => void;
}): SagaRunner {
  const { db, clock, logger } = deps;
  const running = new Set<Promise<void>>();
  let poller: Poller | undefined;
  let closing = false;

  const perform = async (call: Call, saga: Saga, order: Order): Promise<Outcome> => {
    const hold = { orderId: order.id };
    const options = { timeoutMs: HOLD_TIMEOUT_MS };
    switch (call) {
      case 'charge':
        return deps.payments.charge(order, saga.paymentToken ?? '');
      case 'find-charge':
        return deps.payments.find(order.id);
      case 'refund':
        return deps.payments.refund(order, order.chargeId ?? '');
      case 'confirm-hold':
        await deps.holds.confirmHold(hold, options);
        return { kind: 'done' };
      case 'release-hold':
        await deps.holds.releaseHold(hold, options);
        return { kind: 'done' };
      case 'return-units':
        await deps.holds.returnUnits(hold, options);
        return { kind: 'done' };
    }
  };

  const outcomeOf = async (saga: Saga, order: Order): Promise<Outcome> => {
    const planned = plan(saga, order);
    if ('outcome' in planned) return planned.outcome;
    let cause: unknown;
    try {
      const outcome = await perform(planned.call, saga, order);
      if (outcome.kind !== 'unknown') return outcome;
      cause = (outcome as { cause?: unknown }).cause;
    } catch (error) {
      if (error instanceof Fault && error.code === 'HOLD_EXPIRED' && saga.step === 'confirm')
        return { kind: 'hold-lost' };
      cause = error;
    }
    const alarm = saga.attempt >= ALARMING_ATTEMPT ? logger.error : logger.warn;
    alarm('a step of an order had no answer and will be tried again', {
      err: cause,
      orderId: order.id,
      name: saga.step,
      attempt: saga.attempt,
    });
    return { kind: 'unknown' };
  };

  /** Writes what follows; undefined when nothing is left for this worker. */
  const commit = (saga: Saga, outcome: Outcome): Promise<{ saga: Saga; order: Order } | undefined> =>
    db.transaction(
      async (tx) => {
        const order = await lockSagaOrder(tx, saga);
        if (!order) return undefined;
        const nowMs = clock.now();
        const decision = decide(saga, order, outcome, {
          nowMs,
          ...(deps.random ? { random: deps.random } : {}),
        });
        const { next } = decision;
        const goesOn = next !== undefined && next.dueAtMs <= nowMs;
        const leaseUntilMs = goesOn ? nowMs + SAGA_LEASE_MS : undefined;
        if (!(await writeStep(tx, { before: order, after: decision.order, next, leaseUntilMs })))
          throw new Error('an order changed under its lock');
        await writeOutbox(tx, decision.events.map(orderEvent), deps.wakeRelay);
        tx.afterCommit(() => {
          for (const event of decision.events) {
            countEvent({ type: event.type });
            if (event.type === 'headroom.order.confirmed')
              observeConfirmation({}, (nowMs - placedAtMs(order)) / 1_000);
          }
          if (decision.events.length > 0) deps.onChange(decision.order);
        });
        return goesOn ? { saga: next, order: decision.order } : undefined;
      },
      { retry: true },
    );

  const makeStep = (saga: Saga, order: Order) =>
    inSpan(
      `saga ${saga.step}`,
      { traceparent: saga.traceparent ?? undefined, attributes: { 'headroom.order_id': order.id } },
      async () => {
        try {
          const outcome = await outcomeOf(saga, order);
          countStep({ step: saga.step, outcome: outcome.kind });
          return await commit(saga, outcome);
        } catch (error) {
          countStep({ step: saga.step, outcome: 'failed' });
          logger.error('a step of an order could not be written', {
            err: error,
            orderId: saga.orderId,
            name: saga.step,
            attempt: saga.attempt,
          });
          const dueAtMs = clock.now() + 100 + backoffMs(saga.attempt, { baseMs: 500, capMs: 10_000 });
          await returnSaga(db, saga, dueAtMs).catch(() => undefined); // its lease ends in any case
          return undefined;
        }
      },
    );

  /** Makes steps as long as one follows at once. */
  const drive = async (saga: Saga, order: Order): Promise<void> => {
    let current: { saga: Saga; order: Order } | undefined = { saga: resume(saga), order };
    while (current && !closing) current = await makeStep(current.saga, current.order);
    if (current) await returnSaga(db, current.saga, clock.now()).catch(() => undefined);
  };
  const track = (work: Promise<void>) => {
    const tracked = work
      .catch((error: unknown) => logger.error('a saga ended unexpectedly', { err: error }))
      .finally(() => running.delete(tracked));
    running.add(tracked);
  };

  const round = async (): Promise<boolean> => {
    const limit = CONCURRENCY - running.size;
    if (limit <= 0) {
      await Promise.race(running);
      return true;
    }
    const sagas = await takeDueSagas(db, { nowMs: clock.now(), leaseMs: SAGA_LEASE_MS, limit });
    if (sagas.length === 0) return false;
    const ids = sagas.map((saga) => saga.orderId);
    const orders = new Map((await findOrders(db, ids)).map((order) => [order.id, order]));
    for (const saga of sagas) {
      const order = orders.get(saga.orderId);
      if (order) track(drive(saga, order));
      else logger.error('a saga has no order', { orderId: saga.orderId });
    }
    return sagas.length === limit;
  };

  return {
    start() {
      poller ??= startPoller({
        round: () => untraced(round),
        idleMs: LOOK_EVERY_MS,
        onError: (error) => logger.warn('looking for due sagas failed', { err: error }),
        clock,
      });
    },
    kick: () => poller?.kick(),
    async step(orderId, budgetMs) {
      const first = (async () => {
        const taken = await takeSaga(db, orderId, { nowMs: clock.now(), leaseMs: SAGA_LEASE_MS });
        const [order] = taken ? await findOrders(db, [orderId]) : [];
        const next = taken && order && (await makeStep(resume(taken), order));
        if (next) track(drive(next.saga, next.order));
      })();
      track(first);
      await withTimeout(first, budgetMs, 'a step of an order').catch((error: unknown) =>
        logger.warn('a step is left to the saga', { err: error, orderId }),
      );
    },
    async close() {
      closing = true;
      await poller?.close();
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** Makes the partition that an order placed at `atMs` belongs to, if it is missing. */
export async function makePartitionOf(db: Queryable, atMs: number): Promise<boolean> {
  return makePartition(db, `${new Date(atMs).toISOString().slice(0, 7)}-01`);
}

/** Makes the partitions of the current month and the next two; says how many were missing. */
export async function makePartitionsAhead(db: Queryable, nowMs: number): Promise<number> {
  const now = new Date(nowMs);
  let made = 0;
  for (let ahead = 0; ahead <= 2; ahead += 1) {
    const monthMs = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1);
    if (await makePartitionOf(db, monthMs)) made += 1;
  }
  return made;
}

const KEYS_PER_ROUND = 500;
const GUEST_CARTS_PER_ROUND = 100;
const HOUR_MS = 3_600_000;

/**
 * Starts what has to be done again and again: partitions ahead (now and hourly), expired idempotency keys (in batches of
 * 500, every minute), expired carts of guests (in batches of 100, every minute), uploads that nobody completed within
 * a day and files that are no longer needed (every minute), and the gauge of overdue sagas. Safe in any number of processes.
 */
export function startUpkeep(deps: {
  db: Database;
  uploads: Pick<Uploads, 'cleanUp'>;
  clock: Clock;
  logger: Logger;
}): {
  close(): Promise<void>;
} {
  const { db, uploads, clock, logger } = deps;
  const loop = (what: string, idleMs: number, round: () => Promise<boolean>) =>
    startPoller({
      round: () => untraced(round),
      idleMs,
      onError: (error) => logger.warn(`${what} failed`, { err: error }),
      clock,
    });
  const loops = [
    loop('making partitions', HOUR_MS, async () => {
      const count = await makePartitionsAhead(db, clock.now());
      if (count > 0) logger.info('partitions made', { count });
      return false;
    }),
    loop('deleting expired keys', 60_000, async () => {
      const deleted = await deleteExpiredKeys(db, clock.now(), KEYS_PER_ROUND);
      return deleted === KEYS_PER_ROUND;
    }),
    loop('deleting expired carts', 60_000, async () => {
      const deleted = await deleteExpiredGuestCarts(db, clock.now(), GUEST_CARTS_PER_ROUND);
      return deleted === GUEST_CARTS_PER_ROUND;
    }),
    loop('cleaning up uploads', 60_000, async () => {
      const removed = await uploads.cleanUp(new Date(clock.now() - 24 * HOUR_MS));
      return removed > 0;
    }),
    loop('counting overdue sagas', 15_000, async () => {
      const { count, oldestDueAtMs } = await overdueSagas(db, clock.now());
      setOverdue({}, count);
      if (oldestDueAtMs !== undefined && clock.now() - oldestDueAtMs > 5 * 60_000)
        logger.error('orders have been left unfinished for more than 5 minutes', { count });
      return false;
    }),
  ];
  return { close: async () => void (await Promise.all(loops.map((each) => each.close()))) };
}
