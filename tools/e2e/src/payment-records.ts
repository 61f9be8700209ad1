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
  const { request } = shopClient(payment);
  const all = async (path: string) => {
    const records: PaymentRecord[] = [];
    for (let cursor = ''; ;) {
      const query = new URLSearchParams({
        limit: '100',
        ...(orderId === undefined ? {} : { orderId }),
        ...(cursor === '' ? {} : { cursor }),
      });
      const { status, body, text } = await request<{
        items: PaymentRecord[];
        page: { nextCursor: string | null };
      }>('GET', `${path}?${query.toString()}`);
      if (status !== 200) throw new Error(`${path} answered ${status}: ${text}`);
      records.push(...body.items);
      cursor = body.page.nextCursor ?? '';
      if (cursor === '') return records;
    }
  };
  return { charges: await all('/v1/charges'), refunds: await all('/v1/refunds') };
}

/** The sum of what was really taken or given back; a declined charge moves nothing. */
export function moved(records: readonly PaymentRecord[]): number {
  return records
    .filter((record) => record.status === 'succeeded')
    .reduce((sum, record) => sum + record.amountMinor, 0);
}
