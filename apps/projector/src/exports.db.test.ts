import { queryAdminV1 } from '@headroom/contracts';
import { PermanentJobError } from '@headroom/jobs';
import { sql } from '@headroom/postgres';
import { Fault, systemClock, uuidv7 } from '@headroom/resilience';
import type { BlobStore } from '@headroom/storage';
import { eventually } from '@headroom/testing';
import { orderEvent, received } from '../test/events';
import { startProjectorSystem, type ProjectorSystem } from '../test/system';
import { createExports, workOnExports } from './exports';
import { sales } from './views/sales';

jest.setTimeout(60_000);

const DAY = 24 * 3_600_000;
const { SALES_GROUPING_DAY: BY_DAY, SALES_GROUPING_PRODUCT: BY_PRODUCT } = queryAdminV1.SalesGrouping;
const span = { from: '2026-01-01', to: '2026-02-01' };

let system: ProjectorSystem;
const workers: Array<{ close(): Promise<void> }> = [];
beforeEach(async () => {
  system = await startProjectorSystem();
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((each) => each.close()));
  await system.close();
});

const work = async (blobs: BlobStore = system.blobs) => {
  const { jobs, liveViews } = system;
  workers.push(await workOnExports({ db: system.views.db, jobs, blobs, liveViews }));
};
const asAdmin = <T>(call: () => Promise<T>) => system.as('admin', call);
const jobOf = (jobId: string) => asAdmin(() => system.operations.getJob({ jobId }));
const succeeded = (jobId: string) =>
  eventually(async () => expect(await jobOf(jobId)).toMatchObject({ status: 'succeeded' }), 40_000);
const begin = async (by: queryAdminV1.SalesGrouping) =>
  (await asAdmin(() => system.admin.exportSales({ by, ...span }))).job!.id;
const fileOf = async (jobId: string) => {
  const pieces: Buffer[] = [];
  let sizeBytes = 1;
  for (let offset = 0; offset < sizeBytes; offset += pieces.at(-1)!.byteLength) {
    const chunk = await asAdmin(() => system.admin.getSalesExport({ jobId, offset: BigInt(offset) }));
    expect(chunk.contentType).toBe('text/csv; charset=utf-8');
    expect(chunk.content.byteLength).toBeGreaterThan(0);
    expect(chunk.content.byteLength).toBeLessThanOrEqual(1024 * 1024);
    pieces.push(Buffer.from(chunk.content));
    sizeBytes = Number(chunk.sizeBytes);
  }
  return Buffer.concat(pieces).toString();
};

/** Sales of as many rows by day and currency, whose numbers are long. */
const seedDays = (rows: number) =>
  system.views.db.execute(sql('test.days')`
    insert into sales_v1.days
    select date '2026-01-01' + n % 20,
      chr(65 + n / 20 % 26) || chr(65 + n / 520 % 26) || chr(65 + n / 13520 % 26), 0, 7, 100000000000000000 + n, 200000000000000000 + n
    from generate_series(0, ${rows - 1}) n`);

it('writes what the report shows, as CSV, and says where it is', async () => {
  const productId = uuidv7();
  const order = orderEvent(1, {
    id: uuidv7(),
    userId: uuidv7(),
    status: 'confirmed',
    placedAt: '2026-01-05T10:00:00.000Z',
    lines: [{ productId, quantity: 3, priceMinor: 500 }],
  });
  const schema = sql.identifier('sales_v1');
  await system.views.db.transaction((tx) => sales.apply(tx, schema, received([order]), Date.now()));
  await system.views.db.execute(sql('test.refresh')`refresh materialized view sales_v1.by_product`);
  await system.views.db.execute(sql('test.as-of')`update view_refreshes set as_of_ms = 1`);
  await work();
  const [byDay, byProduct] = [await begin(BY_DAY), await begin(BY_PRODUCT)];
  await Promise.all([succeeded(byDay), succeeded(byProduct)]);
  expect(await fileOf(byDay)).toBe('day,currency,orders,units,revenueMinor\r\n2026-01-05,EUR,1,3,1500\r\n');
  expect(await fileOf(byProduct)).toBe(
    `productId,currency,orders,units,revenueMinor\r\n${productId},EUR,1,3,1500\r\n`,
  );
  expect(await jobOf(byProduct)).toMatchObject({
    type: 'sales-export',
    processed: 1n,
    total: 1n,
    resultUrl: `/v1/admin/reports/sales/exports/${byProduct}`,
  });
  const listed = await asAdmin(() =>
    system.operations.listJobs({ limit: 1, afterId: '', includeTotal: true }),
  );
  expect([listed.jobs[0]!.id, listed.more, listed.total]).toEqual([byProduct, true, 2n]);
});

it('makes one whole file of many parts although every step fails after it has had its effect', async () => {
  const rows = 150_000;
  await seedDays(rows);
  const failed = new Set<string>();
  const once = (what: string) => {
    if (failed.has(what)) return;
    failed.add(what);
    throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { detail: `lost the answer of ${what}` });
  };
  await work({
    ...system.blobs,
    async putPart(handle, index, content) {
      const tag = await system.blobs.putPart(handle, index, content);
      once(`part ${index}`);
      return tag;
    },
    async finishUpload(handle, parts) {
      await system.blobs.finishUpload(handle, parts);
      once('finish');
    },
  });
  const jobId = await begin(BY_DAY);
  await succeeded(jobId);
  expect([...failed]).toEqual(['part 0', 'part 1', 'finish']);
  const lines = (await fileOf(jobId)).split('\r\n');
  expect(lines.at(0)).toBe('day,currency,orders,units,revenueMinor');
  expect(lines.at(-1)).toBe('');
  const cells = lines.slice(1, -1);
  expect(cells).toHaveLength(rows);
  expect(cells).toEqual([...cells].sort());
  expect(cells.reduce((sum, line) => sum + BigInt(line.split(',')[3]!) - 100_000_000_000_000_000n, 0n)).toBe(
    (BigInt(rows) * BigInt(rows - 1)) / 2n,
  );
  expect(await jobOf(jobId)).toMatchObject({ processed: BigInt(rows), total: BigInt(rows), errors: [] });
  expect(await system.views.db.rows(sql('test.left')`select from sales_export_rows limit 1`)).toEqual([]);
});

it('shows no file before it is whole, to nobody but admins, and none that it never made', async () => {
  await seedDays(3);
  const jobId = await begin(BY_DAY);
  const read = (id: string) => system.admin.getSalesExport({ jobId: id, offset: 0n });
  await expect(asAdmin(() => read(jobId))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await work();
  await succeeded(jobId);
  await expect(system.as(uuidv7(), () => read(jobId))).rejects.toMatchObject({ code: 'FORBIDDEN' });
  for (const id of [uuidv7(), 'x', ''])
    await expect(asAdmin(() => read(id))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const size = BigInt((await fileOf(jobId)).length);
  const end = await asAdmin(() => system.admin.getSalesExport({ jobId, offset: size }));
  expect([end.content.byteLength, end.sizeBytes]).toEqual([0, size]);
});

it('waits for the first refresh of a report rather than writing an empty file', async () => {
  await work();
  const jobId = await begin(BY_PRODUCT);
  await eventually(async () => {
    const tried = await system.views.db.row(
      sql('test.tried')`select from jobs.job_common where retry_count > 0 limit 1`,
    );
    expect(tried).toBeDefined();
  }, 20_000);
  expect((await jobOf(jobId)).status).not.toBe('succeeded');
  await system.views.db.execute(sql('test.as-of')`update view_refreshes set as_of_ms = 1`);
  await succeeded(jobId);
});

it('removes files after seven days, and the rows of exports that never ended', async () => {
  await seedDays(3);
  await work();
  const eightDaysAgo = { ...systemClock, now: () => Date.now() - 8 * DAY };
  const { views, jobs, blobs } = system;
  const past = createExports({ db: views.db, jobs, blobs, clock: eightDaysAgo });
  const [old, young] = [(await past.begin({ by: 'day', ...span })).id, await begin(BY_DAY)];
  await Promise.all([succeeded(old), succeeded(young)]);
  expect(await fileOf(old)).toBe(await fileOf(young));
  await views.db.execute(sql('test.rows')`
    insert into sales_export_rows select id, 1, '', 'EUR', 1, 1, 1
    from unnest(${[uuidv7(Date.now() - 8 * DAY), uuidv7()]}::uuid[]) as e (id)`);
  await views.db.transaction((tx) => jobs.enqueue(tx, 'sales-export-retention', {}));
  await eventually(
    async () => expect(await views.db.rows(sql('test.left')`select from sales_export_rows`)).toHaveLength(1),
    20_000,
  );
  await expect(fileOf(old)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await fileOf(young)).not.toBe('');
});

it('hides nothing of the work that was given up, and does it again when asked to', async () => {
  await seedDays(1);
  let broken = true;
  await work({
    ...system.blobs,
    async startUpload(name, options) {
      if (broken) throw new PermanentJobError('no disk');
      return system.blobs.startUpload(name, options);
    },
  });
  const jobId = await begin(BY_DAY);
  await eventually(async () => expect((await jobOf(jobId)).status).toBe('failed'), 20_000);
  const letters = await asAdmin(() =>
    system.operations.listDeadLetters({ limit: 20, afterId: '', includeTotal: true }),
  );
  expect([letters.total, letters.more]).toEqual([1n, false]);
  expect(letters.deadLetters[0]).toMatchObject({ source: 'jobs/sales-export', topic: '', error: 'no disk' });
  broken = false;
  const deadLetterId = letters.deadLetters[0]!.id;
  await expect(
    system.as(uuidv7(), () => system.operations.requeueDeadLetter({ deadLetterId })),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await asAdmin(() => system.operations.requeueDeadLetter({ deadLetterId }));
  await succeeded(jobId);
  for (const call of [system.operations.requeueDeadLetter, system.operations.discardDeadLetter])
    await expect(asAdmin(() => call({ deadLetterId }))).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
