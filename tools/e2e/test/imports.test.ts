import { eventually } from '@headroom/testing';
import { randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import {
  finishedJob,
  importFile,
  ndjson,
  range,
  sharedSystem,
  shopClient,
  startGateway,
  type components,
  type Job,
} from '../src';

type AdminProduct = components['schemas']['AdminProduct'];

const system = sharedSystem();
const shop = shopClient(system.gateway);
let adminToken: string;

beforeAll(async () => {
  adminToken = (await shop.signIn(system.admin.email, system.admin.password)).accessToken;
});

const importProducts = (
  content: string,
  type: 'application/x-ndjson' | 'text/csv' = 'application/x-ndjson',
) => importFile(shop, adminToken, { to: 'imports', type, content });
const jobs = () =>
  shop
    .request<{ items: Job[] }>('GET', '/v1/admin/jobs?limit=100', { token: adminToken })
    .then(({ body }) => body.items);
/** The products with these SKUs, newest among the admin's first hundred. */
const bySku = async (...skus: string[]) => {
  const { body } = await shop.request<{ items: AdminProduct[] }>(
    'GET',
    '/v1/admin/products?limit=100&includeArchived=true',
    { token: adminToken },
  );
  return skus.map((sku) => body.items.find((product) => product.sku === sku));
};
const counts = ({ status, processed, created, updated, unchanged, rejected }: Job) => ({
  status,
  processed,
  created,
  updated,
  unchanged,
  rejected,
});
const errorsOf = ({ errors }: Job) => errors.map(({ line, code }) => [line, code]);

test('a bad line spoils itself only; the same file again changes nothing, another price is an update', async () => {
  const sku = randomUUID();
  const archived = await shop.product(adminToken);
  await shop.request('DELETE', `/v1/admin/products/${archived.id}`, { token: adminToken });
  const lines = [
    {
      sku,
      name: 'Imported bowl',
      description: 'Of beech',
      category: 'imports/bowls',
      priceMinor: 1_250,
      currency: 'USD',
      onHand: 7,
      imageUrl: 'https://images.example/bowl.webp',
    },
    '',
    '{"sku": broken',
    { sku: `${sku}-2`, name: 'Unknown member', priceMinor: 1, colour: 'red' },
    { sku: `${sku}-3`, name: 'No price' },
    { sku, name: 'The same SKU again', priceMinor: 2 },
    { sku: archived.sku, name: 'Archived', priceMinor: 3 },
    { sku: `${sku}-4`, name: 'Cheap', priceMinor: 0 },
    { sku: `${sku}-5`, name: 'Fraction', priceMinor: 1.5 },
  ];
  const file = ndjson(...lines);
  const job = await importProducts(file);
  expect(counts(job)).toEqual({
    status: 'succeeded',
    processed: 8, // all but the blank one
    created: 2,
    updated: 0,
    unchanged: 0,
    rejected: 6,
  });
  expect(job).toMatchObject({ type: 'product-import', total: 8 });
  expect(errorsOf(job)).toEqual([
    [3, 'LINE_MALFORMED'],
    [4, 'VALIDATION_FAILED'],
    [5, 'VALIDATION_FAILED'],
    [6, 'SKU_DUPLICATE'],
    [7, 'SKU_ARCHIVED'],
    [9, 'VALIDATION_FAILED'],
  ]);
  expect(job.errors[1]!.reason).toContain('colour');
  expect(job.errors[2]!.reason).toContain('priceMinor');

  const [product, cheap] = await bySku(sku, `${sku}-4`);
  expect(product).toMatchObject({
    name: 'Imported bowl',
    description: 'Of beech',
    category: 'imports/bowls',
    price: { amountMinor: 1_250, currency: 'USD' },
    available: 7,
    imageUrl: 'https://images.example/bowl.webp',
  });
  expect(cheap).toMatchObject({ price: { amountMinor: 0, currency: 'EUR' }, available: 0, imageUrl: null });

  const repeated = await importProducts(file);
  expect(counts(repeated)).toMatchObject({ created: 0, updated: 0, unchanged: 2, rejected: 6 });
  expect((await bySku(sku))[0]).toEqual(product);

  const changed = await importProducts(
    ndjson(
      { ...(lines[0] as object), priceMinor: 1_300, onHand: 500 },
      { sku: `${sku}-4`, name: 'Cheap', priceMinor: 0 },
    ),
  );
  expect(counts(changed)).toMatchObject({ created: 0, updated: 1, unchanged: 1, rejected: 0 });
  expect((await bySku(sku))[0]).toMatchObject({ price: { amountMinor: 1_300 }, available: 7 });
});

test('CSV: columns in any order, quoted cells over several lines, lines counted as in an editor', async () => {
  const sku = randomUUID();
  const job = await importProducts(
    [
      'priceMinor,name,sku,description',
      `100,"Cup, small",${sku}-1,"said ""hello""`,
      'over two lines"',
      `oops,Not a number,${sku}-2,`,
      '',
      `200,Plate,${sku}-3,`,
    ].join('\r\n'),
    'text/csv',
  );
  expect(counts(job)).toMatchObject({ status: 'succeeded', processed: 3, created: 2, rejected: 1 });
  expect(errorsOf(job)).toEqual([[4, 'VALIDATION_FAILED']]);
  const [cup, plate] = await bySku(`${sku}-1`, `${sku}-3`);
  expect(cup).toMatchObject({ name: 'Cup, small', description: 'said "hello"\r\nover two lines' });
  expect(plate).toMatchObject({ name: 'Plate', price: { amountMinor: 200, currency: 'EUR' } });
});

test.each([
  ['an unknown column', 'sku,name,priceMinor,colour', 'colour'],
  ['no required column', 'sku,name', 'priceMinor'],
])('a CSV header with %s ends the job failed, and nothing is created', async (_what, header, named) => {
  const sku = randomUUID();
  const job = await importProducts(`${header}\n${sku},Never,100,red\n`, 'text/csv');
  expect(counts(job)).toMatchObject({ status: 'failed', created: 0 });
  expect(job.errors[0]).toMatchObject({ line: 1, code: 'HEADER_INVALID' });
  expect(job.errors[0]!.reason).toContain(named);
  expect(await bySku(sku)).toEqual([undefined]);
});

test('an upload that is cut off leaves no job and no product, announced length or not', async () => {
  const before = (await jobs()).map(({ id }) => id);
  const cut = randomUUID();
  const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/x-ndjson' };
  const lines = ndjson(
    ...range(20_000).map((index) => ({
      sku: index === 0 ? cut : `${cut}-${index}`,
      name: 'Cut'.padEnd(190),
      description: 'x'.repeat(190),
      priceMinor: 1,
    })),
  );
  const begin = (extra: Record<string, string>) =>
    new Promise<void>((resolve) => {
      const upload = httpRequest(`${system.gateway}/v1/admin/imports`, {
        method: 'POST',
        headers: { ...headers, ...extra },
      });
      upload.on('error', () => undefined); // it is this side that ends it
      upload.on('close', resolve);
      // Written whole: the system has read more than the first part of it.
      upload.write(lines, () => upload.destroy());
    });
  await Promise.all([begin({}), begin({ 'content-length': String(2 * lines.length) })]);

  const sku = randomUUID();
  const whole = await importProducts(ndjson({ sku, name: 'Whole', priceMinor: 1 })); // later, and through the same queue
  const since = (await jobs()).map(({ id }) => id).filter((id) => !before.includes(id));
  expect(since).toEqual([whole.id]);
  expect((await bySku(cut, sku)).map((product) => product?.name)).toEqual([undefined, 'Whole']);
});

test('of very many bad lines the first 1,000 are told, and all are counted', async () => {
  const job = await importProducts(
    ndjson(...range(1_200).map((index) => ({ sku: `x${index}`, name: 'No price' }))),
  );
  expect(counts(job)).toMatchObject({ status: 'succeeded', processed: 1_200, created: 0, rejected: 1_200 });
  expect(job.errors.map(({ line }) => line)).toEqual(range(1_000).map((index) => index + 1));
});

test('a compressed or nameless file is refused before it is read, an empty one after', async () => {
  const answer = async (headers: Record<string, string>, rawBody: string) => {
    const { status, body } = await shop.request('POST', '/v1/admin/imports', {
      token: adminToken,
      headers,
      rawBody,
    });
    return [status, body['code']];
  };
  const csv = { 'content-type': 'text/csv' };
  expect(await answer({ ...csv, 'content-encoding': 'gzip' }, 'x')).toEqual([415, 'MEDIA_TYPE_UNSUPPORTED']);
  expect(await answer({ 'content-type': 'application/json' }, '{}')).toEqual([415, 'MEDIA_TYPE_UNSUPPORTED']);
  expect((await answer(csv, ''))[0]).toBe(400);
});

test('while a bulk import runs, an admin’s single change is seen at every gateway within 5 s', async () => {
  const product = await shop.product(adminToken, { category: `seen/${randomUUID()}` });
  const second = await startGateway(system);
  const sku = randomUUID();
  const file = ndjson(
    ...range(20_000).map((index) => ({
      sku: `${sku}-${index}`,
      name: `Bulk thing ${index}`,
      priceMinor: 100 + index,
      onHand: 1,
    })),
  );
  try {
    const accepted = await shop.request<Job>('POST', '/v1/admin/imports', {
      token: adminToken,
      headers: { 'content-type': 'application/x-ndjson' },
      rawBody: file,
    });
    const job = async () =>
      (await shop.request<Job>('GET', `/v1/admin/jobs/${accepted.body.id}`, { token: adminToken })).body;
    await eventually(async () => expect((await job()).processed).toBeGreaterThan(0), 30_000);
    for (const amountMinor of [5_001, 5_002, 5_003]) {
      await shop.request('PATCH', `/v1/admin/products/${product.id}`, {
        token: adminToken,
        body: { price: { amountMinor, currency: 'EUR' } },
      });
      await eventually(async () => {
        for (const base of [system.gateway, second.url]) {
          const { body } = await shopClient(base).request<{ items: AdminProduct[] }>(
            'GET',
            `/v1/products?category=${product.category}`,
          );
          expect(body.items[0]!.price.amountMinor).toBe(amountMinor);
        }
      }, 5_000);
    }
    expect(counts(await finishedJob(shop, adminToken, accepted.body.id))).toMatchObject({
      status: 'succeeded',
      processed: 20_000,
      created: 20_000,
    });
  } finally {
    await second.stop();
  }
});

test('jobs are listed newest first without their errors, and a list of fields is kept to', async () => {
  const first = await importProducts('{\n');
  const then = await importProducts('{\n');
  expect(first.errors).toHaveLength(1);
  const listed = await jobs();
  expect(listed.slice(0, 2).map(({ id }) => id)).toEqual([then.id, first.id]);
  expect(listed.map(({ id }) => id)).toEqual(
    listed
      .map(({ id }) => id)
      .sort()
      .reverse(),
  );
  const { body } = await shop.request<{ items: Job[] }>('GET', '/v1/admin/jobs?limit=1&fields=status', {
    token: adminToken,
  });
  expect(body.items).toEqual([{ id: then.id, status: 'succeeded' }]);
});

test('what was imported is found by shoppers', async () => {
  const category = `imports/${randomUUID()}`;
  await importProducts(
    ndjson(
      ...[1, 2, 3].map((n) => ({
        sku: randomUUID(),
        name: `Found ${n}`,
        priceMinor: n,
        category,
        onHand: 1,
      })),
    ),
  );
  await eventually(async () => {
    const { body } = await shop.request<{ items: Array<{ name: string }> }>(
      'GET',
      `/v1/products?category=${category}&sort=price`,
    );
    expect(body.items.map(({ name }) => name)).toEqual(['Found 1', 'Found 2', 'Found 3']);
  });
});
