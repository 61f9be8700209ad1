import { readEventFixture } from '@headroom/contracts';
import { orderEvent } from './events';
import { advance, cancel, place, type Change, type Move, type OrderEvent } from './order';

type Name = OrderEvent['type'] extends infer T ? (T extends `headroom.order.${infer N}` ? N : never) : never;

const fixture = (name: Name) => readEventFixture(`headroom.order.${name}`);
const atMs = (name: Name): number => Date.parse(fixture(name).event.time);

const { id, userId, items, total } = fixture('placed').event.data;
const placed = place({
  id,
  userId: userId!,
  items: items.map(({ productId, sku, name, quantity, unitPrice }) => ({
    ...{ productId, sku, name, quantity },
    unitPriceMinor: BigInt(unitPrice.amountMinor),
  })),
  currency: total.currency,
  shippingAddress: {
    ...{ name: 'Ada Lovelace', line1: '12 St James Square', line2: '', postalCode: 'SW1Y 4JH' },
    ...{ city: 'London', region: '', country: 'GB' },
  },
  atMs: atMs('placed'),
});
const after = (change: Change, move: Move, name: Name) => advance(change.order, [move], atMs(name));
const paid = after(placed, { kind: 'pay', chargeId: 'charge' }, 'paid');
const declined = after(placed, { kind: 'decline' }, 'payment-declined');
const confirmed = after(paid, { kind: 'confirm' }, 'confirmed');
const cancelled = cancel(confirmed.order, 'customer', atMs('cancelled')) as Change;
const refunded = after(cancelled, { kind: 'refund' }, 'refunded');
const events = [placed, paid, declined, confirmed, cancelled, refunded].flatMap((change) => change.events);

it.each(events.map((event) => [event.type.replace('headroom.order.', '') as Name, event] as const))(
  'publishes %s as the contract has it',
  (name, event) => {
    const { topic, key, event: expected } = fixture(name);
    const { traceparent: _, ...published } = expected;
    expect(orderEvent(event)).toEqual({ topic, key, event: { ...published, id: expect.any(String) } });
  },
);
