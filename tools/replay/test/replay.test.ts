import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startShopDouble, type Misbehaviour } from './shop-double';

/** The command as a process, against a shop in memory that misbehaves as it is told. */
const root = join(__dirname, '../../..');
const directory = mkdtempSync(join(tmpdir(), 'replay-'));
const file = join(directory, 'sales.csv');
writeFileSync(
  file,
  `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
100,A,MUG,2,12/1/2010 10:00,1.00,7,France
100,B,PLATE,1,12/1/2010 10:00,2.50,7,France
100,A,MUG,3,12/1/2010 10:00,1.00,7,France
101,A,MUG,1,12/1/2010 10:05,1.10,,United Kingdom
C102,A,MUG,-1,12/1/2010 10:06,1.10,7,France
103,B,PLATE,12000,12/2/2010 9:00,2.00,8,Atlantis
`,
);
const doubles: Array<Awaited<ReturnType<typeof startShopDouble>>> = [];
jest.setTimeout(30_000);
afterAll(() => {
  doubles.forEach((double) => double.close());
  rmSync(directory, { recursive: true });
});

async function shop(misbehaviour?: Misbehaviour) {
  const double = await startShopDouble(misbehaviour);
  doubles.push(double);
  return double;
}

function replay(...arguments_: string[]) {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(__dirname, '../src/main.ts'), '--data', directory, ...arguments_],
    {
      cwd: root,
      env: { PATH: process.env['PATH'], TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text));
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, ...said })),
  );
}
const against = (url: string, ...more: string[]) =>
  replay(
    ...[file, '--live', '--speed', '1000000', '--gateway', url, '--payment', url, ...more],
    ...['--admin-email', 'admin@shop.example', '--admin-password', 'admin-password'],
  );

it('places every invoice once, whatever has to be tried again, and finds no difference', async () => {
  const { url, orders } = await shop({ busy: true, lostAnswers: true, callsPerToken: 3 });
  const { code, stdout, stderr } = await against(url, '--json');
  expect([code, stderr]).toEqual([0, expect.stringContaining('0 differences; 1 rows')]);
  expect(JSON.parse(stdout)).toMatchObject({
    rows: 6,
    badRows: [{ reason: 'the invoice is a cancellation', rows: [{ line: 6, found: 'C102' }] }],
    splitInvoices: [{ invoice: '103', orders: 2 }],
    products: { created: 2, existing: 0 },
    customers: 3,
    checkouts: { planned: 4, placed: 4 },
    days: [
      {
        day: '2010-12-01',
        invoices: 2,
        ordersOfShop: 2,
        unitsOfShop: 7,
        chargedMinor: 860,
        fileRevenueMinor: 860,
      },
      { day: '2010-12-02', invoices: 1, ordersOfShop: 2, unitsOfShop: 12_000, chargedMinor: 2_400_000 },
    ],
    differences: [],
  });
  expect(orders).toHaveLength(4);
  expect(orders.map(({ user }) => user).sort()).toEqual([
    'counter@replay.example',
    'customer-7@replay.example',
    'customer-8@replay.example',
    'customer-8@replay.example',
  ]);
  expect(stderr).toContain('sent to GB');
});

it('runs again on the same shop with the products and customers that are there', async () => {
  const { url, orders, products } = await shop();
  expect((await against(url)).code).toBe(0);
  for (const product of products.values()) product.archived = product.sku === 'A';
  const again = await against(url);
  expect([again.code, again.stdout]).toEqual([
    0,
    expect.stringContaining('0 created, 2 existed and have stock enough, 1 of them restored'),
  ]);
  expect(orders).toHaveLength(8);
});

it('goes on with the orders that it has when a run is repeated under its name', async () => {
  const { url, orders } = await shop();
  expect((await against(url, '--run', 'again')).code).toBe(0);
  expect((await against(url, '--run', 'again')).code).toBe(0);
  expect(orders).toHaveLength(4);
});

it.each<[string, Misbehaviour, RegExp]>([
  ['refuses a checkout', { outOfStock: true }, /not placed: 409 OUT_OF_STOCK/],
  ['charges an order twice', { chargesTwice: true }, /was charged 2 times/],
  ['loses a unit', { losesUnit: true }, /the file has/],
  ['forgets a key', { forgetsKeys: true, lostAnswers: true }, /was placed by no checkout of this run/],
])('exits 1 and names the invoice where the shop %s', async (_what, misbehaviour, expected) => {
  const { code, stdout } = await against((await shop(misbehaviour)).url);
  expect([code, stdout]).toEqual([1, expect.stringMatching(expected)]);
});

const asHistory = (url: string, ...more: string[]) =>
  replay(
    ...[file, '--gateway', url, ...more],
    ...['--admin-email', 'admin@shop.example', '--admin-password', 'admin-password'],
  );

it('brings history in with its own dates and prices, and a second time changes nothing', async () => {
  const { url, history, products, accounts } = await shop();
  const { code, stdout } = await asHistory(url, '--json');
  expect([code, JSON.parse(stdout)]).toMatchObject([
    0,
    {
      rows: 6,
      badRows: [{ reason: 'the invoice is a cancellation' }],
      customers: { registered: 2, existing: 0 },
      products: { created: 2, existing: 0 },
      job: { created: 3, unchanged: 0, rejected: 0 },
      days: [
        {
          day: '2010-12-01',
          file: { invoices: 2, lines: 4, orders: 2, units: 7, revenueMinor: 860 },
          shop: { orders: 2, units: 7, revenueMinor: 860 },
          differs: false,
        },
        {
          day: '2010-12-02',
          file: { invoices: 1, lines: 1, orders: 1, units: 12_000, revenueMinor: 2_400_000 },
          shop: { orders: 1, units: 12_000, revenueMinor: 2_400_000 },
        },
      ],
      differences: 0,
    },
  ]);
  expect(history.get('100')).toEqual({
    externalId: '100',
    email: 'customer-7@replay.example',
    placedAt: '2010-12-01T10:00:00.000Z',
    items: [
      { sku: 'A', quantity: 2, unitPrice: { amountMinor: 100, currency: 'GBP' } },
      { sku: 'B', quantity: 1, unitPrice: { amountMinor: 250, currency: 'GBP' } },
      { sku: 'A', quantity: 3, unitPrice: { amountMinor: 100, currency: 'GBP' } },
    ],
  });
  expect(history.get('101')).not.toHaveProperty('email');
  const before = [structuredClone([...history]), structuredClone([...products]), [...accounts]];

  const again = await asHistory(url);
  expect([again.code, again.stdout]).toEqual([
    0,
    expect.stringContaining('0 days differ; 0 invoices were new, 3 were there, 0 were rejected'),
  ]);
  expect([[...history], [...products], [...accounts]]).toEqual(before);
});

it('exits 1 and shows the day where the shop lost a unit of history', async () => {
  const { code, stdout } = await asHistory((await shop({ losesUnit: true })).url, '--patience-seconds', '0');
  expect([code, stdout]).toEqual([1, expect.stringContaining('1 days differ')]);
  expect(stdout).toMatch(/2010-12-01 .* 7 +6 +-1 /);
});

it('says what to do where it cannot begin', async () => {
  const { url } = await shop();
  const [nothing, noFile, noSystem, wrongAdmin, noAdmin] = await Promise.all([
    replay('--live'),
    replay('none.csv', '--live', '--admin-email', 'a', '--admin-password', 'b'),
    against('http://127.0.0.1:1'),
    replay(
      file,
      '--live',
      '--gateway',
      url,
      '--payment',
      url,
      '--admin-email',
      'a@b.example',
      '--admin-password',
      'x',
    ),
    replay(file, '--live'),
  ]);
  expect([nothing.code, nothing.stderr]).toEqual([64, expect.stringContaining('name the file')]);
  expect([noFile.code, noFile.stderr]).toEqual([65, expect.stringContaining('there is no file none.csv')]);
  expect([noSystem.code, noSystem.stderr]).toEqual([69, expect.stringContaining('npm start')]);
  expect([wrongAdmin.code, wrongAdmin.stderr]).toEqual([64, expect.stringContaining('--admin-email')]);
  expect([noAdmin.code, noAdmin.stderr]).toEqual([64, expect.stringContaining('npm start')]);
});
