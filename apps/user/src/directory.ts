import { fault, userAdminV1 } from '@headroom/contracts';
import { implement } from '@headroom/rpc';
import { existingUsers, findReservations } from './repository';
import type { Shard, Shards } from './shards';
import { emailKeyOf, isEmail } from './user';

const MAX_EMAILS = 1_000;

/** Accounts by their e-mails, for other services. */
export function userDirectoryApi(shards: Shards) {
  return implement('headroom.user.v1.UserDirectoryService', userAdminV1.UserDirectoryServiceService, {
    async resolveEmails({ emails }) {
      if (emails.length > MAX_EMAILS)
        throw fault('VALIDATION_FAILED', {
          errors: [{ path: 'emails', message: `must have at most ${MAX_EMAILS} items` }],
        });
      const userIds = await resolveEmails(shards, emails);
      return {
        users: emails.flatMap((email) => {
          const userId = userIds.get(emailKeyOf(email));
          return userId === undefined ? [] : [{ email, userId }];
        }),
      };
    },
  });
}

/**
 * The user of each e-mail that an account has, by the lower-cased e-mail: at most two statements per database, however many
 * e-mails. A registration that is still under way counts once its user exists. Rejects when a database that would have to be
 * asked is away: an account is never taken for absent because nobody could look.
 */
export async function resolveEmails(shards: Shards, emails: readonly string[]): Promise<Map<string, string>> {
  const keys = [...new Set(emails.filter(isEmail).map(emailKeyOf))];
  const found = await byShard(
    shards,
    keys,
    (key) => key,
    ({ db }, mine) => findReservations(db, mine),
  );
  const unsure = found.filter(({ confirmed }) => !confirmed);
  const existing = new Set(
    await byShard(
      shards,
      unsure,
      ({ userId }) => userId,
      ({ db }, mine) =>
        existingUsers(
          db,
          mine.map(({ userId }) => userId),
        ),
    ),
  );
  return new Map(
    found
      .filter(({ confirmed, userId }) => confirmed || existing.has(userId))
      .map(({ emailKey, userId }) => [emailKey, userId]),
  );
}

/** Asks every database that holds some of `items` once, all at the same time. */
async function byShard<T, R>(
  shards: Shards,
  items: readonly T[],
  keyOf: (item: T) => string,
  ask: (shard: Shard, items: T[]) => Promise<R[]>,
): Promise<R[]> {
  const groups = new Map<Shard, T[]>();
  for (const item of items) {
    const shard = shards.of(keyOf(item));
    const group = groups.get(shard);
    if (group) group.push(item);
    else groups.set(shard, [item]);
  }
  return (await Promise.all([...groups].map(([shard, mine]) => ask(shard, mine)))).flat();
}
