import fc from 'fast-check';
import { dyingAfter, openImportShop, type CataloguedProduct, type ImportShop } from '../test/import-shop';

jest.setTimeout(300_000);

let shop: ImportShop;
beforeAll(async () => {
  shop = await openImportShop();
});
afterAll(() => shop.close());

/** What a line of a file says; a text: a line that is no product. */
type Line = string | Record<string, string | number>;

/** What is known of a product. */
type Known = Omit<CataloguedProduct, 'id'>;

const text = fc.string({ unit: fc.constantFrom('a', 'ü', ',', '"', '\n', '😀', ' '), maxLength: 6 });
const line: fc.Arbitrary<Line> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record(
      {
        sku: fc.constantFrom('A', 'B', 'C', 'D', 'OLD'),
        name: fc.constantFrom('Mug', 'Cup', '"Mug", big', 'Ü'),
        priceMinor: fc.constantFrom(0, 1, 250),
        description: text,
        category: fc.constantFrom('', 'kitchen', 'kitchen/mugs'),
        currency: fc.constantFrom('EUR', 'USD'),
        onHand: fc.constantFrom(0, 3),
        imageUrl: fc.constantFrom('', '/images/a.webp'),
      },
      { requiredKeys: ['sku', 'name', 'priceMinor'] },
    ),
  },
  fc.constantFrom<Line>('', 'broken', { sku: 'A', name: 'Mug' }, { sku: 'A', name: 'Mug', priceMinor: -1 }),
);

interface File {
  format: 'ndjson' | 'csv';
  lines: Line[];
  columns: string[];
  newline: string;
  batchLines: number;
  diesAfter: number;
}
const COLUMNS = ['sku', 'name', 'priceMinor', 'description', 'category', 'currency', 'onHand', 'imageUrl'];
const file: fc.Arbitrary<File> = fc.record({
  format: fc.constantFrom('ndjson', 'csv'),
  lines: fc.array(line, { maxLength: 10 }),
  columns: fc.shuffledSubarray(COLUMNS, { minLength: COLUMNS.length }),
  newline: fc.constantFrom('\n', '\r\n'),
  batchLines: fc.integer({ min: 1, max: 6 }),
  diesAfter: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 1, max: 40 })),
});

/** The file's content, and the physical line that each of its lines begins on. */
function render(
  { format, lines, columns, newline }: File,
  prefix: string,
): { content: string; numbers: number[] } {
  const quoted = (value: string | number | undefined) =>
    value === undefined ? '' : `"${String(value).replaceAll('"', '""')}"`;
  const rendered = lines.map((each) => {
    if (typeof each === 'string') return each;
    const product = { ...each, sku: `${prefix}${each['sku']}` } as Record<string, string | number>;
    return format === 'ndjson'
      ? JSON.stringify(product)
      : columns.map((column) => quoted(product[column])).join(',');
  });
  const all = format === 'csv' ? [columns.join(','), ...rendered] : rendered;
  let next = 1;
  const begins = all.map((each) => {
    const number = next;
    next += each.split('\n').length;
    return number;
  });
  return { content: all.join(newline), numbers: format === 'csv' ? begins.slice(1) : begins };
}

/** Applies a file to what is known, as the contract says it; the counts and errors that the job has to show. */
function apply(known: Map<string, Known>, { lines, format }: File, numbers: number[]) {
  const seen = new Set<string>();
  const job = { processed: 0, created: 0, updated: 0, unchanged: 0, rejected: 0, errors: [] as string[] };
  lines.forEach((each, index) => {
    const reject = (code: string) => {
      job.rejected += 1;
      job.errors.push(`${numbers[index]} ${code}`);
    };
    if (each === '') return;
    job.processed += 1;
    if (typeof each === 'string') return reject('LINE_MALFORMED');
    if (typeof each['priceMinor'] !== 'number' || each['priceMinor'] < 0) return reject('VALIDATION_FAILED');
    const sku = each['sku'] as string;
    if (seen.has(sku)) return reject('SKU_DUPLICATE');
    seen.add(sku);
    const { sku: _, onHand, ...members } = each;
    const before = known.get(sku);
    if (before?.archived) return reject('SKU_ARCHIVED');
    if (!before) {
      job.created += 1;
      known.set(sku, {
        ...{ description: '', category: '', currency: 'EUR', imageUrl: '' },
        ...(members as Pick<Known, 'name' | 'priceMinor'>),
        ...{ onHand: Number(onHand ?? 0), archived: false, versions: [1], stockEvents: 1 },
      });
      return;
    }
    const after = { ...before, ...members };
    if (JSON.stringify(after) === JSON.stringify(before)) return void (job.unchanged += 1);
    job.updated += 1;
    known.set(sku, { ...after, versions: [...before.versions, before.versions.length + 1] });
  });
  return { ...job, format };
}

it('leaves the catalogue, its events and the counts as a simple model says, also where processes die meanwhile', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(file, { minLength: 1, maxLength: 3 }), async (files) => {
      run += 1;
      const prefix = `${run}-`;
      const old = await shop.addProduct({ sku: `${prefix}OLD` });
      await shop.as('admin').archiveProduct({ productId: old.id });
      const catalogue = async () =>
        new Map(
          Object.entries(await shop.catalogue()).flatMap(([sku, { id: _, ...product }]) =>
            sku.startsWith(prefix) ? [[sku.slice(prefix.length), product] as const] : [],
          ),
        );
      const known = await catalogue();
      for (const each of files) {
        const { content, numbers } = render(each, prefix);
        const expected = apply(known, each, numbers);
        const jobId = await shop.upload(each.format === 'csv' ? 'text/csv' : 'application/x-ndjson', content);
        const { batchLines } = each;
        try {
          const db = dyingAfter(shop.db, each.diesAfter);
          while (await shop.step(jobId, { db, batchLines }));
        } catch (error) {
          expect(error).toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
          while (await shop.step(jobId, { batchLines }));
        }
        const job = await shop.job(jobId);
        const { processed, created, updated, unchanged, rejected } = job;
        expect({
          ...Object.fromEntries(
            Object.entries({ processed, created, updated, unchanged, rejected }).map(([name, value]) => [
              name,
              Number(value),
            ]),
          ),
          errors: job.errors.map(({ line: number, code }) => `${number} ${code}`),
          format: each.format,
        }).toEqual(expected);
        expect(job.status).toBe('succeeded');
        expect(await catalogue()).toEqual(known);
      }
    }),
    { numRuns: 80 },
  );
});
