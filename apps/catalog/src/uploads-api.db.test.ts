import { operationsV1 } from '@headroom/contracts';
import { PermanentJobError } from '@headroom/jobs';
import { uuidv7 } from '@headroom/resilience';
import { createRpcClient, serveGrpc, withCallContext } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { eventually, trustTokens } from '@headroom/testing';
import { openImportShop, type ImportShop } from '../test/import-shop';
import { PRODUCT_IMPORT, workOnImports } from './import';
import { operationsService } from './operations-api';
import { uploadService } from './uploads-api';

jest.setTimeout(60_000);

let shop: ImportShop;
let server: { port: number; close(): Promise<void> };
let uploads: ReturnType<typeof connect>['uploads'];
let operations: ReturnType<typeof connect>['operations'];

beforeAll(async () => {
  shop = await openImportShop();
  const { db, jobs } = shop;
  server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [uploadService({ db, uploads: shop.uploads }), operationsService({ db, jobs })],
    verifyToken: trustTokens,
    logger: silentLogger,
    graceMs: 100,
  });
  ({ uploads, operations } = connect(server.port));
});
afterAll(async () => {
  uploads.close();
  operations.close();
  await server.close();
  await shop.close();
});

function connect(port: number) {
  const settings = { address: `127.0.0.1:${port}`, timeoutMs: 10_000 };
  return {
    uploads: createRpcClient(operationsV1.UploadServiceService, settings),
    operations: createRpcClient(operationsV1.OperationsServiceService, settings),
  };
}
const as = <T>(accessToken: string | undefined, work: () => T) =>
  withCallContext({ deadlineAt: Date.now() + 10_000, requestId: 'test', accessToken }, work);
const admin = <T>(work: () => T) => as('admin', work);

const begin = () =>
  uploads.beginUpload({ kind: PRODUCT_IMPORT, contentType: 'text/csv; charset=utf-8', subjectId: '' });
const content = (...lines: string[]) => Buffer.from(['sku,name,priceMinor', ...lines].join('\n'));

it('takes a file in by parts, queues one job however often it is completed, and shows how it went', async () => {
  const { uploadId } = await admin(begin);
  await admin(() => uploads.appendUpload({ uploadId, index: 0, content: content('U-1,x,1') }));
  await admin(() =>
    uploads.appendUpload({ uploadId, index: 0, content: content('U-1,Cup,1', 'U-2,Mug,free') }),
  );
  const accepted = await admin(() => uploads.completeUpload({ uploadId, parts: 1 }));
  expect(accepted).toMatchObject({
    positions: [],
    job: { type: 'product-import', status: 'queued', processed: 0n, errors: [] },
  });
  const jobId = accepted.job!.id;
  expect((await admin(() => uploads.completeUpload({ uploadId, parts: 1 }))).job!.id).toBe(jobId);
  const working = await workOnImports(shop.deps, shop.jobs);
  const job = await eventually(async () => {
    const found = await admin(() => operations.getJob({ jobId }));
    expect(found.status).toBe('succeeded');
    return found;
  });
  await working.close();
  expect(job).toMatchObject({
    processed: 2n,
    total: 2n,
    created: 1n,
    rejected: 1n,
    errors: [{ line: 3n, code: 'VALIDATION_FAILED', reason: 'priceMinor must be a whole number' }],
  });
  const { jobs, total } = await admin(() =>
    operations.listJobs({ limit: 10, afterId: '', includeTotal: true }),
  );
  expect(jobs.map(({ id, errors }) => [id, errors])).toEqual([[jobId, []]]);
  expect(total).toBe(1n);
});

it('shows an import that was given up as failed and as a dead letter, and goes on with it when asked', async () => {
  const { uploadId } = await admin(begin);
  await admin(() => uploads.appendUpload({ uploadId, index: 0, content: content('G-1,Cup,1') }));
  const { job } = await admin(() => uploads.completeUpload({ uploadId, parts: 1 }));
  const blobs = {
    read() {
      throw new PermanentJobError('the file is away');
    },
  };
  const failing = await workOnImports({ ...shop.deps, blobs }, shop.jobs);
  const state = () => admin(() => operations.getJob({ jobId: job!.id }));
  await eventually(async () => expect((await state()).status).toBe('failed'));
  await failing.close();
  expect((await state()).errors).toMatchObject([{ line: 0n, reason: 'the file is away' }]);
  const { deadLetters } = await admin(() => operations.listDeadLetters({ limit: 10, afterId: '' }));
  expect(deadLetters).toMatchObject([
    {
      source: 'jobs/product-import',
      topic: '',
      error: 'the file is away',
      payload: expect.stringContaining('"processed":0'),
    },
  ]);
  await admin(() => operations.requeueDeadLetter({ deadLetterId: deadLetters[0]!.id }));
  const working = await workOnImports(shop.deps, shop.jobs);
  await eventually(async () => expect(await state()).toMatchObject({ status: 'succeeded', created: 1n }));
  await working.close();
  await expect(
    admin(() => operations.discardDeadLetter({ deadLetterId: deadLetters[0]!.id })),
  ).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

it('is for admins alone', async () => {
  const calls: Array<() => Promise<unknown>> = [
    begin,
    () => uploads.appendUpload({ uploadId: uuidv7(), index: 0, content: Buffer.from('x') }),
    () => uploads.completeUpload({ uploadId: uuidv7(), parts: 1 }),
    () => uploads.abandonUpload({ uploadId: uuidv7() }),
    () => operations.listJobs({ limit: 1, afterId: '' }),
    () => operations.getJob({ jobId: uuidv7() }),
    () => operations.listDeadLetters({ limit: 1, afterId: '' }),
    () => operations.requeueDeadLetter({ deadLetterId: uuidv7() }),
    () => operations.discardDeadLetter({ deadLetterId: uuidv7() }),
  ];
  for (const call of calls) {
    await expect(as(undefined, call)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(as('customer', call)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    if (call !== begin && call !== calls[4] && call !== calls[6])
      await expect(admin(call)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  }
});
