import { CommitUnknown, sql, type Database, type Statement, type Tx } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { ManualClock } from '@headroom/testing';
import { createRegistration, type Registration } from '../src/registration';
import { fenceUser, findReservation, insertUser, type StoredUser } from '../src/repository';
import { logicalShardOf, type Shards } from '../src/shards';
import { emailKeyOf } from '../src/user';
import { createTestShards, eventsOf, newEmail, shardsOf, type TestShards } from './harness';

const LEASE_MS = 15_000;
const clock = new ManualClock(Date.now());
let shards: TestShards;
let registration: Registration;
beforeAll(async () => {
  shards = await createTestShards();
  registration = registrationOver(shards);
});
afterAll(() => shards.drop());

const registrationOver = (over: Shards) =>
  createRegistration({ shards: over, clock, logger: silentLogger, leaseMs: LEASE_MS });
const register = (email: string, by = registration) =>
  by.register({ email, name: 'Ada', passwordHash: 'hash' });

/** The users that have this e-mail, over all databases; whatever happens there is at most one. */
async function usersWith(email: string): Promise<string[]> {
  const found = await Promise.all(
    shards.all.map(({ db }) =>
      db.rows<{ id: string }>(
        sql('test.users')`select id from users where lower(email) = ${emailKeyOf(email)}`,
      ),
    ),
  );
  return found.flat().map((row) => row.id);
}
const reservationOf = (email: string) => findReservation(shards.of(emailKeyOf(email)).db, emailKeyOf(email));

/** Databases that `before` is asked about each step of: a statement, the begin or the commit of a transaction, what follows it. */
function watched(before: (step: string) => Promise<void> | void): Shards {
  const watch = (queryable: Pick<Tx, 'rows' | 'row' | 'execute'>) => {
    const step =
      <T>(use: (statement: Statement) => Promise<T>) =>
      async (statement: Statement) => {
        await before(statement.name);
        return use(statement);
      };
    return {
      rows: <Row>(statement: Statement) => step((each) => queryable.rows<Row>(each))(statement),
      row: <Row>(statement: Statement) => step((each) => queryable.row<Row>(each))(statement),
      execute: step((each) => queryable.execute(each)),
    };
  };
  return shardsOf(
    shards.all.map(({ db }): Database => ({
      ...db,
      ...watch(db),
      async transaction(work, options) {
        await before('begin');
        const result = await db.transaction(async (tx) => {
          const done = await work({ ...watch(tx), afterCommit: tx.afterCommit });
          await before('commit');
          return done;
        }, options);
        await before('committed');
        return result;
      },
    })),
  );
}

/** A registration whose process dies before its step number `steps` (from 0): from then on nothing works for it. */
function mortal(steps: number): { registration: Registration; died: () => boolean } {
  let left = steps;
  const over = watched(() => {
    left -= 1;
    if (left < 0) throw new Error('this process is dead');
  });
  return { registration: registrationOver(over), died: () => left < 0 };
}

it('of any number of registrations of one e-mail at once, in any case, exactly one succeeds', async () => {
  for (let round = 0; round < 5; round += 1) {
    const email = newEmail();
    const results = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) =>
        register(n % 2 ? email : email.toUpperCase(), registrationOver(shards)),
      ),
    );
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'EMAIL_TAKEN' });
    expect(await usersWith(email)).toHaveLength(1);
    expect(await reservationOf(email)).toMatchObject({ confirmed: true });
  }
});

it('a registration that dies at any step leaves the user whole or absent, and the e-mail free after the lease', async () => {
  const outcomes = { whole: 0, absent: 0 };
  for (let steps = 0; ; steps += 1) {
    const email = newEmail();
    const { registration: dying, died } = mortal(steps);
    const first = await register(email, dying).catch(() => undefined);
    if (!died()) break;

    const [id] = await usersWith(email);
    expect((await registration.findByEmail(email))?.id).toBe(id);
    if (id) {
      outcomes.whole += 1;
      expect(await eventsOf(shards, id)).toHaveLength(1);
      await expect(register(email)).rejects.toMatchObject({ code: 'EMAIL_TAKEN' });
    } else {
      outcomes.absent += 1;
      expect(first).toBeUndefined();
    }
    clock.advance(LEASE_MS);
    if (id) await expect(register(email)).rejects.toMatchObject({ code: 'EMAIL_TAKEN' });
    else await register(email);
    expect(await usersWith(email)).toHaveLength(1);
    expect(await reservationOf(email)).toMatchObject({
      confirmed: true,
      userId: (await usersWith(email))[0],
    });
  }
  expect(outcomes.absent).toBeGreaterThanOrEqual(5);
  expect(outcomes.whole).toBeGreaterThanOrEqual(2);
});

it('a take-over that dies at any step is taken over in its turn', async () => {
  for (let steps = 0; ; steps += 1) {
    const email = newEmail();
    await register(email, mortal(1).registration).catch(() => undefined); // reserved, no more
    expect(await reservationOf(email)).toMatchObject({ confirmed: false });
    clock.advance(LEASE_MS);
    const { registration: dying, died } = mortal(steps);
    await register(email, dying).catch(() => undefined);
    clock.advance(LEASE_MS);
    await register(email).catch((error: unknown) => expect(error).toMatchObject({ code: 'EMAIL_TAKEN' }));
    expect(await usersWith(email)).toHaveLength(1);
    if (!died()) break;
  }
});

it('a registration that was only slow cannot insert its user once its e-mail was taken over', async () => {
  const email = newEmail();
  let arrived!: () => void;
  let resume!: () => void;
  const atInsert = new Promise<void>((resolve) => (arrived = resolve));
  const resumed = new Promise<void>((resolve) => (resume = resolve));
  const slow = registrationOver(
    watched(async (step) => {
      if (step !== 'begin') return;
      arrived();
      await resumed;
    }),
  );
  const zombie = register(email, slow);
  await atInsert;
  clock.advance(LEASE_MS);
  const heir = await register(email);
  resume();
  await expect(zombie).rejects.toMatchObject({ code: 'EMAIL_TAKEN' });
  expect(await usersWith(email)).toEqual([heir.id]);
});

it('within the lease an e-mail under registration is taken; a registration that failed for certain frees it at once', async () => {
  const email = newEmail();
  await register(email, mortal(1).registration).catch(() => undefined);
  clock.advance(LEASE_MS - 1);
  await expect(register(email)).rejects.toMatchObject({ code: 'EMAIL_TAKEN' });

  const another = newEmail();
  const failing = registrationOver(
    watched((step) => {
      if (step === 'user.insert') throw new Error('the disk is full');
    }),
  );
  await expect(register(another, failing)).rejects.toThrow('the disk is full');
  await register(another);
});

it('a user whose commit was not answered is found, and its e-mail is not given away', async () => {
  const email = newEmail();
  const unanswered = registrationOver(
    watched((step) => {
      if (step === 'committed') throw new CommitUnknown('user', new Error('connection lost'));
    }),
  );
  await expect(register(email, unanswered)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  expect((await registration.findByEmail(email))?.email).toBe(email);
  clock.advance(LEASE_MS);
  await expect(register(email)).rejects.toMatchObject({ code: 'EMAIL_TAKEN' });
  expect(await usersWith(email)).toHaveLength(1);
});

it('inserting and fencing one id exclude each other', async () => {
  for (let round = 0; round < 40; round += 1) {
    const id = uuidv7();
    const { db } = shards.of(id);
    const user: StoredUser = {
      id,
      email: newEmail(),
      name: 'Ada',
      role: 'customer',
      tier: 'free',
      disabled: false,
      version: 1n,
      createdAt: new Date(),
      passwordHash: 'hash',
    };
    const [inserted, fenced] = await Promise.all([
      db.transaction((tx) => insertUser(tx, user, logicalShardOf(id))),
      db.transaction((tx) => fenceUser(tx, id)),
    ]);
    expect([inserted, fenced].filter(Boolean)).toHaveLength(1);
  }
});

it('housekeeping settles what dead registrations left: confirms users that exist, frees the e-mails of others', async () => {
  const [absent, present] = [newEmail(), newEmail()];
  await register(absent, mortal(1).registration).catch(() => undefined);
  const unconfirmed = registrationOver(
    watched((step) => {
      if (step === 'user.email.confirm') throw new Error('this process is dead');
    }),
  );
  await register(present, unconfirmed);
  expect(await reservationOf(present)).toMatchObject({ confirmed: false });
  clock.advance(LEASE_MS + 1);
  for (const shard of shards.all) while ((await registration.settleStale(shard, 2)) > 0);
  expect(await reservationOf(absent)).toBeUndefined();
  expect(await reservationOf(present)).toMatchObject({ confirmed: true });
});

it('users and e-mails are spread over all databases', async () => {
  for (let count = 0; count < 60; count += 1) await register(newEmail());
  for (const { db } of shards.all) {
    const row = await db.row<{ users: number; emails: number }>(sql('test.spread')`
      select (select count(*)::int from users) as users, (select count(*)::int from email_reservations) as emails`);
    expect(row!.users).toBeGreaterThan(10);
    expect(row!.emails).toBeGreaterThan(10);
  }
});
