import {
  png,
  send,
  unannounced,
  sharedSystem,
  shopClient,
  finishedJob,
  type components,
  type Job,
} from '../src';

type Product = components['schemas']['Product'];

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;
beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const upload = async (
  id: string,
  content: Uint8Array<ArrayBuffer> | string | ReadableStream<Uint8Array>,
  type = 'image/png',
) => {
  const response = await fetch(`${system.gateway}/v1/admin/products/${id}/image`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': type },
    body: content,
    duplex: 'half',
    signal: AbortSignal.timeout(20_000),
  } as RequestInit);
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Job & { code: string },
  };
};
const imageUrl = async (id: string) =>
  (await shop.request<Product>('GET', `/v1/products/${id}`)).body.imageUrl;
const picture = (red: number) => new Uint8Array(png(1_200, 900, [red, 80, 80]));

test('a picture becomes an immutable file under a hashed name; a newer one gets another name, and the old stays', async () => {
  const { id } = await shop.product(adminToken);
  const accepted = await upload(id, picture(10));
  expect(accepted.status).toBe(202);
  expect(accepted.headers.get('location')).toBe(`/v1/admin/jobs/${accepted.body.id}`);
  expect(accepted.body).toMatchObject({ type: 'product-image', status: 'queued', finishedAt: null });
  expect(await finishedJob(shop, adminToken, accepted.body.id)).toMatchObject({
    status: 'succeeded',
    errors: [],
  });

  const first = (await imageUrl(id))!;
  expect(first).toMatch(/^\/images\/[\w-]{16,}\.webp$/);
  const response = await fetch(`${system.gateway}${first}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('image/webp');
  expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  expect(response.headers.get('cross-origin-resource-policy')).toBe('cross-origin');
  expect(Number(response.headers.get('content-length'))).toBe(bytes.length);
  expect([bytes.toString('latin1', 0, 4), bytes.toString('latin1', 8, 12)]).toEqual(['RIFF', 'WEBP']);
  const known = await send(system.gateway, {
    method: 'GET',
    path: first,
    headers: { 'if-none-match': response.headers.get('etag')! },
  });
  expect(known.status).toBe(304);

  const newer = await upload(id, picture(200));
  await finishedJob(shop, adminToken, newer.body.id);
  const second = (await imageUrl(id))!;
  expect(second).not.toBe(first);
  const kept = await fetch(`${system.gateway}${first}`);
  expect(Buffer.from(await kept.arrayBuffer()).equals(bytes)).toBe(true);
});

test('the content decides what a picture is, not what it is called', async () => {
  const { id } = await shop.product(adminToken);
  const renamed = await upload(id, picture(30), 'image/jpeg');
  expect(renamed.status).toBe(202);
  expect(await finishedJob(shop, adminToken, renamed.body.id)).toMatchObject({ status: 'succeeded' });
  for (const content of ['GIF89a not at all', '<svg xmlns="http://www.w3.org/2000/svg"/>']) {
    const { status, body } = await upload(id, content);
    expect([status, body.code]).toEqual([415, 'IMAGE_UNSUPPORTED']);
  }
});

test('a picture that is broken ends its job failed with a reason, and the product keeps what it had', async () => {
  const { id } = await shop.product(adminToken);
  const broken = await upload(id, picture(40).slice(0, 200));
  if (broken.status === 202) {
    const job = await finishedJob(shop, adminToken, broken.body.id);
    expect(job).toMatchObject({ status: 'failed' });
    expect(job.errors[0]?.reason).toMatch(/./);
  } else expect([broken.status, broken.body.code]).toEqual([415, 'IMAGE_UNSUPPORTED']);
  expect(await imageUrl(id)).toBeNull();
});

test('more than 10 MiB are refused, also where no length was announced', async () => {
  const { id } = await shop.product(adminToken);
  const { status, body } = await upload(id, ReadableStream.from(unannounced(11 * 1024 * 1024, picture(50))));
  expect([status, body.code]).toEqual([413, 'BODY_TOO_LARGE']);
  expect(await imageUrl(id)).toBeNull();
});

test('a picture of a product that does not exist or is archived is refused', async () => {
  const { id } = await shop.product(adminToken);
  await shop.request('DELETE', `/v1/admin/products/${id}`, { token: adminToken });
  const archived = await upload(id, picture(60));
  expect([archived.status, archived.body.code]).toEqual([409, 'PRODUCT_ARCHIVED']);
  const unknown = await upload('01890a5d-ac96-774b-bcce-b302099a8057', picture(60));
  expect([unknown.status, unknown.body.code]).toEqual([404, 'NOT_FOUND']);
});
