import { activityEvent } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually, ManualClock } from '@headroom/testing';
import { startActivityBuffer, type PublishableActivity } from './activity';

const clock = new ManualClock();
const activity = () =>
  activityEvent({
    id: uuidv7(),
    time: new Date(clock.now()).toISOString(),
    data: { type: 'view', productId: uuidv7(), userId: null, guestId: 'guest' },
  });

/** A log that writes nothing while it is away. */
function someLog() {
  const written: PublishableActivity[] = [];
  const batches: number[] = [];
  let away = false;
  return {
    written,
    batches,
    leave: (gone: boolean) => void (away = gone),
    async publish(activities: readonly PublishableActivity[]) {
      if (away) throw new Error('away');
      written.push(...activities);
      batches.push(activities.length);
    },
  };
}

it('writes what it has taken within half a second, in order, as one batch', async () => {
  const log = someLog();
  const buffer = startActivityBuffer({ ...log, logger: silentLogger, clock });
  await new Promise((resolve) => setImmediate(resolve)); // the first round has found nothing
  const taken = [activity(), activity(), activity()];
  for (const each of taken) buffer.take(each);
  clock.advance(499);
  await new Promise((resolve) => setImmediate(resolve));
  expect(log.written).toEqual([]);
  clock.advance(1);
  await eventually(() => expect(log.written).toEqual(taken));
  expect(log.batches).toEqual([3]);
  await buffer.close();
});

it('writes a full batch at once, without the time passing', async () => {
  const log = someLog();
  const buffer = startActivityBuffer({ ...log, logger: silentLogger, clock });
  for (let count = 0; count < 1_100; count += 1) buffer.take(activity());
  await eventually(() => expect(log.batches.slice(0, 2)).toEqual([500, 500]));
  await buffer.close();
  expect(log.written).toHaveLength(1_100);
});

it('refuses when full instead of growing, keeps trying while the log is away, and loses nothing of what it took', async () => {
  const log = someLog();
  log.leave(true);
  const buffer = startActivityBuffer({ ...log, logger: silentLogger, clock, capacity: 700 });
  const taken = Array.from({ length: 700 }, activity);
  for (const each of taken) buffer.take(each);
  expect(() => buffer.take(activity())).toThrow(
    expect.objectContaining({ code: 'OVERLOADED', retryAfterSeconds: 1 }),
  );
  for (let round = 0; round < 5; round += 1) {
    clock.advance(6_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  log.leave(false);
  await eventually(() => {
    clock.advance(6_000);
    expect(log.written).toEqual(taken);
  });
  buffer.take(activity());
  await buffer.close();
  expect(log.written).toHaveLength(701);
});

it('writes everything before it ends, and takes nothing more', async () => {
  const log = someLog();
  const buffer = startActivityBuffer({ ...log, logger: silentLogger, clock });
  for (let count = 0; count < 1_234; count += 1) buffer.take(activity());
  await buffer.close();
  expect(log.written).toHaveLength(1_234);
  expect(() => buffer.take(activity())).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
});

it('ends in bounded time when the log stays away, and says how many it lost', async () => {
  const log = someLog();
  log.leave(true);
  const errors: unknown[] = [];
  const logger = {
    ...silentLogger,
    error: (message: string, fields?: object) => errors.push([message, fields]),
  };
  const buffer = startActivityBuffer({ ...log, logger, clock, closeMs: 1_000 });
  buffer.take(activity());
  const closed = buffer.close();
  let done = false;
  void closed.then(() => (done = true));
  await eventually(() => {
    clock.advance(250);
    expect(done).toBe(true);
  });
  expect(errors).toEqual([[expect.stringContaining('lost'), expect.objectContaining({ count: 1 })]]);
});
