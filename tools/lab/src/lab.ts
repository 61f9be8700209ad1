import type { ParseArgsConfig } from 'node:util';

/** An experiment that shows one technique's figure, by the id of its row in docs/techniques.md. */
export interface Lab {
  id: string;
  title: string;
  options: NonNullable<ParseArgsConfig['options']>;
  run(context: {
    values: Record<string, unknown>;
    /** Says how it goes, for a person who waits. */
    say(line: string): void;
  }): Promise<LabResult>;
}

export interface LabResult {
  /** One row per thing compared; the members are the columns. */
  table: Array<Record<string, string | number>>;
  /** All figures, for scripts. */
  result: unknown;
  summary: string;
  passed: boolean;
}
