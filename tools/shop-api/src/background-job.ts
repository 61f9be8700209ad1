import type { Clock } from '@headroom/resilience';
import type { Account } from './account';
import { UnexpectedAnswer } from './http';

/** A job as the API shows it to an admin. */
export interface BackgroundJob {
  id: string;
  type: string;
  status: 'queued' | 'running' | 'succeeded' | 'failed';
  processed: number;
  total: number | null;
  created: number;
  updated: number;
  unchanged: number;
  rejected: number;
  errors: Array<{ line: number; code: string; reason: string }>;
  createdAt: string;
  finishedAt: string | null;
}

/** Asks for a job until it has ended, more and more seldom. */
export async function awaitJob(
  admin: Account,
  id: string,
  options: { clock: Clock; onProgress?(job: BackgroundJob): void },
): Promise<BackgroundJob> {
  for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 1.5, 1_000)) {
    const answer = await admin.call<BackgroundJob>('GET', `/v1/admin/jobs/${id}`);
    if (answer.status !== 200) throw new UnexpectedAnswer(`job ${id}`, answer);
    options.onProgress?.(answer.body);
    if (answer.body.status === 'succeeded' || answer.body.status === 'failed') return answer.body;
    await options.clock.sleep(pauseMs);
  }
}

/** What became of a job, for a person: its counts, and the first errors. */
export function jobLines(job: BackgroundJob, most = 10): string[] {
  const { processed, created, updated, unchanged, rejected, errors } = job;
  return [
    `${job.status}: ${processed} processed, ${created} created, ${updated} updated, ${unchanged} unchanged, ${rejected} rejected`,
    ...errors
      .slice(0, most)
      .map(({ line, code, reason }) => `  ✗  ${line > 0 ? `line ${line}: ` : ''}${code}: ${reason}`),
    ...(rejected > most
      ? [`     and ${rejected - Math.min(most, errors.length)} more; --json lists the first 1,000`]
      : []),
  ];
}
