import { csvRecord } from './csv';

it('quotes cells as RFC 4180 says', () => {
  expect(csvRecord(['plain', 'a,b', 'say "hi"', 'two\nlines', 12n])).toBe(
    'plain,"a,b","say ""hi""","two\nlines",12\r\n',
  );
});

it.each(['=1+2', '+1', '-1', '@sum', '\tx', '\rx'])('gives spreadsheets no formula: %j', (cell) => {
  expect(csvRecord([cell]).replace(/^"/, '')).toMatch(/^'/);
});

it('leaves numbers as they are', () => {
  expect(csvRecord([-5n])).toBe('-5\r\n');
});
