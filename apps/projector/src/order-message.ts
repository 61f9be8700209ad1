import type { orderV1 } from '@headroom/contracts';
import type { OrderRow } from './views/orders';

const moneyOf = (money: { amountMinor: number; currency: string }) => ({
  amountMinor: BigInt(money.amountMinor),
  currency: money.currency,
});

/** An order of the view as the service's callers see it. */
export const orderMessage = (row: OrderRow): orderV1.Order => ({
  id: row.id,
  userId: row.user_id ?? '',
  ...(row.external_id === null ? {} : { externalId: row.external_id }),
  status: row.status,
  paymentStatus: row.payment_status,
  cancelReason: row.cancel_reason ?? '',
  items: row.items.map((item) => ({
    productId: item.productId,
    name: item.name,
    quantity: item.quantity,
    unitPrice: moneyOf(item.unitPrice),
    lineTotal: moneyOf(item.lineTotal),
  })),
  total: { amountMinor: row.total_minor, currency: row.currency },
  placedAt: row.placed_at.toISOString(),
  updatedAt: row.updated_at.toISOString(),
  version: row.version,
});
