import { fault } from '@headroom/contracts';
import { isUuidv7, type Fault } from '@headroom/resilience';

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;
const MAX_REPORT_DAYS = 3_660;
const DAY_MS = 24 * 3_600_000;

/** The fault of a request whose field `path` is wrong. */
export const invalid = (path: string, message: string): Fault =>
  fault('VALIDATION_FAILED', { detail: `${path} ${message}`, errors: [{ path, message }] });

/** The number of items asked for; 0 stands for the default. */
export function limitOf(limit: number): number {
  if (limit === 0) return DEFAULT_LIMIT;
  if (limit < 1 || limit > MAX_LIMIT) throw invalid('limit', `must be from 1 to ${MAX_LIMIT}`);
  return limit;
}

/** The id that a list goes on after; undefined: from the newest. */
export function afterIdOf(afterId: string): string | undefined {
  if (afterId === '') return undefined;
  if (!isUuidv7(afterId)) throw fault('CURSOR_INVALID');
  return afterId;
}

/** Throws unless `from` and `to` are days, in this order, and not more than ten years apart. */
export function checkDays({ from, to }: { from: string; to: string }): void {
  const days = (dayMs('to', to) - dayMs('from', from)) / DAY_MS;
  if (days <= 0) throw invalid('to', 'must be later than from');
  if (days > MAX_REPORT_DAYS) throw invalid('to', `must be at most ${MAX_REPORT_DAYS} days after from`);
}

/** The start of a day in UTC, in milliseconds since the Unix epoch. */
function dayMs(path: string, day: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(day) ? Date.parse(`${day}T00:00:00.000Z`) : NaN;
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== day)
    throw invalid(path, 'must be a day such as 2026-01-31');
  return ms;
}
