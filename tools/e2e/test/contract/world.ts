import { TOPICS } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import {
  appendPoison,
  finishedJob,
  openEventStream,
  png,
  recorded,
  send,
  shopClient,
  type paths,
  type RecordedRequest,
  type SystemAddresses,
} from '../../src';

type Method = 'get' | 'put' | 'post' | 'patch' | 'delete';
/** `GET /v1/me` and so on: every operation of the document. */
export type OperationName = {
  [Path in keyof paths]: {
    [M in Method]: paths[Path][M] extends object ? `${Uppercase<M>} ${Path}` : never;
  }[Method];
}[keyof paths];

/** How the statuses of an operation are brought about. */
export interface OperationCase {
  /** A right request: its answer has the operation's first status of success. */
  right(world: World): Promise<RecordedRequest>;
  /** Requests for statuses that do not follow from the form of a right request (see contract.test.ts). */
  others?: Partial<Record<number, (world: World) => Promise<RecordedRequest>>>;
}

export type Cases<Prefix extends string = ''> = Record<
  Extract<OperationName, `${string} ${Prefix}${string}`>,
  OperationCase
>;

export type World = Awaited<ReturnType<typeof createWorld>>;

export const UNKNOWN = '01890a5d-ac96-774b-bcce-b302099a8057';
export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
/** The body of a file, as it stands. */
export const asIs = { bodySerializer: (body: unknown) => body };

/** What the right requests are about: people, products, orders and files of a running system. */
export async function createWorld(system: SystemAddresses) {
  const shop = shopClient(system.gateway);
  const { accessToken: adminToken } = await shop.signIn(system.admin.email, system.admin.password);
  const [customer, product, foreign, archived] = await Promise.all([
    shop.customer(),
    shop.product(adminToken),
    shop.product(adminToken, { currency: 'USD' }),
    shop.product(adminToken),
  ]);
  const asAdmin = bearer(adminToken);
  const asCustomer = bearer(customer.token);

  const succeeded = async (request: RecordedRequest): Promise<string> => {
    const { status, text } = await send(system.gateway, request);
    if (status !== 202) throw new Error(`${request.path} answered ${status}: ${text}`);
    const job = await finishedJob(shop, adminToken, (JSON.parse(text) as { id: string }).id);
    expect(job).toMatchObject({ status: 'succeeded' });
    return job.id;
  };
  const placed = async (payment: string, token = customer.token) =>
    (await shop.checkout(token, [{ productId: product.id, quantity: 1 }], { payment })).body.id;
  const settled = async (payment: string) => {
    const orderId = await placed(payment);
    await shop.settled(customer.token, orderId);
    return orderId;
  };

  await shop.request('DELETE', `/v1/admin/products/${archived.id}`, { token: adminToken });
  await shop.request('PUT', `/v1/cart/items/${product.id}`, {
    token: customer.token,
    body: { quantity: 2 },
  });
  const [orderId, declinedId, jobId, exportId] = await Promise.all([
    settled('tok_ok'),
    settled('tok_declined'),
    succeeded(
      await recorded((api) =>
        api.PUT('/v1/admin/products/{id}/image', {
          params: { path: { id: product.id } },
          headers: { ...asAdmin, 'content-type': 'image/png' },
          body: png(40, 30, [10, 20, 30]) as unknown as string,
          ...asIs,
        }),
      ),
    ),
    succeeded(
      await recorded((api) =>
        api.POST('/v1/admin/reports/sales/exports', {
          headers: asAdmin,
          body: { from: '2026-01-01', to: '2026-02-01', by: 'day' },
        }),
      ),
    ),
  ]);
  const pictured = await shop.request<{ imageUrl: string }>('GET', `/v1/products/${product.id}`);
  const stream = await openEventStream(`${system.gateway}/v1/orders/${orderId}/events`, asCustomer);
  let lastEventId = '';
  for await (const { id } of stream.events) lastEventId = id;

  interface Letter {
    id: string;
    key: string;
  }
  const poisoned = new Set<string>();
  const deadLetters = () => shop.list<Letter>('/v1/admin/dead-letters', adminToken);

  return {
    system,
    shop,
    adminToken,
    customer,
    asAdmin,
    asCustomer,
    product,
    foreign,
    archived,
    /** Confirmed. */
    orderId,
    /** Of the last state of that order. */
    lastEventId,
    /** Cancelled, since its card was declined. */
    declinedId,
    jobId,
    exportId,
    imageName: pictured.body.imageUrl.replace('/images/', ''),
    /** An order of the customer, as soon as it is placed. */
    placed,
    /** An order of the customer that can no longer change by itself. */
    settled,
    /** The id of an event that was given up, a new one for each call. */
    async deadLetter(): Promise<string> {
      const key = randomUUID();
      poisoned.add(key);
      await appendPoison(system, TOPICS.catalog.name, key);
      return eventually(async () => {
        const found = (await deadLetters()).find((each) => each.key === key);
        if (!found) throw new Error('no dead letter yet');
        return found.id;
      }, 30_000);
    },
    /** Discards what was given up: views vouch for nothing that came behind it. */
    async close(): Promise<void> {
      for (const { id, key } of await deadLetters())
        if (poisoned.has(key))
          await shop.request('DELETE', `/v1/admin/dead-letters/${id}`, { token: adminToken });
    },
  };
}
