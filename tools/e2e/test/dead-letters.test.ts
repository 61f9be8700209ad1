import { TOPICS } from '@headroom/contracts';
import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { appendPoison, sharedSystem, shopClient, type components } from '../src';

type DeadLetter = components['schemas']['DeadLetter'];

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const all = () => shop.list<DeadLetter>('/v1/admin/dead-letters', adminToken);
const act = (method: string, path: string) =>
  shop.request<{ code?: string }>(method, `/v1/admin/dead-letters/${path}`, { token: adminToken });

test('what no consumer can read parks its key in each group, lets other keys flow, is requeued and discarded', async () => {
  const key = randomUUID();
  await appendPoison(system, TOPICS.catalog.name, key);
  const ofKey = async () => (await all()).filter((letter) => letter.key === key);
  const parked = await eventually(async () => {
    const found = await ofKey();
    expect(new Set(found.map(({ source }) => source)).size).toBe(3); // two views and the recommendations read this topic
    return found;
  }, 30_000);
  for (const letter of parked) {
    expect(letter).toMatchObject({
      topic: TOPICS.catalog.name,
      key,
      eventId: null,
      payload: 'no JSON at all',
      attempts: expect.any(Number) as number,
      source: expect.stringMatching(/./) as string,
      error: expect.stringMatching(/./) as string,
    });
    expect(Math.abs(Date.now() - Date.parse(letter.failedAt))).toBeLessThan(60_000);
  }
  const ids = (await all()).map(({ id }) => id);
  expect(ids).toEqual([...ids].sort().reverse());

  // Others flow: a new product comes to the shoppers' list all the same.
  const product = await shop.product(adminToken, { category: `flows/${key}` });
  await eventually(async () => {
    const { body } = await shop.request<{ items: Array<{ id: string }> }>(
      'GET',
      `/v1/products?category=flows/${key}`,
    );
    expect(body.items.map(({ id }) => id)).toEqual([product.id]);
  });

  // Nothing has been mended: it is tried again and comes back.
  expect((await act('POST', `${parked[0]!.id}/requeue`)).status).toBe(202);
  await eventually(async () => {
    const again = (await ofKey()).find(({ source }) => source === parked[0]!.source);
    expect(again!.failedAt > parked[0]!.failedAt).toBe(true);
  }, 30_000);

  for (const { id } of await ofKey()) {
    expect((await act('DELETE', id)).status).toBe(204);
    const gone = await act('DELETE', id);
    expect([gone.status, gone.body.code]).toEqual([404, 'NOT_FOUND']);
    expect((await act('POST', `${id}/requeue`)).status).toBe(404);
  }
  expect(await ofKey()).toEqual([]);
});
