/** How far a phase has come. */
export interface Progress {
  /** One more is done; `note` is shown behind the count. */
  step(note?: string): void;
  /** So many are done in all, of a total that may have become known meanwhile. */
  reach(count: number, note?: string, total?: number): void;
  /** Ends the phase with one line. */
  done(note: string): void;
}

const BAR = 24;

/**
 * Shows a phase of `total` steps (0: not known): a bar that is drawn anew on a terminal, elsewhere a line per tenth (or every
 * ten seconds), at most one a second. `nowMs` is for tests.
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
  const counted = () => (total > 0 ? `${count}/${total}` : String(count));
  const draw = (note: string) => {
    const filled = Math.round((Math.min(count, total) / Math.max(total, 1)) * BAR);
    const bar = total > 0 ? `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ` : '';
    output.write(`\r  …  ${name.padEnd(12)} ${bar}${counted()} ${note}\x1b[K`);
  };
  if (output.isTTY) draw('');
  const progress: Progress = {
    step: (note) => progress.reach(count + 1, note),
    reach(reached, note = '', of = total) {
      count = reached;
      total = of;
      if (output.isTTY) {
        if (nowMs() - drawnAt < 100 && count < total) return;
        drawnAt = nowMs();
        draw(note);
        return;
      }
      const reachedTenth =
        total > 0 ? Math.floor((count / total) * 10) : Math.floor((nowMs() - began) / 10_000);
      if (reachedTenth <= tenth || count === total || nowMs() - drawnAt < 1_000) return;
      drawnAt = nowMs();
      tenth = reachedTenth;
      output.write(`     ${name.padEnd(12)} ${seconds()}  ${counted()} ${note}\n`);
    },
    done(note) {
      output.write(
        `${output.isTTY ? '\r' : ''}  ✓  ${name.padEnd(12)} ${seconds()}  ${note}${output.isTTY ? '\x1b[K' : ''}\n`,
      );
    },
  };
  return progress;
}
