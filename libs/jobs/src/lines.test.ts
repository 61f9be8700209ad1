import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import {
  LineProblem,
  readJsonObject,
  readLines,
  splitCsv,
  START,
  type LineFormat,
  type Place,
} from './lines';

const LONGEST_LINE_BYTES = 131_072;

async function* inPieces(bytes: Uint8Array, sizeBytes: number) {
  for (let at = 0; at < bytes.length; at += sizeBytes)
    yield await Promise.resolve(bytes.subarray(at, at + sizeBytes));
}
const bytesOf = (content: string | Uint8Array) =>
  typeof content === 'string' ? Buffer.from(content) : content;

async function read(format: LineFormat, content: string | Uint8Array, pieceBytes = 65_536, from = START) {
  const lines = [];
  const bytes = bytesOf(content);
  const chunks = inPieces(bytes.subarray(from.offset), pieceBytes);
  for await (const line of readLines(format, chunks, { from, longestBytes: LONGEST_LINE_BYTES }))
    lines.push(line);
  return lines;
}
/** What a user sees: `line text`, or `line CODE`; blank lines leave nothing. */
const seen = (lines: Awaited<ReturnType<typeof read>>) =>
  lines.flatMap(({ line, text, problem }) =>
    problem ? [`${line} ${problem.code}`] : text === undefined ? [] : [`${line} ${text}`],
  );

describe('lines of NDJSON', () => {
  it('are numbered as an editor numbers them, whatever ends them, and blank ones are none', async () => {
    expect(seen(await read('ndjson', '\uFEFF{"a":1}\r\n\n  \t\r\n{"b":"ü"}\n{"c":3}'))).toEqual([
      '1 {"a":1}',
      '4 {"b":"ü"}',
      '5 {"c":3}',
    ]);
    expect(await read('ndjson', '')).toEqual([]);
  });

  it('that are not UTF-8 or too long are problems of their own and no other line’s', async () => {
    const long = `"${'x'.repeat(LONGEST_LINE_BYTES - 2)}"`;
    const content = Buffer.concat([
      Buffer.from('{"a":1}\n'),
      Buffer.from([0x7b, 0xff, 0xfe, 0x0a]),
      Buffer.from(`${long}\n${long}x\n{"b":2}\n`),
      Buffer.alloc(3 * LONGEST_LINE_BYTES, 'y'),
      Buffer.from('\n{"c":3}'),
    ]);
    for (const pieceBytes of [1_000, 65_536, 1_048_576])
      expect(seen(await read('ndjson', content, pieceBytes))).toEqual([
        '1 {"a":1}',
        '2 ENCODING_INVALID',
        `3 ${long}`,
        '4 LINE_TOO_LONG',
        '5 {"b":2}',
        '6 LINE_TOO_LONG',
        '7 {"c":3}',
      ]);
  });

  it('that never end are let go piece by piece', async () => {
    const lines = await read('ndjson', Buffer.alloc(5 * LONGEST_LINE_BYTES, 'x'), LONGEST_LINE_BYTES + 1);
    expect(seen(lines)).toEqual(['1 LINE_TOO_LONG']);
    expect(lines.map(({ end }) => end.offset)).toEqual(
      [1, 2, 3, 4, 5].map((n) => Math.min(n * (LONGEST_LINE_BYTES + 1), 5 * LONGEST_LINE_BYTES)),
    );
    expect(lines.at(-1)!.end).toMatchObject({ line: 1, skipping: true });
  });
});

describe('records of CSV', () => {
  it('may have line breaks, commas and quotes in quoted cells, and stand on the line they begin on', async () => {
    const text = 'sku,name\r\nA,"one\r\n two ""2"", three"\r\n\r\nB,plain\n"C",""\n';
    const lines = await read('csv', text);
    expect(seen(lines)).toEqual(['1 sku,name', '2 A,"one\r\n two ""2"", three"', '5 B,plain', '6 "C",""']);
    expect(lines.flatMap((line) => (line.text === undefined ? [] : [splitCsv(line.text)]))).toEqual([
      ['sku', 'name'],
      ['A', 'one\r\n two "2", three'],
      ['B', 'plain'],
      ['C', ''],
    ]);
  });

  it('tell a cell with nothing in it from one with an empty text', () => {
    expect(splitCsv('a,,"",b')).toEqual(['a', undefined, '', 'b']);
    expect(splitCsv(',')).toEqual([undefined, undefined]);
  });

  it.each([
    ['a quote that is never closed', 'A,"one,1'],
    ['a quote in a bare cell', 'A,5" pipe,1'],
    ['text behind a closing quote', 'A,"one"two,1'],
  ])('with %s spoil their own line alone', async (_, bad) => {
    const good = Array.from({ length: 5_000 }, (__, index) => `B${index},"x, y",1`);
    const plain = Array.from({ length: 5_000 }, (__, index) => `C${index},plain,1`);
    const expected = [
      '1 h',
      '2 LINE_MALFORMED',
      ...[...good, ...plain].map((text, index) => `${index + 3} ${text}`),
    ];
    expect(seen(await read('csv', ['h', bad, ...good, ...plain].join('\n'), 10_000))).toEqual(expected);
    const last = plain.map((text, index) => `${index + 2} ${text}`);
    expect(seen(await read('csv', ['h', ...plain, bad].join('\n'), 10_000))).toEqual([
      '1 h',
      ...last,
      '5002 LINE_MALFORMED',
    ]);
  });

  it('are what a CSV library makes of them', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', 'ü', ',', '"', '\n', '\r\n', ' ', '😀') });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { maxLength: 12 }),
        fc.constantFrom('\n', '\r\n'),
        fc.integer({ min: 1, max: 40 }),
        async (records, newline, pieceBytes) => {
          const content = records
            .map((cells) => cells.map((each) => `"${each.replaceAll('"', '""')}"`).join(','))
            .join(newline);
          const parsed = (await read('csv', content, pieceBytes)).flatMap(({ text }) =>
            text === undefined ? [] : [splitCsv(text)],
          );
          expect(parsed).toEqual(parse(content, { relax_column_count: true, bom: true }));
        },
      ),
    );
  });
});

it.each<LineFormat>(['ndjson', 'csv'])(
  'reads the same lines of %s in any pieces and from any place on',
  async (format) => {
    const line = fc.oneof(
      {
        weight: 4,
        arbitrary: fc
          .string({ unit: fc.constantFrom('a', 'ü', '"', ',', '\r', ' ') })
          .map((text) => Buffer.from(text)),
      },
      fc.constantFrom(
        Buffer.from('a,"b\nc",d'),
        Buffer.from([0x61, 0xff]),
        Buffer.alloc(LONGEST_LINE_BYTES + 5, 'z'),
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 12 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 50_000 }),
        async (lines, ends, pieceBytes) => {
          const content = Buffer.concat(
            lines
              .flatMap((each, index) => (index > 0 ? [Buffer.from('\n'), each] : [each]))
              .concat(ends ? [Buffer.from('\n')] : []),
          );
          const whole = await read(format, content, content.length + 1);
          const visible = seen(whole);
          if (content.length < 5_000 || pieceBytes > 500)
            expect(seen(await read(format, content, pieceBytes))).toEqual(visible);
          const places: Place[] = whole.map(({ end }) => end);
          const place = places[Math.floor(places.length / 2)];
          if (place) {
            const first = whole.filter(({ end }) => end.offset <= place.offset);
            expect([...seen(first), ...seen(await read(format, content, 65_536, place))]).toEqual(visible);
          }
          expect(whole.at(-1)?.end.offset ?? 0).toBe(content.length);
        },
      ),
      { numRuns: 200 },
    );
  },
);

it('takes an object that looks like a problem for an object', () => {
  const text = '{"code":"LINE_MALFORMED","reason":"none"}';
  expect(readJsonObject(text)).not.toBeInstanceOf(LineProblem);
  expect(readJsonObject('[1]')).toBeInstanceOf(LineProblem);
  expect(readJsonObject('{"a":')).toBeInstanceOf(LineProblem);
});
