import type { Money } from './gen/headroom/common/v1/common';
import type { Order } from './gen/headroom/order/v1/order';

/** Money as the API shows it. Amounts stay far below 2^53, so a JSON number is exact. */
export const moneyJson = (money: Money | undefined) => ({
  amountMinor: Number(money?.amountMinor ?? 0n),
  currency: money?.currency ?? '',
});

/** An order as the API shows it; also what the order service stores as the answer to a checkout. */
export function orderJson(order: Order) {
  return {
    id: order.id,
    status: order.status,
    paymentStatus: order.paymentStatus,
    cancelReason: order.cancelReason === '' ? null : order.cancelReason,
    items: order.items.map((item) => ({
      productId: item.productId,
      name: item.name,
      quantity: item.quantity,
      unitPrice: moneyJson(item.unitPrice),
      lineTotal: moneyJson(item.lineTotal),
    })),
    total: moneyJson(order.total),
    placedAt: order.placedAt,
    updatedAt: order.updatedAt,
  };
}

/** True when the order will not change any more: its event stream ends here. */
export function isFinal(order: Pick<Order, 'status' | 'paymentStatus'>): boolean {
  return (
    (order.status === 'confirmed' || order.status === 'cancelled') && order.paymentStatus !== 'refund_pending'
  );
}
