/** How far a phase has come. */
export interface Progress {
  /** One more is done; `note` is shown behind the count. */
  step(note?: string): void;
  /** Ends the phase with one line. */
  done(note: string): void;
}

const BAR = 24;

/**
 * Shows a phase of `total` steps: a bar that is drawn anew on a terminal, elsewhere a line per tenth, at most one a second. `nowMs` is for tests.
 */
export function startProgress(
  output: { isTTY?: boolean; write(text: string): unknown },
  name: string,
  total: number,
  nowMs: () => number = () => performance.now(),
): Progress {
  const began = nowMs();
  let count = 0;
  let drawnAt = output.isTTY ? -Infinity : began;
  let tenth = 0;
  const seconds = () => `${((nowMs() - began) / 1_000).toFixed(1).padStart(6)} s`;
  const draw = (note: string) => {
    const filled = Math.round((count / Math.max(total, 1)) * BAR);
    output.write(
      `\r  …  ${name.padEnd(12)} ${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${count}/${total} ${note}\x1b[K`,
    );
  };
  if (output.isTTY) draw('');
  return {
    step(note = '') {
      count += 1;
      if (output.isTTY) {
        if (nowMs() - drawnAt < 100 && count < total) return;
        drawnAt = nowMs();
        draw(note);
      } else if (count < total && Math.floor((count / total) * 10) > tenth && nowMs() - drawnAt >= 1_000) {
        drawnAt = nowMs();
        tenth = Math.floor((count / total) * 10);
        output.write(`     ${name.padEnd(12)} ${seconds()}  ${count}/${total} ${note}\n`);
      }
    },
    done(note) {
      output.write(
        `${output.isTTY ? '\r' : ''}  ✓  ${name.padEnd(12)} ${seconds()}  ${note}${output.isTTY ? '\x1b[K' : ''}\n`,
      );
    },
  };
}
