import { fault, type userV1 } from '@headroom/contracts';
import { writeOutbox } from '@headroom/messaging';
import { Fault, isUuidv7, type Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { userEvent } from './events';
import type { Passwords } from './passwords';
import type { Registration } from './registration';
import { findUser, findUserForUpdate, updateUser } from './repository';
import type { Sessions } from './sessions';
import type { Shards } from './shards';
import { changeUser, checkRegistration, normalizePassword, type User, type UserChange } from './user';

export interface Accounts {
  /** Throws `VALIDATION_FAILED`, `PASSWORD_TOO_COMMON`, `EMAIL_TAKEN`. */
  register(request: userV1.RegisterRequest, signal?: AbortSignal): Promise<User>;
  /** Throws `NOT_FOUND`, also for what is not an id. */
  get(userId: string): Promise<User>;
  findByEmail(email: string): Promise<User | undefined>;
  /**
   * Changes a user, with its event and what that means for its sessions, in one transaction. Throws `NOT_FOUND`, and
   * `VERSION_MISMATCH` when the user is no longer as `ifVersion` had it.
   */
  change(userId: string, change: UserChange, ifVersion?: bigint): Promise<User>;
  /**
   * Makes sure that this admin exists, however many replicas do so at once. A user who has the e-mail and is no admin becomes
   * one with this password, and loses its sessions: it may be a stranger who guessed the address.
   */
  ensureAdmin(admin: { email: string; password: string }): Promise<void>;
}

/** Accounts of users, over all shards. */
export function createAccounts(deps: {
  shards: Shards;
  registration: Registration;
  passwords: Passwords;
  sessions: Pick<Sessions, 'follow'>;
  clock: Clock;
  logger: Logger;
}): Accounts {
  const { shards, registration, passwords, sessions, clock, logger } = deps;

  const register: Accounts['register'] = async (request, signal) => {
    checkRegistration(request);
    const { email, name } = request;
    if (await registration.isTaken(email)) throw fault('EMAIL_TAKEN');
    const passwordHash = await passwords.hash(normalizePassword(request.password), signal);
    return registration.register({ email, name, passwordHash });
  };

  /** One transaction under the user's lock; a new password comes with a change only. */
  const apply = async (
    userId: string,
    change: UserChange,
    options: { ifVersion?: bigint; passwordHash?: string },
  ) => {
    const shard = shards.of(userId);
    return shard.db.transaction(
      async (tx) => {
        const current = await findUserForUpdate(tx, userId);
        if (!current) throw fault('NOT_FOUND');
        if (options.ifVersion !== undefined && options.ifVersion !== current.version)
          throw fault('VERSION_MISMATCH');
        const changed = changeUser(current, change);
        if (!changed) return current;
        const { passwordHash = current.passwordHash } = options;
        await updateUser(tx, { ...changed.user, passwordHash });
        await sessions.follow(tx, userId, passwordHash === current.passwordHash ? changed.sessions : 'end');
        await writeOutbox(tx, [userEvent('headroom.user.updated', changed.user, clock)], shard.wake);
        return changed.user;
      },
      { retry: true },
    );
  };

  const find = (userId: string) => findUser(shards.of(userId).db, userId);

  return {
    register,

    async get(userId) {
      const user = isUuidv7(userId) ? await find(userId) : undefined;
      if (!user) throw fault('NOT_FOUND');
      return user;
    },

    findByEmail: (email) => registration.findByEmail(email),

    async change(userId, change, ifVersion) {
      if (!isUuidv7(userId)) throw fault('NOT_FOUND');
      return apply(userId, change, ifVersion === undefined ? {} : { ifVersion });
    },

    async ensureAdmin({ email, password }) {
      // Another replica, or one that died here a moment ago, may hold the e-mail for as long as a lease.
      for (let attempt = 1; ; attempt += 1) {
        const user = await registration.findByEmail(email);
        if (user?.role === 'admin') return;
        const passwordHash = await passwords.hash(normalizePassword(password));
        try {
          if (user) await apply(user.id, { role: 'admin' }, { ifVersion: user.version, passwordHash });
          else
            await registration.register({
              email,
              name: 'Administrator',
              passwordHash,
              role: 'admin',
              tier: 'enterprise', // who fills a shop sends more than who visits it
            });
          logger.info('the admin was made', user ? { userId: user.id } : {});
          return;
        } catch (error) {
          const raced = error instanceof Fault && ['EMAIL_TAKEN', 'VERSION_MISMATCH'].includes(error.code);
          if (!raced || attempt >= 40) throw error;
          await clock.sleep(500);
        }
      }
    },
  };
}
