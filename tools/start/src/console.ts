const COLOURS = [36, 33, 35, 32, 34, 96, 93, 95];

/** What the person at the terminal sees: phase lines, and each process's log with a coloured prefix. */
export interface Console {
  /** Runs `work` and prints one line with its duration; what `work` returns may add a note. */
  phase<T>(name: string, work: (note: (text: string) => void) => Promise<T>): Promise<T>;
  /** One line of a process's log: as it is where output is not a terminal. */
  log(process: string, line: string): void;
  say(text: string): void;
}

export function createConsole(output: NodeJS.WriteStream = process.stdout): Console {
  const terminal = output.isTTY === true && !process.env['NO_COLOR'];
  const paint = (code: number, text: string) => (terminal ? `\x1b[${code}m${text}\x1b[0m` : text);
  const colours = new Map<string, number>();
  const write = (text: string) => void output.write(`${text}\n`);
  return {
    async phase(name, work) {
      const started = Date.now();
      let note = '';
      const seconds = () => `${((Date.now() - started) / 1_000).toFixed(1).padStart(6)} s`;
      // On a terminal the line stands there while the work goes on and is then written over.
      if (terminal) output.write(`  …  ${name.padEnd(12)}`);
      try {
        const result = await work((text) => (note = text));
        write(`${terminal ? '\r' : ''}  ${paint(32, '✓')}  ${name.padEnd(12)}  ${seconds()}  ${note}`);
        return result;
      } catch (error) {
        write(`${terminal ? '\r' : ''}  ${paint(31, '✗')}  ${name.padEnd(12)}  ${seconds()}  failed`);
        throw error;
      }
    },
    log(process, line) {
      if (!output.isTTY) return write(line);
      if (!colours.has(process)) colours.set(process, COLOURS[colours.size % COLOURS.length]!);
      write(`${paint(colours.get(process)!, process.padEnd(10))} ${readable(line)}`);
    },
    say: write,
  };
}

/** A JSON log line as a person reads it: level when it matters, message, then the other members. */
function readable(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const {
    level,
    time: _time,
    service: _service,
    msg,
    err,
    traceId: _traceId,
    spanId: _spanId,
    ...rest
  } = entry;
  const fields = Object.entries(rest).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const cause = err && typeof err === 'object' && 'message' in err ? `: ${String(err.message)}` : '';
  return [
    level === 'info' ? '' : `${String(level).toUpperCase()} `,
    String(msg ?? ''),
    cause,
    fields.length > 0 ? `  ${fields.join(' ')}` : '',
  ].join('');
}
