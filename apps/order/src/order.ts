import type { OrderData } from '@headroom/contracts';
import { uuidv7TimeMs } from '@headroom/resilience';

export type OrderStatus = OrderData['status'];
export type PaymentStatus = OrderData['paymentStatus'];
export type CancelReason = NonNullable<OrderData['cancelReason']>;
/** Who asked for a cancellation. */
export type Canceller = 'customer' | 'admin';

/** One product of an order, at the price that its hold fixed, in the order's currency. */
export interface OrderItem {
  productId: string;
  sku: string;
  name: string;
  quantity: number;
  unitPriceMinor: bigint;
}

/** Where an order goes; `line2` and `region` are empty when not given. */
export interface ShippingAddress {
  name: string;
  line1: string;
  line2: string;
  postalCode: string;
  city: string;
  region: string;
  /** ISO 3166-1 alpha-2 */
  country: string;
}

/** The aggregate. `version` grows by one with every event, from 1. */
export interface Order {
  id: string;
  /** Null: history that belongs to no account. */
  userId: string | null;
  /** The id where imported history came from; null for an order placed here. */
  externalId: string | null;
  status: OrderStatus;
  paymentStatus: PaymentStatus;
  cancelReason: CancelReason | null;
  /** A cancellation asked for while the payment was under way; its own change is not an event. */
  cancelRequested: Canceller | null;
  items: OrderItem[];
  currency: string;
  totalMinor: bigint;
  /** Null: history, which was delivered elsewhere. */
  shippingAddress: ShippingAddress | null;
  /** The provider's id of the charge, once known. */
  chargeId: string | null;
  version: bigint;
  updatedAtMs: number;
}

/** What happened to an order, with its whole state afterwards. */
export interface OrderEvent {
  type: `headroom.order.${'placed' | 'paid' | 'payment-declined' | 'confirmed' | 'cancelled' | 'refund-requested' | 'refunded'}`;
  order: Order;
}

/** A new state with the events that led to it, to be written in one transaction. */
export interface Change {
  order: Order;
  events: OrderEvent[];
}

type State = `${OrderStatus}/${PaymentStatus}`;

/**
 * The life of an order as `status/paymentStatus`. Every move is one event and one version.
 *
 *     placed -> pending/pending --pay--> pending/paid --confirm--> confirmed/paid
 *                 |        |                  |                        |
 *                 |     decline               +--------cancel----------+
 *                 |        v                              v
 *                 |  pending/declined               cancelled/paid     only inside the transaction that asks for the refund
 *                 |        | cancel                       | requestRefund
 *                 |        v                              v
 *                 | cancelled/declined          cancelled/refund_pending --refund--> cancelled/refunded
 *                 |                                       ^
 *                 +--cancel--> cancelled/pending --requestRefund (a charge that came to light later)
 *                 +--fail----> cancelled/failed       nothing was charged, or what was is given back without a change here
 */
export const MOVES = {
  pay: { event: 'headroom.order.paid', states: { 'pending/pending': 'pending/paid' } },
  decline: { event: 'headroom.order.payment-declined', states: { 'pending/pending': 'pending/declined' } },
  confirm: { event: 'headroom.order.confirmed', states: { 'pending/paid': 'confirmed/paid' } },
  cancel: {
    event: 'headroom.order.cancelled',
    states: {
      'pending/pending': 'cancelled/pending',
      'pending/declined': 'cancelled/declined',
      'pending/paid': 'cancelled/paid',
      'confirmed/paid': 'cancelled/paid',
    },
  },
  fail: { event: 'headroom.order.cancelled', states: { 'pending/pending': 'cancelled/failed' } },
  requestRefund: {
    event: 'headroom.order.refund-requested',
    states: { 'cancelled/paid': 'cancelled/refund_pending', 'cancelled/pending': 'cancelled/refund_pending' },
  },
  refund: { event: 'headroom.order.refunded', states: { 'cancelled/refund_pending': 'cancelled/refunded' } },
} as const satisfies Record<string, { event: OrderEvent['type']; states: Partial<Record<State, State>> }>;

/** A move with what it needs to know. */
export type Move =
  | { kind: 'pay' | 'requestRefund'; chargeId: string | null }
  | { kind: 'cancel' | 'fail'; reason: CancelReason }
  | { kind: 'decline' | 'confirm' | 'refund' };

/** When the order was placed: the time that its id carries, milliseconds since the Unix epoch. */
export const placedAtMs = (order: Pick<Order, 'id'>): number => uuidv7TimeMs(order.id);

/** A new order in its first state; the total is the sum of its lines. */
export function place(input: {
  id: string;
  userId: string;
  items: OrderItem[];
  currency: string;
  shippingAddress: ShippingAddress;
  atMs: number;
}): Change {
  return begin({ ...input, externalId: null });
}

/**
 * A confirmed order of a shop's history: placed, paid and confirmed elsewhere, at the moment that its id carries, and recorded
 * here at `atMs`. It has no charge and took no units here, so that it cannot be cancelled.
 */
export function history(input: {
  id: string;
  userId: string | null;
  externalId: string;
  items: OrderItem[];
  currency: string;
  atMs: number;
}): Change {
  const placed = begin({ ...input, shippingAddress: null });
  const rest = advance(placed.order, [{ kind: 'pay', chargeId: null }, { kind: 'confirm' }], input.atMs);
  return { order: rest.order, events: [...placed.events, ...rest.events] };
}

function begin(
  input: Pick<Order, 'id' | 'userId' | 'externalId' | 'items' | 'currency' | 'shippingAddress'> & {
    atMs: number;
  },
): Change {
  const { atMs, ...given } = input;
  const order: Order = {
    ...given,
    status: 'pending',
    paymentStatus: 'pending',
    cancelReason: null,
    cancelRequested: null,
    totalMinor: given.items.reduce((sum, item) => sum + item.unitPriceMinor * BigInt(item.quantity), 0n),
    chargeId: null,
    version: 1n,
    updatedAtMs: Math.max(atMs, placedAtMs(given)),
  };
  return { order, events: [{ type: 'headroom.order.placed', order }] };
}

/**
 * Makes moves one after the other. Throws for a move that the table does not allow from the state at hand: that is a
 * programming error, never an outcome.
 */
export function advance(order: Order, moves: readonly Move[], atMs: number): Change {
  const events: OrderEvent[] = [];
  let current = order;
  for (const move of moves) {
    const { event, states } = MOVES[move.kind];
    const from: State = `${current.status}/${current.paymentStatus}`;
    const to = (states as Partial<Record<State, State>>)[from];
    if (to === undefined) throw new Error(`an order that is ${from} cannot ${move.kind}`);
    const [status, paymentStatus] = to.split('/') as [OrderStatus, PaymentStatus];
    current = {
      ...current,
      status,
      paymentStatus,
      ...('reason' in move ? { cancelReason: move.reason } : {}),
      ...('chargeId' in move ? { chargeId: move.chargeId } : {}),
      version: current.version + 1n,
      updatedAtMs: Math.max(atMs, current.updatedAtMs),
    };
    events.push({ type: event, order: current });
  }
  return { order: current, events };
}

/** What a cancellation does to an order in a given state. */
export type Cancellation =
  /** It was confirmed and is cancelled now; its units and its money go back. */
  | ({ kind: 'cancelled' } & Change)
  /** Its payment is under way: the wish is on record and decides as soon as the payment is known. */
  | ({ kind: 'requested' } & Change)
  /** It is cancelled already, or history. */
  | { kind: 'refused'; detail: string };

/** Cancels an order, or records that it shall be. The first who asked stays on record. */
export function cancel(order: Order, by: Canceller, atMs: number): Cancellation {
  if (order.externalId !== null)
    return {
      kind: 'refused',
      detail: 'the order was imported: its money and its goods are not here to be given back',
    };
  switch (order.status) {
    case 'confirmed':
      return {
        kind: 'cancelled',
        ...advance(
          order,
          [
            { kind: 'cancel', reason: by },
            { kind: 'requestRefund', chargeId: order.chargeId },
          ],
          atMs,
        ),
      };
    case 'pending':
      return {
        kind: 'requested',
        order: { ...order, cancelRequested: order.cancelRequested ?? by },
        events: [],
      };
    case 'cancelled':
      return { kind: 'refused', detail: 'the order is cancelled already' };
  }
}
