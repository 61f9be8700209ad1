import { systemClock } from '@headroom/resilience';
import {
  awaitJob,
  checkSystem,
  createHttp,
  jobLines,
  signInAdmin,
  startProgress,
  UnexpectedAnswer,
  upload,
  UsageError,
  type BackgroundJob,
} from '@headroom/shop-api';
import { createReadStream, statSync } from 'node:fs';
import { readOptions } from './options';

/** `npm run import -- products FILE`: a file into the running system, with what became of each line. */
const MIB = 1024 * 1024;

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2), process.env);
  if (typeof options === 'string') {
    process.stdout.write(options);
    return 0;
  }
  const { file, kind, gateway, contentType } = options;
  const output = options.json ? process.stderr : process.stdout;
  const sizeBytes = sizeOf(file);
  await checkSystem({ gateway });
  const clock = systemClock;
  const admin = await signInAdmin(createHttp(gateway, { clock }), clock, options.admin);

  const sending = startProgress(output, 'upload', Math.ceil(sizeBytes / MIB));
  let sentBytes = 0;
  const accepted = await upload<BackgroundJob>({
    url: `${gateway}${options.path}`,
    method: 'POST',
    token: await admin.token(),
    contentType,
    body: createReadStream(file, { highWaterMark: 256 * 1024 }),
    onSent: (bytes) => sending.reach(Math.ceil((sentBytes += bytes) / MIB), 'MiB'),
  });
  if (accepted.status !== 202) throw new UnexpectedAnswer(`the upload of ${file}`, accepted);
  sending.done(`${(sizeBytes / MIB).toFixed(1)} MiB: job ${accepted.body.id}`);

  const working = startProgress(output, kind, accepted.body.total ?? 0);
  const began = clock.now();
  const job = await awaitJob(admin, accepted.body.id, {
    clock,
    onProgress: ({ processed, total, status }) => working.reach(processed, `lines, ${status}`, total ?? 0),
  });
  const seconds = Math.max(0.001, (clock.now() - began) / 1_000);
  const [summary, ...errors] = jobLines(job);
  working.done(`${summary} (${Math.round(job.processed / seconds)} lines a second)`);
  errors.forEach((line) => output.write(`${line}\n`));
  if (options.json)
    process.stdout.write(
      `${JSON.stringify({ ...job, seconds, linesPerSecond: job.processed / seconds }, null, 2)}\n`,
    );
  return job.status === 'succeeded' && job.rejected === 0 ? 0 : 1;
}

function sizeOf(file: string): number {
  try {
    const found = statSync(file);
    if (!found.isFile()) throw new UsageError(`${file} is no file`, 65);
    return found.size;
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`there is no file ${file}`, 65);
  }
}

// Not process.exit: what is written to a pipe must get through first.
main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? error.exitCode : 1;
  },
);
