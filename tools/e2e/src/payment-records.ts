import { shopClient } from './shop-client';

/** A charge or a refund as the payment provider has it on record. */
export interface PaymentRecord {
  id: string;
  orderId: string;
  idempotencyKey: string;
  amountMinor: number;
  currency: string;
  status: string;
  createdAt: string;
}

/** All charges and refunds of the provider, or those of one order. */
export async function paymentRecords(
  payment: string,
  orderId?: string,
): Promise<{ charges: PaymentRecord[]; refunds: PaymentRecord[] }> {
  const { list } = shopClient(payment);
  const filter = orderId === undefined ? '' : `?orderId=${encodeURIComponent(orderId)}`;
  return {
    charges: await list<PaymentRecord>(`/v1/charges${filter}`),
    refunds: await list<PaymentRecord>(`/v1/refunds${filter}`),
  };
}

/** The sum of what was really taken or given back; a declined charge moves nothing. */
export function moved(records: readonly PaymentRecord[]): number {
  return records
    .filter((record) => record.status === 'succeeded')
    .reduce((sum, record) => sum + record.amountMinor, 0);
}
