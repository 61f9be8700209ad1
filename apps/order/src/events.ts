import type { orderV1 } from '@headroom/contracts';
import { domainEvent, type OrderData, type PublishableEvent } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import { currentTraceparent } from '@headroom/telemetry';
import { placedAtMs, type Order, type OrderEvent } from './order';

/** Milliseconds since the Unix epoch as RFC 3339 in UTC. */
const time = (ms: number): string => new Date(ms).toISOString();

/** The contract's event for a change of an order. Neither address nor payment token are part of it. */
export function orderEvent({ type, order }: OrderEvent): PublishableEvent {
  return domainEvent({
    id: uuidv7(),
    type,
    subject: `order/${order.id}`,
    key: order.id,
    version: order.version,
    // What happened elsewhere happened when it was placed; `updatedAt` says when it was recorded here.
    time: time(order.externalId === null ? order.updatedAtMs : placedAtMs(order)),
    traceparent: currentTraceparent(),
    data: orderData(order),
  });
}

function orderData(order: Order): OrderData {
  const money = (amountMinor: bigint) => ({
    amountMinor: Number(amountMinor),
    currency: order.currency,
  });
  return {
    id: order.id,
    userId: order.userId,
    externalId: order.externalId,
    status: order.status,
    paymentStatus: order.paymentStatus,
    cancelReason: order.cancelReason,
    items: order.items.map((item) => ({
      productId: item.productId,
      sku: item.sku,
      name: item.name,
      quantity: item.quantity,
      unitPrice: money(item.unitPriceMinor),
      lineTotal: money(item.unitPriceMinor * BigInt(item.quantity)),
    })),
    total: money(order.totalMinor),
    placedAt: time(placedAtMs(order)),
    updatedAt: time(order.updatedAtMs),
  };
}

/** The order as the service's callers see it. */
export function orderMessage(order: Order): orderV1.Order {
  const money = (amountMinor: bigint) => ({ amountMinor, currency: order.currency });
  return {
    id: order.id,
    userId: order.userId ?? '',
    status: order.status,
    paymentStatus: order.paymentStatus,
    cancelReason: order.cancelReason ?? '',
    items: order.items.map((item) => ({
      productId: item.productId,
      name: item.name,
      quantity: item.quantity,
      unitPrice: money(item.unitPriceMinor),
      lineTotal: money(item.unitPriceMinor * BigInt(item.quantity)),
    })),
    total: money(order.totalMinor),
    placedAt: time(placedAtMs(order)),
    updatedAt: time(order.updatedAtMs),
    version: order.version,
    ...(order.externalId === null ? {} : { externalId: order.externalId }),
  };
}
