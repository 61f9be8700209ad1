import fc from 'fast-check';
import { cutLines, LONGEST_LINE_BYTES, START, type Line } from './history-lines';

/** Reads a file in pieces of at most `pieceBytes`, or of a longest line where that brings reading on no further. */
function read(file: Buffer, pieceBytes: number): Line[] {
  const lines: Line[] = [];
  let place = START;
  while (place.offset < file.length) {
    let next = place;
    for (const length of [pieceBytes, LONGEST_LINE_BYTES + 1]) {
      const piece = file.subarray(place.offset, place.offset + length);
      const cut = cutLines(piece, place, place.offset + piece.length >= file.length);
      if (cut.end.offset === place.offset) continue;
      lines.push(...cut.lines);
      next = cut.end;
      break;
    }
    expect(next.offset).toBeGreaterThan(place.offset);
    place = next;
  }
  return lines;
}
const seen = (lines: Line[]) =>
  lines.map((each) => `${each.line} ${'text' in each ? each.text : each.problem.code}`);

it('numbers lines as an editor does, whatever ends them, and leaves blank ones out', () => {
  const file = Buffer.from('\uFEFF{"a":1}\r\n\n  \t\r\n{"b":"ü"}\n{"c":3}');
  expect(seen(read(file, 1_000))).toEqual(['1 {"a":1}', '4 {"b":"ü"}', '5 {"c":3}']);
  expect(read(Buffer.alloc(0), 1_000)).toEqual([]);
});

it('finds the same lines wherever the file is cut', () => {
  const part = fc.constantFrom('\n', '\r\n', ' ', '{"a":1}', 'ü', '\u2028', 'x'.repeat(50), '\uFEFF');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), fc.integer({ min: 1, max: 60 }), (parts, pieceBytes) => {
      const file = Buffer.from(parts.join(''));
      expect(read(file, pieceBytes)).toEqual(read(file, 10_000));
    }),
  );
});

it('makes a line that is not UTF-8 or too long a problem of that line alone', () => {
  const longest = `"${'x'.repeat(LONGEST_LINE_BYTES - 2)}"`;
  const file = Buffer.concat([
    Buffer.from('{"a":1}\n'),
    Buffer.from([0x7b, 0xff, 0xfe, 0x0a]),
    Buffer.from(`${longest}\n${longest}x\n{"b":2}\n`),
    Buffer.alloc(3 * LONGEST_LINE_BYTES, 'y'),
    Buffer.from('\n{"c":3}'),
  ]);
  for (const pieceBytes of [1_000, 65_536, 10 * LONGEST_LINE_BYTES])
    expect(seen(read(file, pieceBytes))).toEqual([
      '1 {"a":1}',
      '2 ENCODING_INVALID',
      `3 ${longest}`,
      '4 LINE_TOO_LONG',
      '5 {"b":2}',
      '6 LINE_TOO_LONG',
      '7 {"c":3}',
    ]);
});
