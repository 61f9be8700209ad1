import { sql, type Tx } from '@headroom/postgres';

/** What the outbox needs of an event: the topic, the key, and the event as JSON with its id, type and subject. */
export interface OutboxEvent {
  topic: string;
  key: string;
  event: { id: string; type: string; subject: string; aggregateversion: number; traceparent?: string };
}

/**
 * Number of outbox shards; each is published in order by one relay at a time. An aggregate always falls into the same
 * shard, so its events keep their order.
 */
export const OUTBOX_SHARDS = 8;

/**
 * Writes events into the outbox table of the database that `tx` belongs to, as part of the transaction that changes the state.
 * The caller must hold the aggregate's row lock: that makes the outbox ids of one aggregate grow in commit order
 * ("Transactional outbox", microservices.io). Wakes the relay after the commit when `wake` is given.
 */
export async function writeOutbox(tx: Tx, events: readonly OutboxEvent[], wake?: () => void): Promise<void> {
  if (events.length === 0) return;
  await tx.execute(sql('outbox.write')`
    insert into outbox (shard, topic, key, event)
    select mod(abs(hashtext(key)::bigint), ${OUTBOX_SHARDS}::int)::smallint, topic, key, event
    from unnest(${events.map((each) => each.topic)}::text[], ${events.map((each) => each.key)}::text[],
                ${events.map((each) => JSON.stringify(each.event))}::jsonb[]) with ordinality as e (topic, key, event, n)
    order by n`);
  if (wake) tx.afterCommit(wake);
}
