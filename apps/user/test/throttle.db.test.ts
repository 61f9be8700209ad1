import { createTestShards, newEmail, PASSWORD, startUserService, type TestShards } from './harness';

let shards: TestShards;
let replicas: Array<Awaited<ReturnType<typeof startUserService>>>;
beforeAll(async () => {
  shards = await createTestShards();
  const limits = { account: { count: 3, windowMs: 900_000 }, address: { count: 8, windowMs: 900_000 } };
  const first = await startUserService({ shards, limits });
  replicas = [first, await startUserService({ shards, limits, clock: first.clock })];
});
afterAll(async () => {
  for (const replica of replicas) await replica.close();
  await shards.drop();
});

let addresses = 0;
const newAddress = () => `198.51.100.${(addresses += 1)}`;
/** The code that a try to sign in gets, or `ok`. */
const attempt = (email: string, password: string, clientAddress: string, replica = 0) =>
  replicas[replica]!.client.signIn({ email, password, clientAddress }).then(
    () => 'ok',
    (error: { code: string }) => error.code,
  );
const account = async () => (await replicas[0]!.customer()).email;
const WRONG = 'not the right one';

it('after N wrong passwords for an account from an address, over all replicas, even the right one is refused', async () => {
  const [email, address] = [await account(), newAddress()];
  for (const replica of [0, 1, 0])
    expect(await attempt(email, WRONG, address, replica)).toBe('CREDENTIALS_INVALID');
  for (const replica of [0, 1]) {
    expect(await attempt(email.toUpperCase(), PASSWORD, address, replica)).toBe('SIGN_IN_THROTTLED');
    expect(await attempt(email, WRONG, address, replica)).toBe('SIGN_IN_THROTTLED');
  }
});

it('a stranger does not lock the owner out elsewhere', async () => {
  const [email, stranger] = [await account(), newAddress()];
  for (let n = 0; n < 5; n += 1) await attempt(email, WRONG, stranger);
  expect(await attempt(email, PASSWORD, newAddress())).toBe('ok');
});

it('the window ends, as Retry-After says', async () => {
  const [email, address] = [await account(), newAddress()];
  for (let n = 0; n < 3; n += 1) await attempt(email, WRONG, address);
  const { clock, client } = replicas[0]!;
  clock.advance(600_000);
  await expect(client.signIn({ email, password: PASSWORD, clientAddress: address })).rejects.toMatchObject({
    kind: 'throttled',
    retryAfterSeconds: 300,
  });
  clock.advance(300_000);
  expect(await attempt(email, PASSWORD, address)).toBe('ok');
});

it('only wrong passwords count', async () => {
  const [email, address] = [await account(), newAddress()];
  for (let n = 0; n < 5; n += 1) expect(await attempt(email, PASSWORD, address)).toBe('ok');
  for (let n = 0; n < 3; n += 1) expect(await attempt(email, WRONG, address)).toBe('CREDENTIALS_INVALID');
});

it('an address is throttled over all accounts, known or not', async () => {
  const address = newAddress();
  const emails = [await account(), newEmail(), newEmail(), await account()];
  for (const email of emails)
    for (let n = 0; n < 2; n += 1) expect(await attempt(email, WRONG, address)).toBe('CREDENTIALS_INVALID');
  expect(await attempt(await account(), PASSWORD, address)).toBe('SIGN_IN_THROTTLED');
  expect(await attempt(newEmail(), WRONG, address)).toBe('SIGN_IN_THROTTLED');
});

it('of many tries at once exactly N are answered as wrong', async () => {
  const [email, address] = [await account(), newAddress()];
  const answers = await Promise.all(
    Array.from({ length: 16 }, (_, n) => attempt(email, WRONG, address, n % 2)),
  );
  expect(answers.filter((answer) => answer === 'CREDENTIALS_INVALID')).toHaveLength(3);
  expect(answers.filter((answer) => answer === 'SIGN_IN_THROTTLED')).toHaveLength(13);
});

it('many people who sign in at once from one address with the right password all come in', async () => {
  const address = newAddress();
  const emails = await Promise.all(Array.from({ length: 12 }, account));
  const answers = await Promise.all(emails.map((email, n) => attempt(email, PASSWORD, address, n % 2)));
  expect(answers).toEqual(emails.map(() => 'ok'));
});
