import { uuidv7 } from '@headroom/resilience';
import { advance, cancel, MOVES, place, type Move, type Order } from './order';

const NOW = Date.UTC(2026, 5, 1);

function newOrder(): Order {
  return place({
    id: uuidv7(NOW),
    userId: uuidv7(NOW),
    currency: 'EUR',
    items: [
      { productId: uuidv7(NOW), sku: 'A', name: 'A', quantity: 3, unitPriceMinor: 1_999n },
      { productId: uuidv7(NOW), sku: 'B', name: 'B', quantity: 1, unitPriceMinor: 1n },
    ],
    shippingAddress: { name: '', line1: '', line2: '', postalCode: '', city: '', region: '', country: 'DE' },
    atMs: NOW,
  }).order;
}

const MOVE: Record<keyof typeof MOVES, Move> = {
  pay: { kind: 'pay', chargeId: 'charge' },
  decline: { kind: 'decline' },
  confirm: { kind: 'confirm' },
  cancel: { kind: 'cancel', reason: 'customer' },
  fail: { kind: 'fail', reason: 'expired' },
  requestRefund: { kind: 'requestRefund', chargeId: 'charge' },
  refund: { kind: 'refund' },
};
const STATUSES = ['pending', 'confirmed', 'cancelled'] as const;
const PAYMENTS = ['pending', 'paid', 'declined', 'failed', 'refund_pending', 'refunded'] as const;

it('totals the lines of a new order exactly', () => {
  expect(newOrder()).toMatchObject({ totalMinor: 5_998n, version: 1n, status: 'pending' });
});

it('makes every move that the table lists, with one event and one version, and no other', () => {
  let made = 0;
  for (const status of STATUSES)
    for (const paymentStatus of PAYMENTS)
      for (const kind of Object.keys(MOVES) as Array<keyof typeof MOVES>) {
        const order = { ...newOrder(), status, paymentStatus };
        const to = (MOVES[kind].states as Record<string, string>)[`${status}/${paymentStatus}`];
        const attempt = () => advance(order, [MOVE[kind]], NOW + 1);
        if (to === undefined) {
          expect(attempt).toThrow(`an order that is ${status}/${paymentStatus} cannot ${kind}`);
          continue;
        }
        made += 1;
        const change = attempt();
        expect(`${change.order.status}/${change.order.paymentStatus}`).toBe(to);
        expect(change.order).toMatchObject({ version: 2n, updatedAtMs: NOW + 1 });
        expect(change.events).toEqual([{ type: MOVES[kind].event, order: change.order }]);
      }
  expect(made).toBe(11);
});

it('never lets the time of a change run backwards', () => {
  const paid = advance(newOrder(), [MOVE.pay], NOW + 10).order;
  expect(advance(paid, [MOVE.confirm], NOW + 5).order.updatedAtMs).toBe(NOW + 10);
});

it('cancels a confirmed order with its refund, records the wish on a pending one, refuses a cancelled one', () => {
  const pending = newOrder();
  const confirmed = advance(pending, [MOVE.pay, MOVE.confirm], NOW).order;
  const cancelled = cancel(confirmed, 'admin', NOW);
  expect(cancelled).toMatchObject({
    kind: 'cancelled',
    order: { status: 'cancelled', paymentStatus: 'refund_pending', cancelReason: 'admin', version: 5n },
    events: [{ type: 'headroom.order.cancelled' }, { type: 'headroom.order.refund-requested' }],
  });
  const requested = cancel(pending, 'customer', NOW);
  expect(requested).toMatchObject({ kind: 'requested', events: [], order: { version: 1n } });
  expect('order' in requested && cancel(requested.order, 'admin', NOW)).toMatchObject({
    order: { cancelRequested: 'customer' },
  });
  expect('order' in cancelled && cancel(cancelled.order, 'customer', NOW)).toMatchObject({ kind: 'refused' });
});
