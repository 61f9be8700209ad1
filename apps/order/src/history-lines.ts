/** A place in a file of lines from which reading goes on. */
export interface Place {
  /** In bytes from the start of the file. */
  offset: number;
  /** Of the line that begins there, from 1. */
  line: number;
  /** True inside a line that is too long, whose rest is no line of its own. */
  skipping: boolean;
}

export const START: Place = { offset: 0, line: 1, skipping: false };

/** What is wrong with a line, for the one who sent it. */
export interface LineProblem {
  code: string;
  reason: string;
}

/** A line that is not blank: its text, or why it has none. */
export type Line = { line: number } & ({ text: string } | { problem: LineProblem });

/**
 * The longest line in bytes: an order of 1,000 lines fits with SKUs of 100 characters, even if each of these is escaped as JSON
 * can.
 */
export const LONGEST_LINE_BYTES = 1024 * 1024;

const LF = 0x0a;
const CR = 0x0d;
const utf8 = new TextDecoder('utf-8', { fatal: true }); // takes a byte order mark off

/**
 * The lines that are complete in a piece of an NDJSON file (https://github.com/ndjson/ndjson-spec) that begins at `from`, and the
 * place behind them: LF or CRLF ends a line, the last one also with the file. `ended` says that nothing follows the piece. A piece
 * that is longer than `LONGEST_LINE_BYTES`, or ends the file, always brings reading on.
 */
export function cutLines(piece: Buffer, from: Place, ended: boolean): { lines: Line[]; end: Place } {
  const lines: Line[] = [];
  let at = 0;
  let { line, skipping } = from;
  while (at < piece.length) {
    const found = piece.indexOf(LF, at);
    const stop = found < 0 ? piece.length : found;
    if (skipping) {
      skipping = found < 0;
    } else if (stop - at > LONGEST_LINE_BYTES) {
      const reason = `must be at most ${LONGEST_LINE_BYTES} bytes`;
      lines.push({ line, problem: { code: 'LINE_TOO_LONG', reason } });
      skipping = found < 0;
    } else {
      if (found < 0 && !ended) break;
      const read = decode(piece.subarray(at, stop));
      if (read) lines.push({ line, ...read });
    }
    if (found >= 0) line += 1;
    at = found < 0 ? piece.length : found + 1;
  }
  return { lines, end: { offset: from.offset + at, line, skipping } };
}

/** Undefined for a blank line. */
function decode(bytes: Buffer): { text: string } | { problem: LineProblem } | undefined {
  try {
    const text = utf8.decode(bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes);
    return /\S/.test(text) ? { text } : undefined;
  } catch {
    return { problem: { code: 'ENCODING_INVALID', reason: 'must be UTF-8' } };
  }
}
