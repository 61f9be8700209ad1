import {
  domainEvent,
  type DomainEvent,
  type EventType,
  type OrderData,
  type ProductData,
  type PublishableEvent,
} from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';

/** Builders of events for tests: what a test says nothing about has a plausible value. */
export function productEvent(
  version: number,
  changes: Partial<ProductData> & { id: string },
  type: EventType = version === 1 ? 'headroom.catalog.product-created' : 'headroom.catalog.product-updated',
): PublishableEvent {
  const data: ProductData = {
    slug: `product-${changes.id.slice(-12)}`,
    sku: `SKU-${changes.id.slice(-12)}`,
    name: 'Oak Serving Board',
    description: 'A board of oiled oak.',
    category: 'kitchen/boards',
    price: { amountMinor: 2_495, currency: 'EUR' },
    imageUrl: null,
    group: null,
    options: null,
    archived: false,
    createdAt: '2026-01-01T10:00:00.000Z',
    updatedAt: '2026-01-01T10:00:00.000Z',
    ...changes,
  };
  return domainEvent({
    id: uuidv7(),
    type,
    subject: `product/${data.id}`,
    key: data.id,
    version,
    time: data.updatedAt,
    data,
  });
}

export function stockEvent(version: number, productId: string, available: number): PublishableEvent {
  return domainEvent({
    id: uuidv7(),
    type: 'headroom.catalog.stock-changed',
    subject: `stock/${productId}`,
    key: productId,
    version,
    time: '2026-01-01T10:00:00.000Z',
    data: { productId, onHand: available, available, held: 0 },
  });
}

export function userEvent(version: number, id: string, name: string): PublishableEvent {
  return domainEvent({
    id: uuidv7(),
    type: version === 1 ? 'headroom.user.registered' : 'headroom.user.updated',
    subject: `user/${id}`,
    key: id,
    version,
    time: '2026-01-01T10:00:00.000Z',
    data: {
      id,
      email: `${id}@example.com`,
      name,
      role: 'customer',
      tier: 'free',
      disabled: false,
      createdAt: '2026-01-01T10:00:00.000Z',
    },
  });
}

const TYPE_OF_STATUS = {
  pending: 'headroom.order.placed',
  confirmed: 'headroom.order.confirmed',
  cancelled: 'headroom.order.cancelled',
} as const;

export function orderEvent(
  version: number,
  order: {
    id: string;
    userId: string | null;
    externalId?: string;
    status: OrderData['status'];
    placedAt: string;
    lines: Array<{ productId: string; quantity: number; priceMinor: number }>;
    currency?: string;
  },
): PublishableEvent {
  const money = (amountMinor: number) => ({ amountMinor, currency: order.currency ?? 'EUR' });
  const total = order.lines.reduce((sum, line) => sum + line.quantity * line.priceMinor, 0);
  return domainEvent({
    id: uuidv7(),
    type: TYPE_OF_STATUS[order.status],
    subject: `order/${order.id}`,
    key: order.id,
    version,
    time: order.placedAt,
    data: {
      id: order.id,
      userId: order.userId,
      externalId: order.externalId ?? null,
      status: order.status,
      paymentStatus: order.status === 'confirmed' ? 'paid' : 'pending',
      cancelReason: order.status === 'cancelled' ? 'customer' : null,
      items: order.lines.map((line) => ({
        productId: line.productId,
        sku: 'SKU',
        name: 'Oak Serving Board',
        quantity: line.quantity,
        unitPrice: money(line.priceMinor),
        lineTotal: money(line.quantity * line.priceMinor),
      })),
      total: money(total),
      placedAt: order.placedAt,
      updatedAt: order.placedAt,
    },
  });
}

/** Events alone, as a view gets them. */
export const received = (
  events: readonly PublishableEvent[],
  partition = 0,
): { events: DomainEvent[]; partition: number } => ({
  events: events.map(({ event }) => event),
  partition,
});
