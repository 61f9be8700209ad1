/** The forms of a file of lines: https://github.com/ndjson/ndjson-spec, and RFC 4180. */
export type LineFormat = 'ndjson' | 'csv';

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

/** What is wrong with a line, for the one who sent it. A class, so that no content of a line can be taken for one. */
export class LineProblem {
  constructor(
    readonly code: string,
    readonly reason: string,
  ) {}
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
 * The lines of a file from a place on, as they are read: `chunks` are its bytes from there. Holds one chunk and one line in
 * memory. A line, or a CSV record, has at most `longestBytes`: a longer one is a problem, and so are bytes that are not UTF-8.
 * Lines end with LF or CRLF, the last one also with the file. In CSV a quoted cell may hold line breaks. Where its quotes do not
 * match, the line that the record begins on is a problem and reading goes on behind that line, so that one forgotten quote
 * spoils no other record.
 */
export async function* readLines(
  format: LineFormat,
  chunks: AsyncIterable<Uint8Array>,
  { from = START, longestBytes }: { from?: Place; longestBytes: number },
): AsyncGenerator<ReadLine> {
  const cut = format === 'csv' ? cutCsv : cutLine;
  let rest: Buffer = Buffer.alloc(0);
  let place = from;

  /** The lines that are complete in `rest`; all of it when the file has ended. */
  function* take(ended: boolean): Generator<ReadLine> {
    let at = 0;
    while (at < rest.length) {
      const piece = rest.subarray(at);
      const found = place.skipping ? skip(piece) : cut(piece, ended, longestBytes);
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

function cutLine(piece: Buffer, ended: boolean, longestBytes: number): Found | undefined {
  const end = piece.indexOf(LF);
  const bytes = end >= 0 ? end : piece.length;
  if (bytes > longestBytes) return tooLong(end, piece, longestBytes);
  if (end < 0 && !ended) return undefined;
  return { bytes: end < 0 ? bytes : bytes + 1, lines: 1, content: decode(piece.subarray(0, bytes)) };
}

function cutCsv(piece: Buffer, ended: boolean, longestBytes: number): Found | undefined {
  const firstEnd = piece.indexOf(LF);
  /** Quotes behind the longest record are not looked for. */
  const upTo = (lineEnd: number) => Math.min(lineEnd < 0 ? piece.length : lineEnd, longestBytes + 1);
  let end = firstEnd;
  // Outside of quotes their number is even: a doubled quote inside of a cell counts twice.
  let quotes = countQuotes(piece, 0, upTo(end));
  while (end >= 0 && end <= longestBytes && quotes % 2 === 1) {
    const next = piece.indexOf(LF, end + 1);
    quotes += countQuotes(piece, end, upTo(next));
    end = next;
  }
  const bytes = end >= 0 ? end : piece.length;
  if (bytes <= longestBytes) {
    if (end < 0 && !ended) return undefined;
    const lines = firstEnd === end ? 1 : piece.subarray(0, bytes).toString('latin1').split('\n').length;
    const content = decode(piece.subarray(0, bytes));
    const isRecord = content.text === undefined || splitCsv(content.text) !== undefined;
    if (isRecord && quotes % 2 === 0) return { bytes: end < 0 ? bytes : bytes + 1, lines, content };
  }
  if (firstEnd < 0 ? piece.length > longestBytes : firstEnd > longestBytes)
    return tooLong(firstEnd, piece, longestBytes);
  return {
    bytes: firstEnd < 0 ? piece.length : firstEnd + 1,
    lines: 1,
    content: { problem: malformedLine(quotesReason(longestBytes)) },
  };
}

const quotesReason = (longestBytes: number) =>
  `the quotes do not match within ${longestBytes} bytes: a cell with a quote stands in quotes, and each quote in it twice`;

function tooLong(end: number, piece: Buffer, longestBytes: number): Found {
  const problem = new LineProblem('LINE_TOO_LONG', `must be at most ${longestBytes} bytes`);
  return { ...throughEnd(end, piece), content: { problem } };
}

const skip = (piece: Buffer): Found => ({ ...throughEnd(piece.indexOf(LF), piece), content: {} });

const throughEnd = (end: number, piece: Buffer) =>
  end >= 0 ? { bytes: end + 1, lines: 1 } : { bytes: piece.length, lines: 0, skipping: true };

function countQuotes(piece: Buffer, from: number, to: number): number {
  let count = 0;
  for (let at = piece.indexOf(QUOTE, from); at >= 0 && at < to; at = piece.indexOf(QUOTE, at + 1)) count += 1;
  return count;
}

const utf8 = new TextDecoder('utf-8', { fatal: true }); // takes a byte order mark off

function decode(bytes: Buffer): Pick<ReadLine, 'text' | 'problem'> {
  try {
    const text = utf8.decode(bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes);
    return /\S/.test(text) ? { text } : {};
  } catch {
    return { problem: new LineProblem('ENCODING_INVALID', 'must be UTF-8') };
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

/** The members of a line of NDJSON, or what is wrong with it. */
export function readJsonObject(text: string): Record<string, unknown> | LineProblem {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return malformedLine('is not valid JSON');
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : malformedLine('must be a JSON object');
}

/** A line whose form is wrong. */
export const malformedLine = (reason: string) => new LineProblem('LINE_MALFORMED', reason);
