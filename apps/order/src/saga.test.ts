import { isFinal } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import fc from 'fast-check';
import { orderMessage } from './events';
import { cancel, place, type Order, type OrderEvent } from './order';
import { decide, plan, resume, startReturn, startSaga, type Call, type Outcome, type Saga } from './saga';

const START = Date.UTC(2026, 5, 1);
const TIMEOUT_MS = 600_000;
const LEASE_MS = 30_000;
const TOTAL = 1_000n;

/** How the world treats one call: as it should, without effect, with its effect but no answer, or with its effect later. */
type Fate = 'answered' | 'not-arrived' | 'answer-lost' | 'arrives-late';
/** Where the worker dies in one step. */
type CrashPoint = 'none' | 'before-call' | 'before-commit' | 'after-commit';

/** What happens next in a run of the model. */
type Event =
  | { kind: 'step'; fate: Fate; crash: CrashPoint }
  /** A worker that took the row long ago commits the outcome that it got then. */
  | { kind: 'zombie' }
  | { kind: 'cancel'; by: 'customer' | 'admin' }
  | { kind: 'expire-hold' }
  | { kind: 'pass'; ms: number };

/**
 * A world of one order: the provider and the catalog are simulated with the idempotent behaviour that their contracts
 * promise; the service is the real decision code over a store that commits whole or not at all.
 */
class World {
  now = START;
  order: Order;
  saga: Saga | undefined;
  leaseUntil = 0;
  events: OrderEvent[];
  charge: 'none' | 'succeeded' | 'declined' = 'none';
  refunded = 0n;
  hold: 'held' | 'confirmed' | 'released' | 'returned' | 'expired' = 'held';
  private late: Array<{ at: number; effect: () => void }> = [];
  private zombie: { saga: Saga; outcome: Outcome } | undefined;

  constructor(private readonly verdict: 'succeeds' | 'declines' | 'refuses') {
    const { order, events } = place({
      id: uuidv7(START),
      userId: uuidv7(START),
      currency: 'EUR',
      items: [{ productId: uuidv7(START), sku: 'A', name: 'A', quantity: 1, unitPriceMinor: TOTAL }],
      shippingAddress: {
        name: '',
        line1: '',
        line2: '',
        postalCode: '',
        city: '',
        region: '',
        country: 'DE',
      },
      atMs: START,
    });
    this.order = order;
    this.events = [...events];
    this.saga = startSaga({
      order,
      paymentToken: 'tok',
      nowMs: START,
      paymentTimeoutMs: TIMEOUT_MS,
      traceparent: undefined,
    });
  }

  pass(ms: number): void {
    this.now += ms;
    const arrived = this.late.filter((each) => each.at <= this.now);
    this.late = this.late.filter((each) => each.at > this.now);
    for (const { effect } of arrived) effect();
  }

  apply(event: Event): void {
    switch (event.kind) {
      case 'pass':
        return this.pass(event.ms);
      case 'expire-hold':
        if (this.hold === 'held') this.hold = 'expired';
        return;
      case 'cancel': {
        const cancellation = cancel(this.order, event.by, this.now);
        if (cancellation.kind === 'refused') return;
        this.order = cancellation.order;
        this.events.push(...cancellation.events);
        if (cancellation.kind === 'cancelled') this.saga = startReturn(this.order, this.now, undefined);
        else if (this.saga) this.saga = { ...this.saga, dueAtMs: Math.min(this.saga.dueAtMs, this.now) };
        return;
      }
      case 'zombie':
        if (this.zombie) this.commit(this.zombie.saga, this.zombie.outcome);
        this.zombie = undefined;
        return;
      case 'step':
        return this.step(event.fate, event.crash);
    }
  }

  private step(fate: Fate, crash: CrashPoint): void {
    const row = this.saga;
    if (!row || row.dueAtMs > this.now || this.leaseUntil > this.now) return;
    const taken = { ...row, epoch: row.epoch + 1n, attempt: row.attempt + 1 };
    this.saga = taken;
    this.leaseUntil = this.now + LEASE_MS;
    let current: Saga | undefined = resume(taken);
    for (let first = true; current; first = false) {
      const [howItGoes, death]: [Fate, CrashPoint] = first ? [fate, crash] : ['answered', 'none'];
      if (death === 'before-call') return;
      const planned = plan(current, this.order);
      const outcome = 'outcome' in planned ? planned.outcome : this.call(planned.call, howItGoes);
      if (death === 'before-commit') {
        this.zombie = { saga: current, outcome };
        return;
      }
      current = this.commit(current, outcome);
      if (death === 'after-commit') return;
    }
  }

  private commit(saga: Saga, outcome: Outcome): Saga | undefined {
    if (this.saga?.epoch !== saga.epoch) return undefined; // fenced
    const { order, events, next } = decide(saga, this.order, outcome, { nowMs: this.now, random: () => 0.5 });
    this.order = order;
    this.events.push(...events);
    this.saga = next;
    const goesOn = next !== undefined && next.dueAtMs <= this.now;
    this.leaseUntil = goesOn ? this.now + LEASE_MS : 0;
    return goesOn ? next : undefined;
  }

  private call(call: Call, fate: Fate): Outcome {
    if (fate === 'not-arrived') return { kind: 'unknown' };
    if (fate === 'arrives-late') {
      this.late.push({ at: this.now + 20_000, effect: () => void this.effect(call) });
      return { kind: 'unknown' };
    }
    const outcome = this.effect(call);
    return fate === 'answered' ? outcome : { kind: 'unknown' };
  }

  private effect(call: Call): Outcome {
    switch (call) {
      case 'charge':
        if (this.verdict === 'refuses') return { kind: 'invalid' };
        if (this.charge === 'none') this.charge = this.verdict === 'succeeds' ? 'succeeded' : 'declined';
        return this.chargeOutcome();
      case 'find-charge':
        return this.chargeOutcome();
      case 'refund':
        if (this.charge !== 'succeeded') throw new Error('a refund of what was never charged');
        this.refunded = TOTAL;
        return { kind: 'done' };
      case 'confirm-hold':
        if (this.hold !== 'held' && this.hold !== 'confirmed') return { kind: 'hold-lost' };
        this.hold = 'confirmed';
        return { kind: 'done' };
      case 'release-hold':
        if (this.hold !== 'confirmed' && this.hold !== 'returned') this.hold = 'released';
        return { kind: 'done' };
      case 'return-units':
        if (this.hold === 'confirmed') this.hold = 'returned';
        return { kind: 'done' };
    }
  }

  private chargeOutcome(): Outcome {
    switch (this.charge) {
      case 'none':
        return { kind: 'absent' };
      case 'declined':
        return { kind: 'declined' };
      case 'succeeded':
        return { kind: 'charged', chargeId: 'charge' };
    }
  }

  /** Everything answers from now on, and time goes by until nothing is left to do. */
  heal(): void {
    for (let rounds = 0; this.saga && rounds < 500; rounds += 1) {
      this.apply({ kind: 'step', fate: 'answered', crash: 'none' });
      this.pass(5_000);
    }
  }
}

const eventArbitrary: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('step' as const),
      fate: fc.constantFrom<Fate>('answered', 'answered', 'not-arrived', 'answer-lost', 'arrives-late'),
      crash: fc.constantFrom<CrashPoint>(
        'none',
        'none',
        'none',
        'before-call',
        'before-commit',
        'after-commit',
      ),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(100, 1_000, 11_000, LEASE_MS, 70_000, 650_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('zombie' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('cancel' as const),
      by: fc.constantFrom('customer' as const, 'admin' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire-hold' as const) }) },
);

it('ends every order rightly, whatever fails and whoever dies on the way', () => {
  const ends = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.constantFrom('succeeds' as const, 'succeeds' as const, 'declines' as const, 'refuses' as const),
      fc.array(eventArbitrary, { maxLength: 40 }),
      (verdict, happenings) => {
        const world = new World(verdict);
        for (const each of happenings) world.apply(each);
        world.heal();

        const { order, events } = world;
        const end = `${order.status}/${order.paymentStatus}/${order.cancelReason}`;
        ends.set(end, (ends.get(end) ?? 0) + 1);
        expect(world.saga).toBeUndefined();
        expect(isFinal(orderMessage(order))).toBe(true);
        // Money: what was taken and not given back is what was confirmed.
        const kept = (world.charge === 'succeeded' ? TOTAL : 0n) - world.refunded;
        expect(kept).toBe(order.status === 'confirmed' ? TOTAL : 0n);
        // Units: sold exactly for a confirmed order, otherwise back.
        if (order.status === 'confirmed') expect(world.hold).toBe('confirmed');
        else expect(['released', 'returned']).toContain(world.hold);
        // Events: every version once, the last one as the order stands.
        expect(events.map((event) => event.order.version)).toEqual(
          events.map((_, index) => BigInt(index + 1)),
        );
        expect(events.at(-1)?.order).toMatchObject({
          status: order.status,
          paymentStatus: order.paymentStatus,
        });
        // What is shown goes together.
        if (order.paymentStatus === 'failed')
          expect(['payment_failed', 'expired']).toContain(order.cancelReason);
        if (order.paymentStatus === 'refunded') expect(world.refunded).toBe(TOTAL);
        if (order.paymentStatus === 'declined') expect(order.cancelReason).toBe('payment_declined');
      },
    ),
    { numRuns: 5_000 },
  );
  // The runs reach every kind of end.
  expect([...ends.keys()].sort()).toEqual(
    expect.arrayContaining([
      'cancelled/declined/payment_declined',
      'cancelled/failed/expired',
      'cancelled/failed/payment_failed',
      'cancelled/pending/customer',
      'cancelled/refunded/admin',
      'cancelled/refunded/customer',
      'cancelled/refunded/payment_failed',
      'confirmed/paid/null',
    ]),
  );
});

it('asks the provider before it sends a charge again', () => {
  const world = new World('succeeds');
  const taken = { ...world.saga!, attempt: 1 };
  expect(plan(resume(taken), world.order)).toEqual({ call: 'charge' });
  expect(plan(resume({ ...taken, attempt: 2 }), world.order)).toEqual({ call: 'find-charge' });
  const { next } = decide(taken, world.order, { kind: 'unknown' }, { nowMs: START });
  expect(next).toMatchObject({ step: 'check', paymentToken: 'tok' });
});

it('charges nothing when the cancellation came first, and nothing for an order that costs nothing', () => {
  const world = new World('succeeds');
  const taken = { ...world.saga!, attempt: 1 };
  const wanted: Order = { ...world.order, cancelRequested: 'customer' };
  expect(plan(taken, wanted)).toEqual({ outcome: { kind: 'not-sent' } });
  expect(plan(taken, { ...world.order, totalMinor: 0n })).toEqual({
    outcome: { kind: 'charged', chargeId: null },
  });
});

it('does not try later than the moment at which the order expires', () => {
  const world = new World('succeeds');
  const taken = { ...world.saga!, attempt: 20 };
  const { next } = decide(
    taken,
    world.order,
    { kind: 'unknown' },
    { nowMs: taken.deadlineAtMs - 200, random: () => 0.99 },
  );
  expect(next?.dueAtMs).toBe(taken.deadlineAtMs);
});

it('forgets the payment token as soon as the charge is decided', () => {
  const world = new World('succeeds');
  for (const kind of ['charged', 'declined', 'invalid'] as const) {
    const outcome: Outcome = kind === 'charged' ? { kind, chargeId: 'charge' } : { kind };
    expect(decide(world.saga!, world.order, outcome, { nowMs: START }).next?.paymentToken).toBeNull();
  }
});
