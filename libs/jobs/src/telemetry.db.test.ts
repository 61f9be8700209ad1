import { scrape, silentLogger, startTracing, inSpan } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace-base';
import { jobsMigrations, openJobs, PermanentJobError, type Jobs } from './index';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

const spans = new InMemorySpanExporter();
let tracing: Awaited<ReturnType<typeof startTracing>>;
let test: TestDatabase;
let jobs: Jobs;

beforeAll(async () => {
  tracing = await startTracing({ service: 'test', exporter: spans });
  test = await createTestDatabase(jobsMigrations());
  jobs = await openJobs({
    db: test.db,
    logger: silentLogger,
    queues: {
      mails: { retryLimit: 0, retryDelaySeconds: 1, expireInSeconds: 10, maxQueued: 10 },
      idle: { retryLimit: 0, retryDelaySeconds: 1, expireInSeconds: 10, maxQueued: 10 },
    },
  });
});
afterAll(async () => {
  await jobs.close();
  await test.drop();
  await tracing.close();
});

it('runs a job, and the steps that follow it, in the trace of the request that enqueued it', async () => {
  const traceId = await inSpan('POST /v1/admin/imports', { kind: 'server' }, async (span) => {
    await test.db.transaction((tx) => jobs.enqueue(tx, 'mails', { step: 1 }));
    return span.spanContext().traceId;
  });
  const seen: number[] = [];
  await jobs.work<{ step: number }>('mails', async ({ payload, continueWith }) => {
    seen.push(payload.step);
    if (payload.step === 1) await test.db.transaction((tx) => continueWith(tx, { step: 2 }));
    else throw new PermanentJobError('no such address');
  });
  await eventually(async () => {
    expect(seen).toEqual([1, 2]);
    await tracing.flush();
    const runs = spans.getFinishedSpans().filter((span) => span.name === 'job mails');
    expect(runs.map((span) => span.spanContext().traceId)).toEqual([traceId, traceId]);
    expect(runs[1]!.parentSpanContext?.spanId).toBe(runs[0]!.spanContext().spanId);
  });
});

it('measures how many jobs wait, run and died, and how attempts ended', async () => {
  await test.db.transaction((tx) => jobs.enqueue(tx, 'idle', {}));
  await eventually(async () => {
    const { body } = await scrape();
    for (const line of [
      'jobs_waiting{queue="idle"} 1',
      'jobs_waiting{queue="mails"} 0',
      'jobs_running{queue="mails"} 0',
      'jobs_dead{queue="mails"} 1',
      'jobs_attempts_total{queue="mails",outcome="completed"} 1',
      'jobs_attempts_total{queue="mails",outcome="dead"} 1',
      'jobs_attempt_seconds_count{queue="mails",outcome="completed"} 1',
    ])
      expect(body).toContain(line);
    expect(Number(/jobs_oldest_seconds\{queue="idle"\} (\S+)/.exec(body)?.[1])).toBeGreaterThan(0);
  });
});
