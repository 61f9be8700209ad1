import { fault } from '@headroom/contracts';
import { writeOutbox } from '@headroom/messaging';
import { CommitUnknown } from '@headroom/postgres';
import { uuidv7, type Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { userEvent } from './events';
import {
  confirmReservation,
  fenceUser,
  findReservation,
  findUser,
  insertUser,
  releaseReservation,
  reserveEmail,
  staleReservations,
  takeOverReservation,
  type Reservation,
  type StoredUser,
} from './repository';
import { logicalShardOf, type Shard, type Shards } from './shards';
import { emailKeyOf, isEmail, type Role, type Tier } from './user';

export interface Registration {
  /** The new user. Throws `EMAIL_TAKEN`; after any other fault the same call may be repeated. */
  register(account: {
    email: string;
    name: string;
    passwordHash: string;
    role?: Role;
    tier?: Tier;
  }): Promise<StoredUser>;
  /** True for an e-mail whose user is known to exist; cheap, so that a password need not be hashed in vain. */
  isTaken(email: string): Promise<boolean>;
  /** The user that has this e-mail, whatever its case. The cost does not tell whether there is one. */
  findByEmail(email: string): Promise<StoredUser | undefined>;
  /** Clears up what registrations that died have left in one database; the number of reservations settled. */
  settleStale(shard: Shard, limit: number): Promise<number>;
}

/**
 * An e-mail is unique over databases that know nothing of each other, and no process can commit in two at once. So:
 *
 * 1. reserve: a row under the e-mail's own shard names the id that the user will have;
 * 2. insert: the user, in the shard of that id, with its event;
 * 3. confirm: the row is the user's for good.
 *
 * A registration may die between any two of them. After 2 the user exists: whoever finds the unconfirmed row looks for the user
 * and confirms. After 1 it does not; the row may be taken over once it is older than the lease. But the one that made it may
 * only be slow: its id is fenced by a tombstone first, in the user's own shard, after which step 2 cannot succeed for it. The
 * lease decides how long an e-mail stays blocked, never whether it stays unique.
 */
export function createRegistration(deps: {
  shards: Shards;
  clock: Clock;
  logger: Logger;
  /** How long a registration may take before another may claim its e-mail, default 15,000 ms. */
  leaseMs?: number;
}): Registration {
  const { shards, clock, logger, leaseMs = 15_000 } = deps;
  const now = () => new Date(clock.now());
  const isStale = (reservation: Reservation) => reservation.reservedAt.getTime() + leaseMs <= clock.now();

  const fence = ({ userId }: Reservation) =>
    shards.of(userId).db.transaction((tx) => fenceUser(tx, userId), { retry: true });

  const reserve = async (emailKey: string, userId: string) => {
    const { db } = shards.of(emailKey);
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      if (await reserveEmail(db, { emailKey, logical: logicalShardOf(emailKey), userId, now: now() })) return;
      const holder = await findReservation(db, emailKey);
      if (!holder) continue; // given up in between
      if (holder.confirmed || !isStale(holder)) throw fault('EMAIL_TAKEN');
      if (!(await fence(holder))) {
        await confirmReservation(db, emailKey, holder.userId);
        throw fault('EMAIL_TAKEN');
      }
      if (await takeOverReservation(db, holder, { userId, now: now() })) return;
    }
    throw fault('EMAIL_TAKEN');
  };

  return {
    async register({ email, name, passwordHash, role = 'customer', tier = 'free' }) {
      const emailKey = emailKeyOf(email);
      const reservations = shards.of(emailKey).db;
      const id = uuidv7(clock.now());
      await reserve(emailKey, id);
      const user: StoredUser = {
        id,
        email,
        name,
        role,
        tier,
        disabled: false,
        version: 1n,
        createdAt: now(),
        passwordHash,
      };
      const home = shards.of(id);
      let inserted: boolean;
      try {
        inserted = await home.db.transaction(
          async (tx) => {
            if (!(await insertUser(tx, user, logicalShardOf(id)))) return false;
            await writeOutbox(tx, [userEvent('headroom.user.registered', user, clock)], home.wake);
            return true;
          },
          { retry: true },
        );
      } catch (error) {
        // Without an answer to the commit the user may exist; otherwise it does not, and the next try need not wait for the lease.
        if (!(error instanceof CommitUnknown))
          await releaseReservation(reservations, emailKey, id).catch(() => undefined);
        throw error;
      }
      if (!inserted) throw fault('EMAIL_TAKEN'); // fenced: this took longer than the lease, and another has the e-mail
      await confirmReservation(reservations, emailKey, id).catch((error: unknown) =>
        logger.warn('a reservation was not confirmed: it will be when it is next met', {
          err: error,
          userId: id,
        }),
      );
      return user;
    },

    async isTaken(email) {
      const emailKey = emailKeyOf(email);
      return (await findReservation(shards.of(emailKey).db, emailKey))?.confirmed === true;
    },

    async findByEmail(email) {
      if (!isEmail(email)) return undefined;
      const emailKey = emailKeyOf(email);
      const reservation = await findReservation(shards.of(emailKey).db, emailKey);
      const userId = reservation?.userId ?? uuidv7(clock.now()); // nobody's: as many statements for an unknown e-mail
      return findUser(shards.of(userId).db, userId);
    },

    async settleStale({ db }, limit) {
      const stale = await staleReservations(db, new Date(clock.now() - leaseMs), limit);
      for (const reservation of stale) {
        const { emailKey, userId } = reservation;
        if (await fence(reservation)) await releaseReservation(db, emailKey, userId);
        else await confirmReservation(db, emailKey, userId);
      }
      return stale.length;
    },
  };
}
