import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countryCode } from './countries';
import { FileError, minorDigits, readAmount, readDate, readSalesFile } from './sales-file';

const HEADER = 'InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country';
const directory = mkdtempSync(join(tmpdir(), 'replay-'));
afterAll(() => rmSync(directory, { recursive: true }));

function read(text: string) {
  const path = join(directory, 'sales.csv');
  writeFileSync(path, text);
  return readSalesFile(path, 'GBP');
}
const readRows = (...rows: string[]) => read([HEADER, ...rows].join('\n'));
const row = (values: Partial<Record<string, string>>) => {
  const all = {
    InvoiceNo: '536389',
    StockCode: '22196',
    Description: 'SPOONS',
    Quantity: '24',
    InvoiceDate: '12/1/2010 10:03',
    UnitPrice: '0.85',
    CustomerID: '12431',
    Country: 'Australia',
    ...values,
  };
  return HEADER.split(',')
    .map((name) => all[name as keyof typeof all])
    .join(',');
};

it('reads a sale as it stands, without the blanks around it', async () => {
  const { sales, badRows } = await readRows(
    '536389,22196, "SPOONS, SMALL " ,24,12/1/2010 10:03,0.85,12431,Australia'
      .replace(', "', ',"')
      .replace('" ,', '",'),
  );
  expect(badRows).toEqual([]);
  expect(sales).toEqual([
    {
      line: 2,
      invoice: '536389',
      stockCode: '22196',
      description: 'SPOONS, SMALL',
      quantity: 24,
      atMs: Date.UTC(2010, 11, 1, 10, 3),
      unitPriceMinor: 85n,
      customer: '12431',
      country: 'Australia',
    },
  ]);
});

it('finds the columns by name, in any order and among others, behind a byte order mark', async () => {
  const { sales } = await read(
    '\ufeffCountry,Extra,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\r\nFrance,x,,1.5,1/31/2011 9:05,3,MUG,A 1,7\r\n',
  );
  expect(sales).toMatchObject([
    { invoice: '7', stockCode: 'A 1', customer: undefined, unitPriceMinor: 150n },
  ]);
});

it.each<[Record<string, string>, string]>([
  [{ InvoiceNo: 'C536379' }, 'the invoice is a cancellation'],
  [{ InvoiceNo: '' }, 'InvoiceNo is not 1 to 64 visible characters'],
  [{ StockCode: ' ' }, 'StockCode is not 1 to 64 plain characters'],
  [{ Description: '' }, 'Description is missing'],
  [{ Quantity: '-6' }, 'Quantity is not positive'],
  [{ Quantity: '0' }, 'Quantity is not positive'],
  [{ Quantity: '1.5' }, 'Quantity is not a whole number'],
  [{ Quantity: '' }, 'Quantity is not a whole number'],
  [{ InvoiceDate: '2010-12-01 10:03' }, 'InvoiceDate is not a date of the form M/D/YYYY H:MM'],
  [{ InvoiceDate: '2/30/2011 10:03' }, 'InvoiceDate is not a date of the form M/D/YYYY H:MM'],
  [{ UnitPrice: '0' }, 'UnitPrice is not positive'],
  [{ UnitPrice: '-11062.06' }, 'UnitPrice is not positive'],
  [{ UnitPrice: '0.001' }, 'UnitPrice is not an amount with at most 2 decimals'],
  [{ UnitPrice: '1e3' }, 'UnitPrice is not an amount with at most 2 decimals'],
  [{ UnitPrice: '9000000.01' }, 'UnitPrice is more than a product can cost'],
  [{ CustomerID: 'a@b' }, 'CustomerID is not letters, digits, dots and dashes'],
])('lists a row with %j by its line and reason, and reads the rows around it', async (values, reason) => {
  const { sales, badRows } = await readRows(row({}), row(values), row({ StockCode: '2' }));
  expect(sales.map(({ line }) => line)).toEqual([2, 4]);
  expect(badRows).toMatchObject([{ line: 3, reason }]);
});

it('names the right line after blank lines, line breaks in quotes and rows of another width', async () => {
  const { sales, badRows } = await readRows(
    row({ Description: '"TWO\nLINES"' }), // lines 2 and 3
    '',
    'too,short', // 5
    row({ Description: '"THREE\n\nLINES"', Quantity: '-1' }), // 6 to 8
    `${row({})},more`, // 9
    row({}), // 10
  );
  expect(sales.map(({ line, description }) => [line, description])).toEqual([
    [2, 'TWO LINES'],
    [10, 'SPOONS'],
  ]);
  expect(badRows).toEqual([
    { line: 5, reason: 'the row does not have 8 columns', found: '2 columns, line 5' },
    { line: 6, reason: 'Quantity is not positive', found: '-1' },
    { line: 9, reason: 'the row does not have 8 columns', found: '9 columns, line 9' },
  ]);
});

it('reads stray quotes as they stand', async () => {
  const { sales, badRows } = await readRows(
    row({ Description: '"BIG" MUG' }),
    row({ Description: '6" MUG' }),
  );
  expect(sales.map(({ line, description }) => [line, description])).toEqual([
    [2, '"BIG" MUG'],
    [3, '6" MUG'],
  ]);
  expect(badRows).toEqual([]);
});

it('lists the lines that a quote without an end has swallowed, to the next quote or to the end', async () => {
  const inside = await readRows(
    row({}),
    row({ Description: '"NO END' }),
    row({ Description: '"MUG"' }),
    row({}),
  );
  expect(inside.sales.map(({ line }) => line)).toEqual([2, 5]);
  expect(inside.badRows).toEqual([
    { line: 3, reason: 'a quote is not closed on its line', found: 'lines 3 to 4' },
  ]);
  const toTheEnd = await readRows(row({}), row({ Description: '"NO END' }), row({}), row({}));
  expect(toTheEnd.sales.map(({ line }) => line)).toEqual([2]);
  expect(toTheEnd.badRows).toEqual([
    { line: 3, reason: 'a quote is not closed on its line', found: 'lines 3 to 5' },
  ]);
});

it('lists a row whose invoice began with another customer', async () => {
  const { sales, badRows } = await readRows(row({}), row({ CustomerID: '9' }), row({ CustomerID: '' }));
  expect(sales).toHaveLength(1);
  expect(badRows.map(({ line, found }) => [line, found])).toEqual([
    [3, '9, line 2 has 12431'],
    [4, 'none, line 2 has 12431'],
  ]);
});

it('says what the header lacks, and that a file is not there or empty', async () => {
  await expect(read('InvoiceNo,StockCode\n1,2\n')).rejects.toThrow(/does not name Description, Quantity/);
  await expect(read('')).rejects.toThrow(/is empty/);
  await expect(readSalesFile(join(directory, 'none.csv'), 'GBP')).rejects.toThrow(FileError);
});

it('reads amounts exactly, and by the decimals of the currency', () => {
  expect(readAmount('0.85', 2)).toBe(85n);
  expect(readAmount('165', 2)).toBe(16_500n);
  expect(readAmount('999999999999.990', 2)).toBe(99_999_999_999_999n);
  expect(readAmount('-0.5', 2)).toBe(-50n);
  expect(readAmount('7', 0)).toBe(7n);
  expect(['', '.5', '1,5', '0.005', 'NaN'].map((text) => readAmount(text, 2))).toEqual(
    Array(5).fill(undefined),
  );
  expect([minorDigits('GBP'), minorDigits('JPY'), minorDigits('KWD')]).toEqual([2, 0, 3]);
});

it('reads dates that exist only', () => {
  expect(readDate('2/29/2012 0:00')).toBe(Date.UTC(2012, 1, 29));
  expect(
    ['2/29/2011 0:00', '13/1/2010 1:00', '1/1/2010 24:00', '1/1/2010 1:60', '1/1/2010'].map(readDate),
  ).toEqual(Array(5).fill(undefined));
});

it('knows the codes of countries by the names that histories use', () => {
  expect(['United Kingdom', 'EIRE', 'Germany', 'norway', 'RSA', 'FR'].map(countryCode)).toEqual([
    'GB',
    'IE',
    'DE',
    'NO',
    'ZA',
    'FR',
  ]);
  expect(['Unspecified', 'European Union', ''].map(countryCode)).toEqual([undefined, undefined, undefined]);
});
