import { fault, userAdminV1 } from '@headroom/contracts';
import type { ListTotal } from '@headroom/postgres';
import { isUuidv7 } from '@headroom/resilience';
import { implement } from '@headroom/rpc';
import { userReply } from './api';
import { countMails, countUsers, listMails, listUsers } from './repository';
import type { Shards } from './shards';
import type { User } from './user';

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;
const EXACT_TOTAL = 10_000n;

/** Lists for the admin. */
export function userAdminApi({ shards }: { shards: Shards }) {
  const home = shards.all[0]!.db;
  return implement('headroom.user.v1.UserAdminService', userAdminV1.UserAdminServiceService, {
    async listUsers(request, call) {
      await call.admin();
      const { limit, afterId } = pageOf(request);
      const users = await newestUsers(shards, { limit: limit + 1, afterId });
      return {
        users: users.slice(0, limit).map(userReply),
        more: users.length > limit,
        ...(request.includeTotal ? await countAllUsers(shards) : {}),
      };
    },

    async listMails(request, call) {
      await call.admin();
      const { limit, afterId } = pageOf(request);
      const mails = await listMails(home, { to: request.to, limit: limit + 1, afterId });
      return {
        mails: mails.slice(0, limit).map(({ createdAt, ...mail }) => ({
          ...mail,
          createdAt: createdAt.toISOString(),
        })),
        more: mails.length > limit,
        ...(request.includeTotal ? await countMails(home, request.to) : {}),
      };
    },
  });
}

/**
 * The newest users of all databases, by their ids, which carry their time: each database gives its own newest, and the newest
 * of those are the answer. Rejects when one is away: a list never silently lacks the users of a database.
 */
async function newestUsers(
  shards: Shards,
  page: { limit: number; afterId: string | undefined },
): Promise<User[]> {
  const lists = await Promise.all(shards.all.map(({ db }) => listUsers(db, page)));
  return lists
    .flat()
    .sort((one, other) => (one.id < other.id ? 1 : -1))
    .slice(0, page.limit);
}

async function countAllUsers(shards: Shards): Promise<ListTotal> {
  const counts = await Promise.all(shards.all.map(({ db }) => countUsers(db)));
  const total = counts.reduce((sum, each) => sum + each.total, 0n);
  return { total, totalIsEstimate: total > EXACT_TOTAL || counts.some((each) => each.totalIsEstimate) };
}

/** Throws `VALIDATION_FAILED` for a limit or a place that there is not. */
function pageOf(request: { limit: number; afterId: string }): { limit: number; afterId: string | undefined } {
  const { limit, afterId } = request;
  if (limit < 0 || limit > MAX_LIMIT)
    throw fault('VALIDATION_FAILED', {
      errors: [{ path: 'limit', message: `must be from 1 to ${MAX_LIMIT}` }],
    });
  if (afterId !== '' && !isUuidv7(afterId))
    throw fault('VALIDATION_FAILED', { errors: [{ path: 'afterId', message: 'must be an id of the list' }] });
  return { limit: limit === 0 ? DEFAULT_LIMIT : limit, afterId: afterId === '' ? undefined : afterId };
}
