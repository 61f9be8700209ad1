import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, ManualClock, type TestDatabase } from '@headroom/testing';
import { jobsMigrations } from './migrations';
import { resolveQueue, type Queue } from './queues';
import { startSchedules } from './schedules';

jest.setTimeout(30_000); // `eventually` waits for up to 10 s on a busy machine

const MINUTE = 60_000;
const queue = resolveQueue('digest', {
  retryLimit: 0,
  retryDelaySeconds: 1,
  expireInSeconds: 10,
  maxQueued: 1,
  cron: '* * * * *',
}) as Queue & { cron: string };

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase(jobsMigrations());
});
afterAll(() => test.drop());

it('leaves a tick to the replica that has begun it, however long its commit takes', async () => {
  let looked = 0;
  const replica = async (enqueue: () => Promise<void>) => {
    const clock = new ManualClock();
    const db = {
      ...test.db,
      transaction: (async (work, options) => {
        const result = await test.db.transaction(work, options);
        looked += 1;
        return result;
      }) as typeof test.db.transaction,
    };
    const nextTick = (_cron: string, afterMs: number) => (Math.floor(afterMs / MINUTE) + 1) * MINUTE;
    const schedules = await startSchedules({
      db,
      queues: [queue],
      nextTick,
      enqueue,
      clock,
      logger: silentLogger,
    });
    return { clock, schedules };
  };
  const made: string[] = [];
  let commit = () => {};
  const slow = await replica(async () => {
    made.push('slow');
    await new Promise<void>((resolve) => (commit = resolve));
  });
  const quick = await replica(async () => void made.push('quick'));
  await eventually(() => expect(looked).toBe(2));

  slow.clock.advance(MINUTE);
  await eventually(() => expect(made).toEqual(['slow']));
  quick.clock.advance(MINUTE);
  await eventually(() => expect(looked).toBeGreaterThanOrEqual(3));
  await quick.schedules.close(); // its look is over
  commit();
  await slow.schedules.close();
  expect(made).toEqual(['slow']);
});
