import { operationsV1 } from '@headroom/contracts';
import { importedFiles, importStep, openJobs } from '@headroom/jobs';
import { sql } from '@headroom/postgres';
import { Fault, systemClock, uuidv7 } from '@headroom/resilience';
import { createRpcClient, serveGrpc, withCallContext } from '@headroom/rpc';
import { createUploads } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { eventProblems, eventually, trustTokens } from '@headroom/testing';
import fc from 'fast-check';
import { addSkus, openHistoryShop, type HistoryLine, type HistoryShop } from '../test/history-shop';
import { openOrderShop, type OrderShop } from '../test/order-shop';
import { historyImport, ORDER_IMPORT, ORDER_IMPORT_QUEUE, ORDER_IMPORT_TYPES } from './history-import';
import { insertImported } from './history-repository';
import { operationsService, uploadService } from './operations';
import { placedAtMs, type Order } from './order';
import { findOrders, listChangedOrders } from './repository';

jest.setTimeout(120_000);

let shop: OrderShop;
let history: HistoryShop;
beforeAll(async () => {
  shop = await openOrderShop();
  history = await openHistoryShop(shop);
});
afterAll(async () => {
  await history.close();
  await shop.close();
});

const line = (sku: string, rest: Partial<HistoryLine> = {}): HistoryLine => ({
  externalId: uuidv7(),
  placedAt: '2010-12-01T08:26:00Z',
  items: [{ sku, quantity: 2, unitPrice: { amountMinor: 255, currency: 'GBP' } }],
  ...rest,
});

/** The orders with these external ids, by them. */
async function imported(externalIds: readonly string[]): Promise<Map<string, Order>> {
  const rows = await shop.test.db.rows<{ order_id: string }>(
    sql(
      'test.imported',
    )`select order_id from imported_orders where external_id = any(${externalIds}::text[])`,
  );
  const orders = await findOrders(
    shop.test.db,
    rows.map((row) => row.order_id),
  );
  return new Map(orders.map((order) => [order.externalId!, order]));
}
const count = async (table: string) =>
  (await shop.test.db.row<{ count: bigint }>(
    sql('test.count')`select count(*) from ${sql.identifier(table)}`,
  ))!.count;

async function importAll(lines: ReadonlyArray<HistoryLine | string>, options = {}) {
  const what = await history.upload(lines);
  expect(await history.run(what, options)).toBe(true);
  return history.job(what);
}

it("brings an order in with its own date, prices and lines, as its owner's and confirmed, with the events of any order", async () => {
  const [board, mug] = addSkus(history, 2) as [string, string];
  const ada = uuidv7();
  history.accounts.set('ada@example.com', ada);
  const items = [
    { sku: board, quantity: 99_999, unitPrice: { amountMinor: 255, currency: 'GBP' } },
    { sku: mug, quantity: 1, unitPrice: { amountMinor: 0, currency: 'GBP' } },
    { sku: board, quantity: 3, unitPrice: { amountMinor: 199, currency: 'GBP' } },
  ];
  const owned = line(board, { email: 'Ada@Example.com', items });
  const nobodys = line(mug, { email: 'stranger@example.com', placedAt: '1993-05-01T00:00:00Z' });
  const sagas = await count('order_sagas');
  const job = await importAll([owned, nobodys]);
  expect(job).toMatchObject({
    status: 'succeeded',
    processed: 2n,
    total: 2n,
    created: 2n,
    rejected: 0n,
    errors: [],
  });

  const orders = await imported([owned.externalId, nobodys.externalId]);
  const order = orders.get(owned.externalId)!;
  expect(order).toMatchObject({
    userId: ada,
    status: 'confirmed',
    paymentStatus: 'paid',
    currency: 'GBP',
    totalMinor: 99_999n * 255n + 3n * 199n,
    version: 3n,
    shippingAddress: null,
  });
  expect(order.items).toEqual(
    items.map(({ sku, quantity, unitPrice }) => ({
      ...history.skus.get(sku)!,
      ...{ sku, quantity, unitPriceMinor: BigInt(unitPrice.amountMinor) },
    })),
  );
  expect(placedAtMs(order)).toBe(Date.parse(owned.placedAt));
  expect(orders.get(nobodys.externalId)).toMatchObject({ userId: null });

  const events = await shop.events(order.id);
  expect(events.map(({ type, aggregateversion }) => `${type}@${aggregateversion}`)).toEqual([
    'headroom.order.placed@1',
    'headroom.order.paid@2',
    'headroom.order.confirmed@3',
  ]);
  for (const event of [...events, ...(await shop.events(orders.get(nobodys.externalId)!.id))]) {
    expect(eventProblems(event as never)).toEqual([]);
    expect(event).toMatchObject({ data: { placedAt: (event as unknown as { time: string }).time } });
  }
  expect(events[2]!.data).toMatchObject({
    userId: ada,
    externalId: owned.externalId,
    total: { amountMinor: 25_500_342 },
  });

  // Nothing is charged, held or mailed, and the owner's list has it without waiting for a view.
  expect(await count('order_sagas')).toBe(sagas);
  expect(shop.catalog.calls).toEqual({});
  const mine = { userId: ada, sinceMs: shop.clock.now() - 1_000, afterId: undefined, limit: 10 };
  expect((await listChangedOrders(shop.test.db, mine)).map(({ id }) => id)).toEqual([order.id]);
});

it('takes the same order twice as unchanged and other content as a conflict, within a file and between files', async () => {
  const [sku] = addSkus(history, 1) as [string];
  const first = line(sku);
  const changed = { ...first, placedAt: '2010-12-01T08:26:01Z' };
  expect(await importAll([first, '', first, changed])).toMatchObject({
    ...{ processed: 3n, created: 1n, unchanged: 1n, rejected: 1n },
    errors: [{ line: 4n, code: 'EXTERNAL_ID_CONFLICT' }],
  });
  const events = await count('outbox');
  history.accounts.set('late@example.com', uuidv7());
  const again = await importAll([changed, first, { ...first, email: 'late@example.com' }]);
  expect(again).toMatchObject({ processed: 3n, created: 0n, unchanged: 1n, rejected: 2n });
  expect(again.errors.map(({ line: at, code }) => `${at} ${code}`)).toEqual([
    '1 EXTERNAL_ID_CONFLICT',
    '3 EXTERNAL_ID_CONFLICT',
  ]);
  expect(await count('outbox')).toBe(events);
  expect((await imported([first.externalId])).get(first.externalId)).toMatchObject({ userId: null });
});

it('rejects a line that is wrong or names an unknown product, with its line, and goes on', async () => {
  const [sku] = addSkus(history, 1) as [string];
  const unknown = line('NOT-SOLD-HERE');
  const job = await importAll(['{"externalId":1', line(sku), unknown, '{}', line(sku, { items: [] })]);
  expect(job).toMatchObject({ status: 'succeeded', processed: 5n, created: 1n, rejected: 4n });
  expect(job.errors.map(({ line: at, code }) => `${at} ${code}`)).toEqual([
    '1 LINE_MALFORMED',
    '3 SKU_UNKNOWN',
    '4 VALIDATION_FAILED',
    '5 VALIDATION_FAILED',
  ]);
  expect(job.errors[1]!.reason).toContain('NOT-SOLD-HERE');
  history.skus.set('NOT-SOLD-HERE', { productId: uuidv7(), name: 'Sold after all' });
  expect(await importAll([unknown])).toMatchObject({ created: 1n, rejected: 0n });
});

it('leaves no order twice and none out, wherever a process dies', async () => {
  const skus = addSkus(history, 3);
  let died = 0;
  for (const when of ['before', 'after'] as const) {
    for (let at = 1; ; at += 1) {
      const lines = Array.from({ length: 7 }, (_, n) =>
        line(skus[n % 3]!, { email: `someone-${n}@example.com`, placedAt: `20${10 + n}-03-05T06:07:08Z` }),
      );
      const file = [...lines, lines[0]!, 'broken'];
      const what = await history.upload(file);
      const survived = await history.run(what, { death: { at, when }, pieceBytes: 600 });
      if (survived) break;
      died += 1;
      await history.run(what, { pieceBytes: 600 });
      expect(await history.job(what)).toMatchObject({
        ...{ status: 'succeeded', processed: 9n, total: 9n, created: 7n, unchanged: 1n, rejected: 1n },
      });
      const orders = await imported(lines.map((each) => each.externalId));
      expect(orders.size).toBe(7);
      for (const { id } of orders.values())
        expect((await shop.events(id)).map((event) => event.aggregateversion)).toEqual([1, 2, 3]);
      await history.uploads.cleanUp(new Date(shop.clock.now() - 86_400_000));
      expect(await history.blobs.stat(`uploads/order-import/${what.uploadId}`)).toBeUndefined();
    }
  }
  expect(died).toBeGreaterThan(20);
});

it('enters each order once when several files hold it and run at the same time', async () => {
  const skus = addSkus(history, 3);
  const lines = Array.from({ length: 40 }, (_, n) => line(skus[n % 3]!));
  const files = [lines, [...lines].reverse(), [...lines.slice(20), ...lines.slice(0, 20)]];
  const imports = await Promise.all(files.map((file) => history.upload(file)));
  await Promise.all(imports.map((what) => history.run(what, { pieceBytes: 1_500 })));
  const jobs = await Promise.all(imports.map((what) => history.job(what)));
  expect(jobs.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
  expect(jobs.reduce((sum, job) => sum + job.created, 0n)).toBe(40n);
  expect(jobs.reduce((sum, job) => sum + job.unchanged, 0n)).toBe(80n);
  const orders = await imported(lines.map((each) => each.externalId));
  for (const { id } of orders.values()) expect(await shop.events(id)).toHaveLength(3);
});

it('locks no two imports up, in whatever order their files hold the same orders', async () => {
  const [first, last] = [`${uuidv7()}-a`, `${uuidv7()}-z`].sort() as [string, string];
  const entry = (externalId: string) => ({ externalId, fingerprint: Buffer.alloc(32), orderId: uuidv7() });
  let other: Promise<Set<string>> | undefined;
  await shop.test.db.transaction(async (tx) => {
    await insertImported(tx, [entry(first)]);
    other = shop.test.db.transaction((tx2) => insertImported(tx2, [entry(last), entry(first)]));
    await eventually(async () => {
      const waiting = await shop.test.db.rows(sql('test.waiting')`
        select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`);
      expect(waiting).toHaveLength(1);
    });
    expect(await insertImported(tx, [entry(last)])).toEqual(new Set([last]));
  });
  expect(await other).toEqual(new Set());
});

it('agrees with a simple reference about every count and about the revenue, to the penny, for any file', async () => {
  const skus = [...addSkus(history, 4), 'UNKNOWN-1'];
  const itemOf = fc.record({
    sku: fc.constantFrom(...skus),
    quantity: fc.integer({ min: 1, max: 99_999 }),
    unitPrice: fc.record({
      amountMinor: fc.integer({ min: 0, max: 10_000_000 }),
      currency: fc.constant('GBP'),
    }),
  });
  const lineOf = fc.record({
    externalId: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    placedAt: fc.constantFrom('1999-12-31T23:59:59.999Z', '2000-01-01T00:00:00Z', '2025-12-31T23:59:59Z'),
    items: fc.array(itemOf, { minLength: 1, maxLength: 3 }),
  });
  const fileOf = fc.array(lineOf, { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(fileOf, fc.integer({ min: 300, max: 2_000 }), async (lines, pieceBytes) => {
      const run = uuidv7();
      const file = lines.map((each) => ({ ...each, externalId: `${run}-${each.externalId}` }));
      const kept = new Map<string, HistoryLine>();
      const expected = { created: 0n, unchanged: 0n, rejected: 0n };
      for (const each of file) {
        const before = kept.get(each.externalId);
        if (before)
          expected[JSON.stringify(before) === JSON.stringify(each) ? 'unchanged' : 'rejected'] += 1n;
        else if (each.items.some((item) => !history.skus.has(item.sku))) expected.rejected += 1n;
        else {
          kept.set(each.externalId, each);
          expected.created += 1n;
        }
      }
      expect(await importAll(file, { pieceBytes })).toMatchObject(expected);
      const orders = await imported(file.map((each) => each.externalId));
      expect(new Set(orders.keys())).toEqual(new Set(kept.keys()));
      const revenue = [...kept.values()]
        .flatMap((each) => each.items)
        .reduce((sum, item) => sum + BigInt(item.quantity) * BigInt(item.unitPrice.amountMinor), 0n);
      expect([...orders.values()].reduce((sum, order) => sum + order.totalMinor, 0n)).toBe(revenue);
    }),
    { numRuns: 40 },
  );
});

it('asks other services only while no transaction is open, each name once and at most 1,000 at a time', async () => {
  const [sku] = addSkus(history, 1) as [string];
  const many = addSkus(history, 2_500);
  const what = await history.upload([
    line(sku),
    line(sku, {
      items: many.slice(0, 1_000).map((each) => ({ ...line(each).items[0]! })),
    }),
    line(sku, { items: many.slice(1_000, 2_000).map((each) => ({ ...line(each).items[0]! })) }),
  ]);
  let calls = 0;
  history.onCall = async () => {
    calls += 1;
    const open = await shop.test.db.rows(sql('test.open')`
      select 1 from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`);
    expect(open).toEqual([]);
  };
  await history.run(what, { pieceBytes: 10_000_000 });
  history.onCall = () => undefined;
  expect(await history.job(what)).toMatchObject({ created: 3n });
  expect(calls).toBe(3);
});

it('ends as failed behind the most orders that a file may hold, and keeps those before', async () => {
  const [sku] = addSkus(history, 1) as [string];
  const lines = Array.from({ length: 5 }, () => line(sku));
  const job = await importAll(lines, { mostOrders: 3, pieceBytes: 400 });
  expect(job).toMatchObject({ status: 'failed', processed: 3n, created: 3n });
  expect(job.errors).toMatchObject([{ line: 4n, code: 'LINES_TOO_MANY' }]);
  expect(await importAll(lines.slice(0, 3), { mostOrders: 3 })).toMatchObject({
    status: 'succeeded',
    unchanged: 3n,
  });
  expect(await importAll([])).toMatchObject({ status: 'succeeded', processed: 0n, total: 0n });
});

it('cancels no imported order, since nothing was charged or taken here', async () => {
  const [sku] = addSkus(history, 1) as [string];
  const owner = uuidv7();
  history.accounts.set(`${owner}@example.com`, owner);
  const historic = line(sku, { email: `${owner}@example.com` });
  await importAll([historic]);
  const { id: orderId } = (await imported([historic.externalId])).get(historic.externalId)!;
  const service = shop.start({ jobs: false });
  const request = { userId: owner, key: uuidv7(), fingerprint: Buffer.alloc(32), requestId: 'r', orderId };
  for (const by of ['customer', 'admin'] as const)
    await expect(service.checkout.cancel({ ...request, by })).rejects.toMatchObject({
      code: 'ORDER_NOT_CANCELLABLE',
      detail: expect.stringContaining('imported'),
    });
  await service.stop();
});

describe('over the wire and by the real queue', () => {
  const as = <T>(accessToken: string, work: () => Promise<T>): Promise<T> =>
    withCallContext({ deadlineAt: Date.now() + 20_000, requestId: 'request-1', accessToken }, work);

  it('imports what is uploaded in parts, shows the job, and lets an admin requeue or discard what was given up', async () => {
    const { db } = shop.test;
    const jobs = await openJobs({
      db,
      logger: silentLogger,
      queues: { [ORDER_IMPORT]: ORDER_IMPORT_QUEUE },
    });
    const uploads = createUploads({
      db,
      blobs: history.blobs,
      kinds: {
        [ORDER_IMPORT]: importedFiles({
          name: ORDER_IMPORT,
          contentTypes: ORDER_IMPORT_TYPES,
          jobs,
          clock: systemClock,
        }),
      },
    });
    const server = await serveGrpc({
      host: '127.0.0.1',
      port: 0,
      services: [operationsService({ db, jobs }), uploadService({ db, uploads })],
      verifyToken: trustTokens,
      logger: silentLogger,
    });
    const address = `127.0.0.1:${server.port}`;
    const operations = createRpcClient(operationsV1.OperationsServiceService, { address });
    const files = createRpcClient(operationsV1.UploadServiceService, { address });
    const upload = async (content: string) => {
      const contentType = 'application/x-ndjson; charset=utf-8';
      const { uploadId } = await files.beginUpload({ kind: ORDER_IMPORT, contentType, subjectId: '' });
      await files.appendUpload({ uploadId, index: 0, content: Buffer.from(content) });
      const { job } = await files.completeUpload({ uploadId, parts: 1 });
      expect((await files.completeUpload({ uploadId, parts: 1 })).job?.id).toBe(job!.id);
      return { uploadId, jobId: job!.id };
    };
    const [sku] = addSkus(history, 1) as [string];
    let broken = false;
    const kind = historyImport({
      db,
      catalog: {
        resolveSkus: async ({ skus }) => {
          if (broken) throw new Fault('invalid', 'VALIDATION_FAILED', { detail: 'a defect' });
          return { products: skus.map((each) => ({ sku: each, ...history.skus.get(each)! })) };
        },
      },
      users: { resolveEmails: async () => ({ users: [] }) },
      clock: systemClock,
    });
    await jobs.work(
      ORDER_IMPORT,
      importStep(
        { ...kind, batch: { ...kind.batch, bytes: 1_000 } },
        { db, blobs: history.blobs, uploads, pace: { wait: async () => true }, clock: systemClock },
      ),
    );
    try {
      await as('admin', async () => {
        const lines = Array.from({ length: 12 }, () => JSON.stringify(line(sku)));
        const { jobId, uploadId } = await upload(lines.join('\n'));
        await eventually(async () =>
          expect(await operations.getJob({ jobId })).toMatchObject({
            ...{ type: 'order-import', status: 'succeeded', processed: 12n, created: 12n, total: 12n },
          }),
        );
        await eventually(async () =>
          expect(await history.blobs.stat(`uploads/order-import/${uploadId}`)).toBeUndefined(),
        );
        const { jobs: listed } = await operations.listJobs({ limit: 1, afterId: '' });
        expect(listed.map(({ id }) => id)).toEqual([jobId]);

        broken = true;
        const given = await upload(JSON.stringify(line(sku)));
        await eventually(async () =>
          expect(await operations.getJob({ jobId: given.jobId })).toMatchObject({ status: 'failed' }),
        );
        const page = await operations.listDeadLetters({ limit: 10, afterId: '', includeTotal: true });
        expect(page).toMatchObject({
          total: 1n,
          deadLetters: [{ source: 'jobs/order-import', attempts: 1 }],
        });
        broken = false;
        await operations.requeueDeadLetter({ deadLetterId: page.deadLetters[0]!.id });
        await eventually(async () =>
          expect(await operations.getJob({ jobId: given.jobId })).toMatchObject({
            status: 'succeeded',
            created: 1n,
          }),
        );
        for (const deadLetterId of [page.deadLetters[0]!.id, 'x'])
          await expect(operations.discardDeadLetter({ deadLetterId })).rejects.toMatchObject({
            code: 'NOT_FOUND',
          });
        await expect(operations.getJob({ jobId: uuidv7() })).rejects.toMatchObject({ code: 'NOT_FOUND' });
        await expect(
          files.beginUpload({ kind: ORDER_IMPORT, contentType: 'text/csv', subjectId: '' }),
        ).rejects.toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED' });
      });
      const forbidden = { code: 'FORBIDDEN' };
      await as('someone', async () => {
        const deadLetterId = uuidv7();
        const uploadId = uuidv7();
        for (const call of [
          () => operations.listJobs({ limit: 1, afterId: '' }),
          () => operations.getJob({ jobId: uuidv7() }),
          () => operations.listDeadLetters({ limit: 1, afterId: '' }),
          () => operations.requeueDeadLetter({ deadLetterId }),
          () => operations.discardDeadLetter({ deadLetterId }),
          () => files.beginUpload({ kind: ORDER_IMPORT, contentType: 'text/csv', subjectId: '' }),
          () => files.appendUpload({ uploadId, index: 0, content: Buffer.from('x') }),
          () => files.completeUpload({ uploadId, parts: 1 }),
          () => files.abandonUpload({ uploadId }),
        ])
          await expect(call()).rejects.toMatchObject(forbidden);
      });
    } finally {
      operations.close();
      files.close();
      await jobs.close();
      await server.close();
    }
  });
});
