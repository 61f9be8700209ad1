import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..', '..', '..');
const directory = mkdtempSync(join(tmpdir(), 'recommend-eval-'));
afterAll(() => rmSync(directory, { recursive: true }));

function run(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(__dirname, 'main.ts'), ...options],
    { cwd: root, encoding: 'utf8', env: { ...process.env, TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') } },
  );
  return { status, stdout, stderr };
}

/** Invoices in which everything is bought by chance, or in which pairs are bought together. */
function salesFile(name: string, productsOf: (invoice: number) => number[]): string {
  const rows = Array.from({ length: 300 }, (_, invoice) =>
    productsOf(invoice).map(
      (product) =>
        `${500_000 + invoice},P${product},THING,1,12/${1 + Math.floor(invoice / 12)}/2010 10:03,0.85,,France`,
    ),
  );
  const path = join(directory, name);
  const header = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
  writeFileSync(path, [header, ...rows.flat()].join('\n'));
  return path;
}

it('ends with 0 and says so where the scoring wins', () => {
  const pairs = salesFile('pairs.csv', (invoice) => [2 * (invoice % 20), 2 * (invoice % 20) + 1]);
  const { status, stdout } = run(pairs);
  expect(stdout).toContain('related: better than popularity at all points');
  expect(status).toBe(0);
  const json = JSON.parse(run(pairs, '--json').stdout);
  expect(json).toMatchObject({ invoices: 300, products: 40, won: true });
}, 30_000);

it('ends with 1 and says where it does not', () => {
  const everything = salesFile('everything.csv', () => [1, 2, 3, 4, 5]);
  const { status, stdout } = run(everything);
  expect(stdout).toContain(
    'not better than popularity: related at 40.0 %, related at 60.0 %, related at 80.0 %',
  );
  expect(status).toBe(1);
}, 30_000);

it.each([
  [[], 64, 'name one file'],
  [['a.csv', 'b.csv'], 64, 'name one file'],
  [['a.csv', '--generated'], 64, 'no file beside --generated'],
  [['a.csv', '--seed', 'x'], 64, '--seed must be a whole number, found x'],
  [['a.csv', '--fast'], 64, "Unknown option '--fast'"],
  [['/nowhere/a.csv'], 65, 'there is no file /nowhere/a.csv'],
])(
  'ends %j with %i and says what is wrong',
  (options, code, message) => {
    const { status, stderr } = run(...options);
    expect(stderr).toContain(message);
    expect(status).toBe(code);
  },
  30_000,
);
