import {
  activityEvent,
  domainEvent,
  type ActivityEvent,
  type DomainEvent,
  type OrderData,
  type ProductData,
} from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';

/** An event with its place in the log. */
export interface Published {
  topic: string;
  key: string;
  event: DomainEvent | ActivityEvent;
}

/** Builders of events for tests: what a test says nothing about has a plausible value. */
export function productEvent(version: number, changes: Partial<ProductData> & { id: string }): Published {
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
  const type =
    version === 1
      ? 'headroom.catalog.product-created'
      : data.archived
        ? 'headroom.catalog.product-archived'
        : 'headroom.catalog.product-updated';
  const { id } = data;
  return domainEvent({
    id: uuidv7(),
    type,
    subject: `product/${id}`,
    key: id,
    version,
    time: data.updatedAt,
    data,
  });
}

export function stockEvent(version: number, productId: string, available: number): Published {
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
    status: OrderData['status'];
    placedAt: string;
    productIds: string[];
  },
): Published {
  const money = { amountMinor: 500, currency: 'EUR' };
  const { id, userId, status, placedAt } = order;
  return domainEvent({
    id: uuidv7(),
    type: TYPE_OF_STATUS[status],
    subject: `order/${id}`,
    key: id,
    version,
    time: placedAt,
    data: {
      id,
      externalId: null,
      userId,
      status,
      paymentStatus: status === 'confirmed' ? 'paid' : 'pending',
      cancelReason: status === 'cancelled' ? 'customer' : null,
      items: order.productIds.map((productId) => ({
        productId,
        sku: 'SKU',
        name: 'Oak Serving Board',
        quantity: 1,
        unitPrice: money,
        lineTotal: money,
      })),
      total: { amountMinor: 500 * order.productIds.length, currency: 'EUR' },
      placedAt,
      updatedAt: placedAt,
    },
  });
}

export function viewEvent(productId: string, userId: string | null, at = new Date()): Published {
  return activityEvent({
    id: uuidv7(at.getTime()),
    time: at.toISOString(),
    data: { type: 'view', productId, userId, guestId: userId === null ? 'guest-1' : null },
  });
}
