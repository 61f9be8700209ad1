/** The forms of a file that can be imported: https://github.com/ndjson/ndjson-spec, and RFC 4180. */
export type ImportFormat = 'ndjson' | 'csv';

/** A place in a file where reading can begin. */
export interface Place {
  /** In bytes from the start of the file. */
  offset: number;
  /** Of the physical line that begins there, from 1. */
  line: number;
  /** True: inside of a line that is too long, whose rest is no record. */
  skipping: boolean;
}

export const START: Place = { offset: 0, line: 1, skipping: false };

/** What is wrong with a line, for the one who sent it. */
export interface LineProblem {
  code: string;
  reason: string;
}

/** A record, or what is wrong with it, or only how far reading has come (a blank line, a piece of one that is too long). */
export interface ReadLine {
  /** The physical line that the record begins on, from 1. */
  line: number;
  /** Where the next one begins. */
  end: Place;
  text?: string;
  problem?: LineProblem;
}

/** A cell of a CSV record; undefined: nothing stands there, not even quotes. */
export type Cell = string | undefined;

/**
 * The longest line, and the longest CSV record, in bytes. Every product that is valid fits, even if each of its characters is
 * escaped as JSON can: a description of 10,000 characters then takes 120,000 bytes.
 */
export const LONGEST_LINE_BYTES = 131_072;

/**
 * The lines of a file from a place on, as they are read: `chunks` are its bytes from there. Holds one chunk and one line in
 * memory. Lines end with LF or CRLF, the last one also with the file; bytes that are not UTF-8 are a problem of their line. In
 * CSV a quoted cell may hold line breaks. Where its quotes do not match, the line that the record begins on is a problem and
 * reading goes on behind that line, so that one forgotten quote spoils no other record.
 */
export async function* readLines(
  format: ImportFormat,
  chunks: AsyncIterable<Uint8Array>,
  from: Place = START,
): AsyncGenerator<ReadLine> {
  const cut = format === 'csv' ? cutCsv : cutLine;
  let rest: Buffer = Buffer.alloc(0);
  let place = from;

  /** The lines that are complete in `rest`; all of it when the file has ended. */
  function* take(ended: boolean): Generator<ReadLine> {
    let at = 0;
    while (at < rest.length) {
      const piece = rest.subarray(at);
      const found = place.skipping ? skip(piece) : cut(piece, ended);
      if (!found) break;
      const { line } = place;
      at += found.bytes;
      place = {
        offset: place.offset + found.bytes,
        line: line + found.lines,
        skipping: found.skipping ?? false,
      };
      yield { line, end: place, ...found.content };
    }
    rest = rest.subarray(at);
  }

  for await (const chunk of chunks) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    yield* take(false);
  }
  yield* take(true);
}

/** A record at the start of a piece of the file: how much it takes, and what it is. */
interface Found {
  bytes: number;
  lines: number;
  skipping?: boolean;
  content: Pick<ReadLine, 'text' | 'problem'>;
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;

function cutLine(piece: Buffer, ended: boolean): Found | undefined {
  const end = piece.indexOf(LF);
  const bytes = end >= 0 ? end : piece.length;
  if (bytes > LONGEST_LINE_BYTES) return tooLong(end, piece);
  if (end < 0 && !ended) return undefined;
  return { bytes: end < 0 ? bytes : bytes + 1, lines: 1, content: decode(piece.subarray(0, bytes)) };
}

function cutCsv(piece: Buffer, ended: boolean): Found | undefined {
  const firstEnd = piece.indexOf(LF);
  let end = firstEnd;
  // Outside of quotes their number is even: a doubled quote inside of a cell counts twice.
  let quotes = countQuotes(piece, 0, end < 0 ? piece.length : end);
  while (end >= 0 && end <= LONGEST_LINE_BYTES && quotes % 2 === 1) {
    const next = piece.indexOf(LF, end + 1);
    quotes += countQuotes(piece, end, next < 0 ? piece.length : next);
    end = next;
  }
  const bytes = end >= 0 ? end : piece.length;
  if (bytes <= LONGEST_LINE_BYTES) {
    if (end < 0 && !ended) return undefined;
    const lines = firstEnd === end ? 1 : piece.subarray(0, bytes).toString('latin1').split('\n').length;
    const content = decode(piece.subarray(0, bytes));
    const isRecord = content.text === undefined || splitCsv(content.text) !== undefined;
    if (isRecord && quotes % 2 === 0) return { bytes: end < 0 ? bytes : bytes + 1, lines, content };
  }
  if (firstEnd < 0 ? piece.length > LONGEST_LINE_BYTES : firstEnd > LONGEST_LINE_BYTES)
    return tooLong(firstEnd, piece);
  return {
    bytes: firstEnd < 0 ? piece.length : firstEnd + 1,
    lines: 1,
    content: { problem: { code: 'LINE_MALFORMED', reason: QUOTES_REASON } },
  };
}

const QUOTES_REASON = `the quotes do not match within ${LONGEST_LINE_BYTES} bytes: a cell with a quote stands in quotes, and each quote in it twice`;

function tooLong(end: number, piece: Buffer): Found {
  const problem = { code: 'LINE_TOO_LONG', reason: `must be at most ${LONGEST_LINE_BYTES} bytes` };
  return { ...throughEnd(end, piece), content: { problem } };
}

const skip = (piece: Buffer): Found => ({ ...throughEnd(piece.indexOf(LF), piece), content: {} });

const throughEnd = (end: number, piece: Buffer) =>
  end >= 0 ? { bytes: end + 1, lines: 1 } : { bytes: piece.length, lines: 0, skipping: true };

function countQuotes(piece: Buffer, from: number, to: number): number {
  let count = 0;
  for (
    let at = piece.indexOf(QUOTE, from);
    at >= 0 && at < to && at <= LONGEST_LINE_BYTES;
    at = piece.indexOf(QUOTE, at + 1)
  )
    count += 1;
  return count;
}

const utf8 = new TextDecoder('utf-8', { fatal: true }); // takes a byte order mark off

function decode(bytes: Buffer): Pick<ReadLine, 'text' | 'problem'> {
  try {
    const text = utf8.decode(bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes);
    return /\S/.test(text) ? { text } : {};
  } catch {
    return { problem: { code: 'ENCODING_INVALID', reason: 'must be UTF-8' } };
  }
}

/** The cells of one CSV record without the end of its line; undefined where the quotes do not match. */
export function splitCsv(text: string): Cell[] | undefined {
  if (!text.includes('"')) return text.split(',').map((cell) => (cell === '' ? undefined : cell));
  const cells: Cell[] = [];
  CELL.lastIndex = 0;
  for (;;) {
    const match = CELL.exec(text);
    if (!match) return undefined;
    const [, quoted, bare, comma] = match;
    cells.push(quoted === undefined ? bare || undefined : quoted.replaceAll('""', '"'));
    if (comma === '') return cells;
  }
}

const CELL = /(?:"([^"]*(?:""[^"]*)*)"|([^",\n]*))(,|$)/y;
