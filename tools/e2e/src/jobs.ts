import { eventually } from '@headroom/testing';
import type { components } from './gen/api';
import type { ShopClient } from './shop-client';

export type Job = components['schemas']['Job'];

/** The job once it has succeeded or failed. */
export function finishedJob(shop: ShopClient, adminToken: string, id: string): Promise<Job> {
  return eventually(async () => {
    const { body, text } = await shop.request<Job>('GET', `/v1/admin/jobs/${id}`, { token: adminToken });
    if (body.finishedAt === null) throw new Error(`the job has not finished: ${text}`);
    return body;
  }, 45_000);
}

/** Sends a file of lines and gives its job once that has finished. */
export async function importFile(
  shop: ShopClient,
  adminToken: string,
  file: { to: 'imports' | 'order-imports'; type: 'application/x-ndjson' | 'text/csv'; content: string },
): Promise<Job> {
  const { status, body, headers, text } = await shop.request<Job>('POST', `/v1/admin/${file.to}`, {
    token: adminToken,
    headers: { 'content-type': file.type },
    rawBody: file.content,
  });
  if (status !== 202 || headers.get('location') !== `/v1/admin/jobs/${body.id}`)
    throw new Error(`the import was answered ${status}: ${text}`);
  return finishedJob(shop, adminToken, body.id);
}

/** A file of NDJSON. */
export const ndjson = (...lines: unknown[]): string =>
  lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
