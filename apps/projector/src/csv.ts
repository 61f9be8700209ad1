/**
 * One record of a CSV file (RFC 4180), with its line break. A cell that a spreadsheet would take for a formula gets an apostrophe
 * before it (OWASP, CSV injection), since its text may come from somebody else.
 */
export function csvRecord(cells: ReadonlyArray<string | bigint>): string {
  return `${cells.map((cell) => (typeof cell === 'bigint' ? String(cell) : textCell(cell))).join(',')}\r\n`;
}

function textCell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
