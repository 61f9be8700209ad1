import { sql, type Queryable } from '@headroom/postgres';
import type { EventLog } from './event-log';

/**
 * How many events of the topics the readers behind `groupPrefix` have not handled yet: what a bulk writer paces itself by. A
 * reader that is rebuilt has a second group for a while (`projector.products.v1`, `.v2`), which starts at the beginning of the
 * log; the group that is furthest ahead is the one that is read, so its lag counts. 0 when there is no such group: nobody
 * waits. Events that still stand in an outbox are not in the log: `countUnpublished` adds those.
 */
export async function lagOf(log: EventLog, groupPrefix: string, topics: readonly string[]): Promise<number> {
  const groups = await log.groups(groupPrefix);
  const lags = await Promise.all(
    groups.map(async (group) => {
      const positions = await log.positions(group, topics);
      return positions.reduce((sum, { committed, end }) => sum + Number(end - committed), 0);
    }),
  );
  return lags.length === 0 ? 0 : Math.min(...lags);
}

/**
 * Events of this outbox that the relay has not published yet, counted up to `atMost`, so that it costs little however many
 * wait; a range of the primary key.
 */
export async function countUnpublished(db: Queryable, atMost = 10_000): Promise<number> {
  const row = await db.row<{ count: number }>(sql('outbox.count')`
    select count(*)::int as count from (select from outbox limit ${atMost}) as waiting`);
  return row!.count;
}
