import {
  fault,
  TOPICS,
  type ActivityEvent,
  type DomainEvent,
  type OrderData,
  type ProductData,
  type StockData,
} from '@headroom/contracts';
import { consumeEvents, forgetGroup, type Consumer, type EventLog } from '@headroom/messaging';
import type { Database, SqlPart, Tx } from '@headroom/postgres';
import { startPoller, systemClock, type Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import {
  applyActivities,
  applyOrders,
  applyProducts,
  applyStocks,
  fold,
  isSettled,
  keepPartitions,
  refreshNeighbours,
  sweepWhenGrown,
  type Versioned,
} from './model-repository';
import {
  appliedOffsets,
  dropModel,
  ensureModel,
  groupOf,
  holdModel,
  listModels,
  listRetired,
  schemaNameOf,
  schemaOf,
  swapModels,
  type Model,
} from './models-repository';

/** What is learnt from. */
export const LEARNT_TOPICS = [TOPICS.catalog, TOPICS.order, TOPICS.activity];

export type LearntEvent = DomainEvent | ActivityEvent;

export interface Learning {
  /** A reason why only a restart can help, for `/livez`. */
  fatal(): string | undefined;
  /** Lets the batches under way commit and gives the partitions up at once. */
  close(): Promise<void>;
}

export interface LearningOptions {
  db: Database;
  log: EventLog;
  logger: Logger;
  /** The versions that this process keeps; default: all that are live or being built. */
  keeps?: (model: Model) => boolean;
  /** How long a replaced version stays for readers that have not heard of it, default 30,000 ms. */
  graceMs?: number;
  clock?: Clock;
}

/** How often versions are looked at, and what a change waits for at most before it is added. */
const LOOK_MS = 250;
const CHORES_MS = 1_000;

/** One version that this process applies events to. */
interface Kept {
  model: Model;
  consumer: Consumer;
  /** Where the log ended at the last look; a version that has come this far is caught up. */
  endsSeen: Map<string, bigint> | undefined;
}

/** Applies events to a version; one that comes twice, or is older than what is stored of its aggregate, changes nothing. */
export async function learn(
  tx: Tx,
  schema: SqlPart,
  events: readonly LearntEvent[],
  nowMs: number,
): Promise<void> {
  const products: Array<Versioned<ProductData>> = [];
  const stocks: Array<Versioned<StockData>> = [];
  const orders: Array<Versioned<OrderData>> = [];
  const activities: ActivityEvent[] = [];
  for (const event of events)
    if (event.type === 'headroom.activity.recorded') activities.push(event as ActivityEvent);
    else {
      const { type, data, aggregateversion: version } = event as DomainEvent;
      if (type === 'headroom.catalog.stock-changed') stocks.push({ data: data as StockData, version });
      else if (type.startsWith('headroom.catalog.')) products.push({ data: data as ProductData, version });
      else if (type.startsWith('headroom.order.')) orders.push({ data: data as OrderData, version });
    }
  if (products.length > 0) await applyProducts(tx, schema, products);
  if (stocks.length > 0) await applyStocks(tx, schema, stocks);
  if (orders.length > 0) await applyOrders(tx, schema, orders);
  if (activities.length > 0) await applyActivities(tx, schema, activities, nowMs);
}

/**
 * Keeps what was learnt: one consumer for each version that is live or being built, so that a new version is learnt from the log
 * beside the one that is read; a version that has caught up with the log and with the live one replaces it, and the replaced one
 * is dropped after a grace period. Between events it adds the changes up and works out neighbours, in bounded rounds. Everything
 * is decided from the table of versions, so any number of processes may do this at once and one that was killed leaves nothing but
 * work for the next.
 */
export function startLearning(options: LearningOptions): Learning {
  const { db, log, logger, graceMs = 30_000, clock = systemClock } = options;
  const keeps = options.keeps ?? (() => true);
  const kept = new Map<string, Kept>();
  let ensured = false;
  let choresAt = 0;

  const partitioned = (model: Model) =>
    keepPartitions(db, { schema: schemaOf(model), name: schemaNameOf(model) }, clock.now());

  const keep = async (model: Model) => {
    const schema = schemaOf(model);
    const group = groupOf(model);
    const held = new WeakSet<Tx>();
    await partitioned(model);
    const apply = async (tx: Tx, events: readonly LearntEvent[]) => {
      if (!held.has(tx)) {
        if (!(await holdModel(tx, model)))
          throw fault('DEPENDENCY_UNAVAILABLE', { detail: `${group} has been replaced` });
        held.add(tx);
      }
      try {
        await learn(tx, schema, events, clock.now());
      } catch (error) {
        held.delete(tx); // undoing the events may give the lock back
        throw error;
      }
    };
    const consumer = await consumeEvents<LearntEvent>({
      log,
      db,
      group,
      topics: LEARNT_TOPICS,
      logger,
      apply: (tx, { event }) => apply(tx, [event]),
      applyBatch: (tx, received) =>
        apply(
          tx,
          received.map(({ event }) => event),
        ),
    });
    kept.set(group, { model, consumer, endsSeen: undefined });
  };

  /** Adds changes up and works out neighbours; true while there is more to do. */
  const digest = async ({ model }: Kept): Promise<boolean> => {
    const schema = schemaOf(model);
    if ((await fold(db, schema)) > 0) return true;
    return (await refreshNeighbours(db, schema)) > 0;
  };

  const swapWhenCaughtUp = async (each: Kept) => {
    const schema = schemaOf(each.model);
    const applied = await appliedOffsets(db, groupOf(each.model));
    const caughtUp =
      each.endsSeen && [...each.endsSeen].every(([partition, end]) => (applied.get(partition) ?? 0n) >= end);
    const positions = await log.positions(
      groupOf(each.model),
      LEARNT_TOPICS.map((topic) => topic.name),
    );
    each.endsSeen = new Map(positions.map(({ topic, partition, end }) => [`${topic}/${partition}`, end]));
    if (!caughtUp || !(await isSettled(db, schema)) || (await sweepWhenGrown(db, schema)) > 0) return;
    if (await swapModels(db, each.model))
      logger.info('what was learnt anew went live', { name: groupOf(each.model) });
  };

  const dropRetired = async () => {
    for (const model of await listRetired(db, graceMs)) {
      await log.deleteGroup(groupOf(model));
      await forgetGroup(db, groupOf(model));
      await dropModel(db, model);
      logger.info('a replaced version was dropped', { name: groupOf(model) });
    }
  };

  const round = async () => {
    if (!ensured) await ensureModel(db);
    ensured = true;
    const wanted = new Map(
      (await listModels(db))
        .filter((model) => model.state !== 'retired' && keeps(model))
        .map((model) => [groupOf(model), model]),
    );
    for (const [group, each] of kept)
      if (!wanted.has(group)) {
        kept.delete(group);
        await each.consumer.close();
      }
    for (const [group, model] of wanted) {
      const each = kept.get(group);
      if (each) each.model = model;
      else await keep(model);
    }
    let more = false;
    for (const each of kept.values()) if (await digest(each)) more = true;
    const choresDue = clock.now() >= choresAt;
    if (choresDue) choresAt = clock.now() + CHORES_MS;
    for (const each of kept.values()) {
      if (choresDue) await partitioned(each.model);
      if (choresDue && each.model.state === 'live') await sweepWhenGrown(db, schemaOf(each.model));
      if (each.model.state === 'building') await swapWhenCaughtUp(each);
    }
    if (choresDue) await dropRetired();
    return more;
  };

  const poller = startPoller({
    round,
    idleMs: LOOK_MS,
    clock,
    onError: (error) => logger.warn('looking after what was learnt failed', { err: error }),
  });
  return {
    fatal() {
      for (const each of kept.values()) {
        const reason = each.consumer.fatal();
        if (reason !== undefined) return reason;
      }
      return undefined;
    },
    async close() {
      await poller.close();
      await Promise.all([...kept.values()].map((each) => each.consumer.close()));
    },
  };
}
