import { UsageError } from '@headroom/shop-api';
import { parseArgs } from 'node:util';
import type { Lab, LabResult } from './lab';
import { frozenMail } from './a6-frozen-mail';
import { leaks } from './m13-leaks';
import { rateLimits } from './r2-rate-limits';

/** `npm run lab -- ID`: one technique's figure, with a verdict. */
const LABS: readonly Lab[] = [frozenMail, leaks, rateLimits];

async function main(): Promise<number> {
  const [id, ...rest] = process.argv.slice(2);
  const lab = LABS.find((each) => each.id === id?.toUpperCase());
  if (!lab) {
    const list = LABS.map((each) => `  ${each.id.padEnd(6)} ${each.title}`).join('\n');
    const help = `npm run lab -- ID [options] [--json]\n\n${list}\n`;
    if (id === '--help') {
      process.stdout.write(help);
      return 0;
    }
    throw new UsageError(id === undefined ? help : `there is no lab ${id}\n\n${help}`);
  }
  const { json, ...values } = read(lab, rest);
  const said = json ? process.stderr : process.stdout;
  said.write(`${lab.id}  ${lab.title}\n`);
  const outcome = await lab.run({ values, say: (line) => void said.write(`${line}\n`) });
  if (json)
    process.stdout.write(
      `${JSON.stringify({ lab: lab.id, passed: outcome.passed, result: outcome.result }, null, 2)}\n`,
    );
  else
    process.stdout.write(
      `\n${tableOf(outcome)}\n\n${outcome.summary}\n${outcome.passed ? 'passed' : 'FAILED'}\n`,
    );
  return outcome.passed ? 0 : 1;
}

function read(lab: Lab, arguments_: string[]): Record<string, unknown> & { json: boolean } {
  try {
    const options = { ...lab.options, json: { type: 'boolean', default: false } as const };
    return parseArgs({ args: arguments_, options }).values as Record<string, unknown> & { json: boolean };
  } catch (error) {
    throw new UsageError(
      `${error instanceof Error ? error.message : String(error)}. ${lab.id} takes ${['json', ...Object.keys(lab.options)].map((name) => `--${name}`).join(', ')}`,
    );
  }
}

function tableOf({ table }: LabResult): string {
  const columns = Object.keys(table[0] ?? {});
  const rows = [columns, ...table.map((row) => columns.map((column) => String(row[column])))];
  const widths = columns.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows.map((cells) => cells.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')).join('\n');
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? error.exitCode : 1;
  },
);
