import { backoffMs } from '@headroom/resilience';
import { advance, type CancelReason, type Change, type Move, type Order } from './order';

/**
 * What is to be done next for an order:
 *
 *     charge --> confirm --> (done)                          the usual way
 *       |  ^        +--> return --> refund --> (done)        confirmed, but its cancellation had been asked for
 *       v  |        v
 *      check --> release --> refund --> (done)               compensation: units first, then the money if any was taken
 *                   +------> settle --> refund --> (done)    the provider was away: was anything taken after all?
 *
 * `check` asks the provider what became of a charge before anything else is done about it. A confirmed order that is
 * cancelled begins at `return`.
 */
export type Step = 'charge' | 'check' | 'confirm' | 'release' | 'return' | 'refund' | 'settle';

/** An order's unfinished business, as a row with a lease. */
export interface Saga {
  orderId: string;
  step: Step;
  /** Why the order is being cancelled; set from `release` on. */
  reason: CancelReason | null;
  /** A charge may have been sent whose outcome is not known. */
  uncertain: boolean;
  /** Forgotten as soon as the charge is decided. */
  paymentToken: string | null;
  /** How often a worker has taken the row at this step. */
  attempt: number;
  /** Fences a worker whose lease has run out. */
  epoch: bigint;
  dueAtMs: number;
  /** When an order that is still not paid expires. */
  deadlineAtMs: number;
  traceparent: string | null;
}

/** A call to another system; every one is idempotent by a key made from the order's id. */
export type Call = 'charge' | 'find-charge' | 'confirm-hold' | 'release-hold' | 'return-units' | 'refund';

/** What is known after a step's call. */
export type Outcome =
  | { kind: 'charged'; chargeId: string | null }
  | { kind: 'declined' }
  /** The provider will never take this charge. */
  | { kind: 'invalid' }
  /** The provider answered that it has no charge of this order. */
  | { kind: 'absent' }
  /** Nothing was sent, since the cancellation came first. */
  | { kind: 'not-sent' }
  | { kind: 'done' }
  /** The hold is gone and its units cannot be had again. */
  | { kind: 'hold-lost' }
  /** No answer, or one that says nothing: the call may have had its effect. */
  | { kind: 'unknown' };

/** The state to write after a step, and what is left to do (undefined: nothing). */
export interface Decision extends Change {
  next: Saga | undefined;
}

/**
 * After an order was given up without word from the provider: how long until it is asked once more, so that a charge
 * request still on its way has long arrived or died.
 */
export const SETTLE_AFTER_MS = 60_000;

const CALLS = {
  charge: 'charge',
  check: 'find-charge',
  confirm: 'confirm-hold',
  release: 'release-hold',
  return: 'return-units',
  refund: 'refund',
  settle: 'find-charge',
} as const satisfies Record<Step, Call>;

/** The first business of an order that was just placed. */
export function startSaga(options: {
  order: Order;
  paymentToken: string;
  nowMs: number;
  paymentTimeoutMs: number;
  traceparent: string | undefined;
}): Saga {
  return {
    orderId: options.order.id,
    step: 'charge',
    reason: null,
    uncertain: false,
    paymentToken: options.paymentToken,
    attempt: 0,
    epoch: 0n,
    dueAtMs: options.nowMs,
    deadlineAtMs: options.nowMs + options.paymentTimeoutMs,
    traceparent: options.traceparent ?? null,
  };
}

/** The business of a confirmed order that was cancelled: units, then money. */
export function startReturn(order: Order, nowMs: number, traceparent: string | undefined): Saga {
  return {
    orderId: order.id,
    step: 'return',
    reason: order.cancelReason,
    uncertain: false,
    paymentToken: null,
    attempt: 0,
    epoch: 0n,
    dueAtMs: nowMs,
    deadlineAtMs: nowMs,
    traceparent: traceparent ?? null,
  };
}

/**
 * The saga as a worker finds it when it takes the row: a charge that an earlier worker may have sent must be asked about
 * before it is sent again.
 */
export function resume(saga: Saga): Saga {
  return saga.step === 'charge' && saga.attempt > 1 ? { ...saga, step: 'check' } : saga;
}

/** The call that the step needs, or its outcome where none is needed. */
export function plan(saga: Saga, order: Order): { call: Call } | { outcome: Outcome } {
  if (saga.step === 'charge') {
    if (order.cancelRequested) return { outcome: { kind: saga.attempt === 1 ? 'not-sent' : 'absent' } };
    if (order.totalMinor === 0n) return { outcome: { kind: 'charged', chargeId: null } };
  }
  if (saga.step === 'refund' && order.chargeId === null) return { outcome: { kind: 'done' } };
  return { call: CALLS[saga.step] };
}

/**
 * What follows from an outcome. `order` must be the state under lock, so that a cancellation recorded during the call counts.
 * A saga whose `dueAtMs` is not later than `nowMs` goes on at once.
 */
export function decide(
  saga: Saga,
  order: Order,
  outcome: Outcome,
  options: { nowMs: number; random?: () => number },
): Decision {
  const { nowMs } = options;
  const change = (moves: Move[], next: Saga | undefined): Decision => ({
    ...advance(order, moves, nowMs),
    next,
  });
  const goTo = (step: Step, rest: Partial<Saga> = {}): Saga => ({
    ...saga,
    step,
    paymentToken: step === 'charge' || step === 'check' ? saga.paymentToken : null,
    attempt: 1,
    dueAtMs: nowMs,
    ...rest,
  });
  const retry = (step: Step = saga.step, notAfterMs = Number.POSITIVE_INFINITY): Saga => {
    const delayMs = backoffMs(saga.attempt, { baseMs: 500, capMs: 10_000, ...options });
    return { ...saga, step, dueAtMs: Math.min(nowMs + 50 + Math.ceil(delayMs), notAfterMs) };
  };
  const giveUp = (reason: CancelReason, uncertain: boolean) => goTo('release', { reason, uncertain });
  const overdue = nowMs >= saga.deadlineAtMs;

  switch (saga.step) {
    case 'charge':
    case 'check':
      switch (outcome.kind) {
        case 'charged':
          return change(
            [{ kind: 'pay', chargeId: outcome.chargeId }],
            order.cancelRequested ? giveUp(order.cancelRequested, false) : goTo('confirm'),
          );
        case 'declined':
          return change([{ kind: 'decline' }], giveUp('payment_declined', false));
        case 'invalid':
          return change([], giveUp('payment_failed', false));
        case 'not-sent':
          return change([], giveUp(order.cancelRequested ?? 'customer', false));
        case 'absent':
          if (order.cancelRequested) return change([], giveUp(order.cancelRequested, true));
          if (overdue) return change([], giveUp('expired', true));
          return change([], goTo('charge', { attempt: saga.attempt }));
        default:
          return overdue
            ? change([], giveUp(order.cancelRequested ?? 'expired', true))
            : change([], retry('check', saga.deadlineAtMs));
      }
    case 'confirm':
      if (outcome.kind === 'hold-lost') return change([], giveUp('payment_failed', false));
      if (outcome.kind !== 'done') return change([], retry());
      return order.cancelRequested
        ? change(
            [
              { kind: 'confirm' },
              { kind: 'cancel', reason: order.cancelRequested },
              { kind: 'requestRefund', chargeId: order.chargeId },
            ],
            goTo('return', { reason: order.cancelRequested }),
          )
        : change([{ kind: 'confirm' }], undefined);
    case 'release': {
      if (outcome.kind !== 'done') return change([], retry());
      const reason = saga.reason ?? 'payment_failed';
      if (order.paymentStatus === 'paid')
        return change(
          [
            { kind: 'cancel', reason },
            { kind: 'requestRefund', chargeId: order.chargeId },
          ],
          goTo('refund'),
        );
      const unpaid =
        order.paymentStatus === 'pending' && (reason === 'payment_failed' || reason === 'expired');
      return change(
        [{ kind: unpaid ? 'fail' : 'cancel', reason }],
        saga.uncertain ? goTo('settle', { attempt: 0, dueAtMs: nowMs + SETTLE_AFTER_MS }) : undefined,
      );
    }
    case 'return':
      return outcome.kind === 'done' ? change([], goTo('refund')) : change([], retry());
    case 'refund':
      if (outcome.kind !== 'done') return change([], retry());
      return change(order.paymentStatus === 'refund_pending' ? [{ kind: 'refund' }] : [], undefined);
    case 'settle':
      switch (outcome.kind) {
        case 'charged':
          // An expired order stays `failed`, whatever is given back; one that was cancelled shows its refund.
          return order.paymentStatus === 'pending'
            ? change([{ kind: 'requestRefund', chargeId: outcome.chargeId }], goTo('refund'))
            : { order: { ...order, chargeId: outcome.chargeId }, events: [], next: goTo('refund') };
        case 'declined':
        case 'absent':
          return change([], undefined);
        default:
          return change([], retry());
      }
  }
}
