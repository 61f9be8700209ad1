import { sql } from '@headroom/postgres';
import { eventually } from '@headroom/testing';
import { dyingAfter, openImportShop, type ImportShop } from '../test/import-shop';
import { cleanUpStep, workOnImports } from './import';

jest.setTimeout(60_000);

const NDJSON = 'application/x-ndjson';
const CSV = 'text/csv';

let shop: ImportShop;
beforeAll(async () => {
  shop = await openImportShop();
});
afterAll(() => shop.close());

const ndjson = (...lines: unknown[]) =>
  lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
const counts = ({
  status,
  processed,
  created,
  updated,
  unchanged,
  rejected,
}: Awaited<ReturnType<ImportShop['job']>>) =>
  [status, ...[processed, created, updated, unchanged, rejected].map(Number)].join(' ');
const errors = (job: Awaited<ReturnType<ImportShop['job']>>) =>
  job.errors.map(({ line, code }) => `${line} ${code}`);
const product = (sku: string) => ({ sku, name: `Name of ${sku}`, priceMinor: 100 });

describe('an import', () => {
  it('makes products with units, ledger and events as an admin does, with defaults for what a line leaves out', async () => {
    const job = await shop.importFile(
      NDJSON,
      ndjson(
        {
          sku: 'N-1',
          name: 'Blue Mug',
          description: 'Holds tea.',
          category: 'kitchen/mugs',
          priceMinor: 1_999,
          currency: 'USD',
          onHand: 7,
          imageUrl: '/images/m.webp',
        },
        { sku: 'N-2', name: 'Blue Mug', priceMinor: 0, imageUrl: null },
      ),
    );
    expect(counts(job)).toBe('succeeded 2 2 0 0 0');
    expect(job).toMatchObject({ type: 'product-import', total: 2n, errors: [] });
    expect(job.finishedAt).toBeDefined();
    const { 'N-1': full, 'N-2': bare } = await shop.catalogue();
    expect(full).toMatchObject({
      description: 'Holds tea.',
      category: 'kitchen/mugs',
      priceMinor: 1_999,
      currency: 'USD',
      onHand: 7,
      imageUrl: '/images/m.webp',
      versions: [1],
      stockEvents: 1,
    });
    expect(bare).toMatchObject({
      description: '',
      category: '',
      priceMinor: 0,
      currency: 'EUR',
      onHand: 0,
      imageUrl: '',
      versions: [1],
      stockEvents: 1,
    });
    const read = await shop.as('nobody').getProduct({ idOrSlug: 'blue-mug', includeArchived: false });
    expect(read).toMatchObject({ id: full!.id, available: 7n });
    expect((await shop.events(bare!.id))[0]!.data).toMatchObject({
      slug: expect.stringMatching(/^blue-mug-[0-9a-f]{12}$/),
      imageUrl: null,
    });
  });

  it('changes what differs, leaves what a line does not name, and does nothing for the same file again', async () => {
    const first = [
      { ...product('C-1'), description: 'old', currency: 'USD', onHand: 5 },
      product('C-2'),
      product('C-3'),
    ];
    await shop.importFile(NDJSON, ndjson(...first));
    const second = ndjson(
      { ...product('C-1'), priceMinor: 200, onHand: 50 },
      { ...product('C-2'), category: 'bath' },
      product('C-3'),
    );
    expect(counts(await shop.importFile(NDJSON, second))).toBe('succeeded 3 0 2 1 0');
    expect(counts(await shop.importFile(NDJSON, second))).toBe('succeeded 3 0 0 3 0');
    const found = await shop.catalogue();
    expect(found['C-1']).toMatchObject({
      description: 'old',
      currency: 'USD',
      priceMinor: 200,
      onHand: 5,
      versions: [1, 2],
    });
    expect(found['C-2']).toMatchObject({ category: 'bath', versions: [1, 2] });
    expect(found['C-3']).toMatchObject({ versions: [1], stockEvents: 1 });
    expect(
      (await shop.events(found['C-1']!.id)).map(({ type }) => type.replace('headroom.catalog.', '')),
    ).toEqual(['product-created', 'stock-changed', 'price-changed']);
  });

  it('takes a character that is only half there for the one that is stored in its place', async () => {
    const file = '{"sku":"half \\ud800","name":"Half \\udc00 a mug","priceMinor":1}';
    expect(counts(await shop.importFile(NDJSON, file))).toBe('succeeded 1 1 0 0 0');
    expect(counts(await shop.importFile(NDJSON, file))).toBe('succeeded 1 0 0 1 0');
  });

  it('reports every bad line by its number and a reason that names the member, and takes the others', async () => {
    const archived = await shop.addProduct({ sku: 'B-OLD' });
    await shop.as('admin').archiveProduct({ productId: archived.id });
    const job = await shop.importFile(
      NDJSON,
      ndjson(
        product('B-1'),
        '',
        '{"sku":',
        '[1]',
        { ...product('B-2'), colour: 'red' },
        { sku: 'B-3', priceMinor: 1.5 },
        {
          ...product(' B-4'),
          name: ' ',
          onHand: -1,
          currency: 'eur',
          category: 'A B',
          imageUrl: 'ftp://x',
          description: 'a\0b',
        },
        { ...product('B-5'), sku: 5, description: null },
        product('B-OLD'),
        { ...product('B-1'), priceMinor: 5 },
        { ...product('B-6'), name: 'x'.repeat(201) },
        product('B-7'),
      ),
    );
    expect(counts(job)).toBe('succeeded 11 2 0 0 9');
    expect(job.errors.map(({ line, code, reason }) => [Number(line), code, reason])).toEqual([
      [3, 'LINE_MALFORMED', 'is not valid JSON'],
      [4, 'LINE_MALFORMED', 'must be a JSON object'],
      [5, 'VALIDATION_FAILED', '"colour" is not a known member'],
      [6, 'VALIDATION_FAILED', 'name is required; priceMinor must be a whole number'],
      [
        7,
        'VALIDATION_FAILED',
        expect.stringMatching(
          /^sku must .*name must .*description must .*category must .*imageUrl must .*currency must .*onHand must /,
        ),
      ],
      [8, 'VALIDATION_FAILED', 'sku must be a text; description must be a text'],
      [9, 'SKU_ARCHIVED', expect.stringContaining('B-OLD')],
      [10, 'SKU_DUPLICATE', expect.stringContaining('B-1')],
      [11, 'VALIDATION_FAILED', expect.stringMatching(/^name must /)],
    ]);
    const found = await shop.catalogue();
    expect(
      Object.keys(found)
        .filter((sku) => sku.includes('B-'))
        .sort(),
    ).toEqual(['B-1', 'B-7', 'B-OLD']);
    expect(found['B-1']!.priceMinor).toBe(100);
  });

  it('refuses the second line with a SKU also when the first stood in an earlier step', async () => {
    const lines = Array.from({ length: 8 }, (_, n) => ({ ...product(`D-${n % 5}`), priceMinor: n }));
    const job = await shop.importFile(NDJSON, ndjson(...lines), { batchLines: 2 });
    expect(counts(job)).toBe('succeeded 8 5 0 0 3');
    expect(errors(job)).toEqual(['6 SKU_DUPLICATE', '7 SKU_DUPLICATE', '8 SKU_DUPLICATE']);
    expect((await shop.catalogue())['D-0']).toMatchObject({ priceMinor: 0, versions: [1] });
  });

  it('reads CSV with columns in any order, and tells an empty text from nothing', async () => {
    const job = await shop.importFile(
      CSV,
      '\uFEFFpriceMinor,name,onHand,sku,description\r\n250,"Mug, ""big""",3,V-1,"two\r\nlines"\r\n\r\nfree,Cup,,V-2,\r\n1,Cup,,V-3\r\n9,Cup,,V-4,x\r\n',
    );
    expect(counts(job)).toBe('succeeded 4 2 0 0 2');
    expect(job.errors.map(({ line, reason }) => `${line} ${reason}`)).toEqual([
      '5 priceMinor must be a whole number',
      '6 has 4 cells under 5 columns',
    ]);
    expect((await shop.catalogue())['V-1']).toMatchObject({
      name: 'Mug, "big"',
      onHand: 3,
      description: 'two\r\nlines',
    });
    const again = await shop.importFile(
      CSV,
      'sku,name,priceMinor,description\nV-1,"Mug, ""big""",250,""\nV-4,Cup,9,\n',
    );
    expect(counts(again)).toBe('succeeded 2 0 1 1 0');
    expect((await shop.catalogue())['V-1']).toMatchObject({ description: '' });
    expect((await shop.catalogue())['V-4']).toMatchObject({ description: 'x' });
  });

  it.each([
    ['an unknown column', 'sku,name,priceMinor,colour\nH-1,x,1,red', 'column "colour" is not known'],
    ['no required column', 'sku,description\nH-1,x', 'column name is missing; column priceMinor is missing'],
    ['a column twice', 'sku,name,priceMinor,sku\nH-1,x,1,H-2', 'column "sku" stands twice'],
    ['a blank first line', '\nsku,name,priceMinor\nH-1,x,1', 'the first line must name the columns'],
    ['no line', '', 'the file has no header'],
    [
      'quotes that do not match',
      '"sku,name,priceMinor\nH-1,x,1',
      expect.stringContaining('quotes do not match'),
    ],
    ['bytes that are no text', Buffer.from([0xff, 0x0a]), 'must be UTF-8'],
  ])('of CSV with %s in the header fails and makes nothing', async (_, content, reason) => {
    const job = await shop.importFile(CSV, content);
    expect(counts(job)).toBe('failed 0 0 0 0 0');
    expect(job.errors).toEqual([{ line: 1n, code: 'HEADER_INVALID', reason }]);
    expect(Object.keys(await shop.catalogue())).not.toContain('H-1');
  });

  it('of an empty file, or of blank lines, succeeds with nothing', async () => {
    expect(counts(await shop.importFile(NDJSON, ''))).toBe('succeeded 0 0 0 0 0');
    expect(counts(await shop.importFile(NDJSON, '\n\r\n  \n'))).toBe('succeeded 0 0 0 0 0');
  });

  it('ends as failed at the line after the millionth, and keeps what stood before', async () => {
    const jobId = await shop.upload(NDJSON, ndjson(product('M-1'), '', product('M-2'), product('M-3')));
    await shop.test.db.execute(
      sql('test.almost')`
        update jobs.job_common set data = jsonb_set(data, '{payload,processed}', '999999')
        where data->>'trackedJobId' = ${jobId}`,
    );
    while (await shop.step(jobId));
    const job = await shop.job(jobId);
    expect(counts(job)).toBe('failed 1 1 0 0 0');
    expect(errors(job)).toEqual(['3 LINES_TOO_MANY']);
    expect(Object.keys(await shop.catalogue()).filter((sku) => sku.startsWith('M-'))).toEqual(['M-1']);
  });

  it.each([
    ['a product with such a name', 'RACED-OTHER', [2, 0]],
    ['the same product', 'RACED-1', [1, 1]],
  ])('goes on where an admin makes %s at the same moment', async (_, sku, [created, unchanged]) => {
    let raced = false;
    const racing: typeof shop.db = {
      ...shop.db,
      transaction: (work, options) =>
        shop.db.transaction(
          (tx) =>
            work({
              ...tx,
              async rows(statement) {
                const rows = await tx.rows(statement);
                if (statement.name === 'product.slugs' && !raced) {
                  raced = true;
                  await shop.addProduct({
                    sku,
                    name: 'Raced',
                    price: { amountMinor: 1n, currency: '' },
                    category: '',
                  });
                }
                return rows as never;
              },
            }),
          options,
        ),
    };
    const lines = ['RACED-1', `RACED-${sku}`].map((each) => ({ sku: each, name: 'Raced', priceMinor: 1 }));
    const job = await shop.importFile(NDJSON, ndjson(...lines), { db: racing });
    expect(counts(job)).toBe(`succeeded 2 ${created} 0 ${unchanged} 0`);
    for (const each of lines)
      expect((await shop.catalogue())[each.sku]).toMatchObject({ versions: [1], stockEvents: 1 });
    await shop.test.db.execute(
      sql('test.forget-raced')`truncate products, stock, stock_buckets, stock_ledger cascade`,
    );
  });

  it('waits while the views are behind, and reads nothing meanwhile', async () => {
    const jobId = await shop.upload(NDJSON, ndjson(product('W-1'), product('W-2'), product('W-3')));
    const behind = { wait: () => Promise.resolve(false) };
    expect(await shop.step(jobId, { pace: behind })).toBe(true);
    expect(counts(await shop.job(jobId))).toBe('running 0 0 0 0 0');
    expect(await shop.step(jobId, { batchLines: 2 })).toBe(true);
    expect(await shop.step(jobId, { pace: behind })).toBe(true);
    expect(counts(await shop.job(jobId))).toBe('running 2 2 0 0 0');
    expect(await shop.step(jobId)).toBe(false);
    expect(counts(await shop.job(jobId))).toBe('succeeded 3 3 0 0 0');
  });
});

describe('a process that dies', () => {
  const content = ndjson(
    ...['K-1', 'K-2', 'K-3'].map((sku) => ({ ...product(sku), onHand: 3 })),
    'nonsense',
    { ...product('K-OLD'), priceMinor: 5 },
    product('K-1'),
    product('K-4'),
  );
  const outcome = async (jobId: string) => {
    const { errors: found, ...job } = await shop.job(jobId);
    const products = Object.entries(await shop.catalogue()).filter(([sku]) => sku.startsWith('K-'));
    return {
      job: counts({ ...job, errors: found }),
      errors: found.map(({ line, code }) => `${line} ${code}`),
      products: products.map(([sku, { id: _, ...each }]) => [sku, each]).sort(),
    };
  };
  const forget = async () => {
    await shop.test.db.execute(sql('test.forget')`
      truncate outbox, products, stock, stock_buckets, stock_ledger, import_skus cascade`);
    await shop.addProduct({ sku: 'K-OLD', name: 'Name of K-OLD', category: '' });
  };

  it('at any statement of an import loses no line and repeats none, whoever goes on', async () => {
    await forget();
    const whole = await shop.upload(NDJSON, content);
    while (await shop.step(whole, { batchLines: 2 }));
    const expected = await outcome(whole);
    expect(expected).toMatchObject({
      job: 'succeeded 7 4 1 0 2',
      errors: ['4 LINE_MALFORMED', '6 SKU_DUPLICATE'],
    });

    let deaths = 0;
    for (let statements = 1, finished = false; !finished; statements += 1) {
      await forget();
      const jobId = await shop.upload(NDJSON, content);
      const dying = dyingAfter(shop.db, statements);
      try {
        while (await shop.step(jobId, { db: dying, batchLines: 2 }));
        finished = true;
      } catch (error) {
        expect(error).toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
        deaths += 1;
        while (await shop.step(jobId, { batchLines: 3 }));
      }
      expect(await outcome(jobId)).toEqual(expected);
    }
    expect(deaths).toBeGreaterThan(20);
  });

  it('but was only slow does not apply what another has read meanwhile', async () => {
    await forget();
    const jobId = await shop.upload(NDJSON, content);
    const all = async () => {
      for (;;)
        try {
          if (!(await shop.step(jobId, { batchLines: 1 }))) return;
        } catch (error) {
          expect(error).toMatchObject({ message: 'the step was taken over' });
        }
    };
    await Promise.all([all(), all(), all()]);
    expect(await outcome(jobId)).toMatchObject({
      job: 'succeeded 7 4 1 0 2',
      errors: ['4 LINE_MALFORMED', '6 SKU_DUPLICATE'],
    });
  });
});

describe('a file', () => {
  it('that was cut off leaves no job, and after a day nothing at all', async () => {
    const before = await shop.leftovers();
    const uploadId = await shop.uploads.begin({ kind: 'product-import', contentType: NDJSON, subjectId: '' });
    await shop.uploads.append({ uploadId, index: 0, content: Buffer.from(ndjson(product('X-1'))) });
    expect(await shop.leftovers()).toEqual(before);
    while ((await shop.uploads.cleanUp(new Date(shop.clock.now() + 1))) > 0);
    await expect(shop.uploads.complete({ uploadId, parts: 1 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(Object.keys(await shop.catalogue())).not.toContain('X-1');
  });

  it('of another media type is refused', async () => {
    await expect(
      shop.uploads.begin({ kind: 'product-import', contentType: 'application/json', subjectId: '' }),
    ).rejects.toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED' });
  });

  it('is imported by the workers and then forgotten with all that was kept for it', async () => {
    const { 'T-0': _, ...lines } = Object.fromEntries(
      Array.from({ length: 1_300 }, (__, n) => [`T-${n}`, product(`T-${n}`)]),
    );
    const working = await workOnImports(shop.deps, shop.jobs);
    const jobId = await shop.upload(
      CSV,
      [
        'sku,name,priceMinor',
        ...Object.values(lines).map(({ sku, name, priceMinor }) => `${sku},${name},${priceMinor}`),
      ].join('\n'),
    );
    await eventually(
      async () => expect(counts(await shop.job(jobId))).toBe('succeeded 1299 1299 0 0 0'),
      20_000,
    );
    await eventually(async () => {
      const { skus } = (await shop.test.db.row<{ skus: number }>(sql('test.skus')`
        select count(*)::int as skus from import_skus where job_id = ${jobId}`))!;
      expect(skus).toBe(0);
    });
    await working.close();
    expect((await shop.leftovers()).files).toBe(0);
  });

  it('whose job was given up and is no longer on record leaves nothing after the night', async () => {
    const jobId = await shop.upload(NDJSON, ndjson(product('O-1'), product('O-2')));
    expect(await shop.step(jobId, { batchLines: 1 })).toBe(true);
    expect(await shop.leftovers()).toMatchObject({ skus: 1 });
    const nightly = { payload: {}, complete: () => Promise.resolve(), continueWith: () => Promise.resolve() };
    await cleanUpStep(shop.deps, nightly);
    expect(await shop.leftovers()).toMatchObject({ skus: 1 });
    await shop.test.db.execute(sql('test.forget-job')`delete from tracked_jobs where id = ${jobId}`);
    await cleanUpStep(shop.deps, nightly);
    expect(await shop.leftovers()).toMatchObject({ skus: 0 });
  });
});
