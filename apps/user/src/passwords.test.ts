import { Worker } from 'node:worker_threads';
import { isCommonPassword } from './common-passwords';
import { openPasswords } from './passwords';

it('a hash is argon2id with the parameters that were decided, and only its password matches', async () => {
  const passwords = await openPasswords({ threads: 1 });
  const hash = await passwords.hash('correct horse');
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  expect(await passwords.hash('correct horse')).not.toBe(hash);
  expect(await passwords.verify(hash, 'correct horse')).toBe(true);
  expect(await passwords.verify(hash, 'correct hors')).toBe(false);
  expect(await passwords.verify(undefined, 'correct horse')).toBe(false);
  await passwords.close();
});

it('without a hash the same work is done', async () => {
  const passwords = await openPasswords({ threads: 1 });
  const hash = await passwords.hash('correct horse');
  const times = { known: [] as number[], unknown: [] as number[] };
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
  for (let n = 0; n < 15; n += 1)
    for (const name of ['known', 'unknown'] as const) {
      const start = performance.now();
      await passwords.verify(name === 'known' ? hash : undefined, 'another');
      times[name].push(performance.now() - start);
    }
  const [known, unknown] = [median(times.known), median(times.unknown)];
  expect(unknown / known).toBeGreaterThan(0.5);
  expect(unknown / known).toBeLessThan(2);
  await passwords.close();
});

it('more than can wait are refused as overload, and the rest are served', async () => {
  const passwords = await openPasswords({ threads: 1, queue: 2 });
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => passwords.hash('correct horse')));
  expect(results.map((result) => result.status)).toEqual([
    'fulfilled',
    'fulfilled',
    'fulfilled',
    'rejected',
    'rejected',
    'rejected',
  ]);
  expect(results[5]).toMatchObject({ reason: { code: 'OVERLOADED', retryAfterSeconds: 1 } });
  await passwords.close();
});

it('a caller who has given up costs no hash', async () => {
  const passwords = await openPasswords({ threads: 1 });
  const first = passwords.hash('correct horse');
  const gaveUp = passwords.hash('correct horse', AbortSignal.abort());
  await expect(gaveUp).rejects.toMatchObject({ kind: 'timeout' });
  await first;
  await passwords.close();
});

it('the event loop goes on while passwords are hashed', async () => {
  const passwords = await openPasswords({ threads: 1 });
  let turns = 0;
  let hashing = true;
  const turn = () => {
    turns += 1;
    if (hashing) setImmediate(turn);
  };
  turn();
  await Promise.all(Array.from({ length: 3 }, () => passwords.hash('correct horse')));
  hashing = false;
  expect(turns).toBeGreaterThan(100);
  await passwords.close();
});

it('a thread that dies fails its own job and is replaced', async () => {
  const started: Worker[] = [];
  const emit = jest.spyOn(Worker.prototype, 'postMessage').mockImplementationOnce(function (this: Worker) {
    started.push(this);
    void this.terminate();
  });
  await expect(openPasswords({ threads: 1 })).rejects.toMatchObject({ code: 'OVERLOADED' });
  emit.mockRestore();
  expect(started).toHaveLength(1);
  const passwords = await openPasswords({ threads: 1 });
  const kill = jest.spyOn(Worker.prototype, 'postMessage').mockImplementationOnce(function (this: Worker) {
    void this.terminate();
  });
  await expect(passwords.hash('correct horse')).rejects.toMatchObject({ code: 'OVERLOADED' });
  kill.mockRestore();
  expect(await passwords.hash('correct horse')).toContain('argon2id');
  await passwords.close();
});

it.each([
  '12345678',
  '87654321',
  'password1',
  'Password2024!',
  'qwertyuiop',
  'AAAAAAAA',
  'abcabcabc',
  'Summer2025',
  '19840312',
])('%s is common', (password) => expect(isCommonPassword(password)).toBe(true));

it.each([
  'correct horse battery staple',
  'a-long-enough-password',
  'Tr0ub4dor&3',
  'passwordless future',
  'kX9#mq2Lw',
])('%s is not', (password) => expect(isCommonPassword(password)).toBe(false));
