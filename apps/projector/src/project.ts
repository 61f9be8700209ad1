import { fault, type DomainEvent } from '@headroom/contracts';
import {
  consumeEvents,
  forgetGroup,
  type Consumer,
  type EventLog,
  type ReceivedEvent,
} from '@headroom/messaging';
import type { Database, Tx } from '@headroom/postgres';
import { startPoller, systemClock, type Clock } from '@headroom/resilience';
import { gauge, type Logger } from '@headroom/telemetry';
import {
  appliedOffsets,
  dropVersion,
  ensureVersion,
  groupOf,
  holdVersion,
  listRetired,
  listVersions,
  readWatermark,
  refreshReport,
  saveMarks,
  schemaOf,
  swapVersions,
  type PartitionMark,
  type ViewVersion,
} from './repository';
import type { View } from './views/view';

const setWatermarkAge = gauge({
  name: 'view_watermark_age_seconds',
  help: 'How far the live version of a view is behind the log: the age of its watermark',
  labels: ['view'],
});

export interface Projection {
  /** A reason why only a restart can help, for `/livez`. */
  fatal(): string | undefined;
  /** Lets the batches under way commit and gives the partitions up at once. */
  close(): Promise<void>;
}

export interface ProjectionOptions {
  db: Database;
  log: EventLog;
  views: readonly View[];
  logger: Logger;
  /** The versions that this process keeps; default: all that are live or being built. */
  keeps?: (version: ViewVersion) => boolean;
  /** For refreshing reports, where that may take longer than a statement of `db` may; default: `db`. */
  reportsDb?: Database;
  /** How often reports are refreshed, default 60,000 ms; those of a version being built twelve times as often. */
  reportIntervalMs?: number;
  /** How long a replaced version stays for readers that have not heard of it, default 30,000 ms. */
  graceMs?: number;
  clock?: Clock;
}

/** How often versions are looked at: what a rebuild waits at most before it begins and before it swaps. */
const LOOK_MS = 250;
const CHORES_MS = 1_000;

/** One version that this process applies events to. */
interface Kept {
  view: View;
  version: ViewVersion;
  consumer: Consumer;
  /** Not saved yet, by `<topic>/<partition>`. */
  marks: Map<string, PartitionMark>;
  /** Where the log ended at the last look; a version that has come this far is caught up. */
  endsSeen: Map<string, bigint> | undefined;
}

/**
 * Keeps the views: one consumer for each version that is live or being built, so that a new version is built beside the one
 * that is read; a version that has caught up with the log and with the live one replaces it, and the replaced one is dropped
 * after a grace period. Everything is decided from the table of versions, so any number of processes may do this at once
 * and one that was killed leaves nothing but work for the next.
 */
export function startProjection(options: ProjectionOptions): Projection {
  const { db, log, views, logger, graceMs = 30_000, clock = systemClock } = options;
  const { reportsDb = db, reportIntervalMs = 60_000 } = options;
  const keeps = options.keeps ?? (() => true);
  const kept = new Map<string, Kept>();
  let ensured = false;
  let choresAt = 0;

  const keep = async (view: View, version: ViewVersion) => {
    const schema = schemaOf(version);
    const group = groupOf(version);
    const held = new WeakSet<Tx>();
    const marks = new Map<string, PartitionMark>();
    const applyBatch = async (tx: Tx, received: ReadonlyArray<ReceivedEvent<DomainEvent>>) => {
      if (!held.has(tx)) {
        if (!(await holdVersion(tx, version)))
          throw fault('DEPENDENCY_UNAVAILABLE', { detail: `${group} has been replaced` });
        held.add(tx);
      }
      const { partition } = received[0]!;
      try {
        await view.apply(tx, schema, { events: received.map(({ event }) => event), partition }, clock.now());
      } catch (error) {
        held.delete(tx); // undoing one event may give the lock back
        throw error;
      }
    };
    const consumer = await consumeEvents<DomainEvent>({
      log,
      db,
      group,
      topics: view.topics,
      logger,
      apply: (tx, received) => applyBatch(tx, [received]),
      applyBatch,
      onCaughtUp: (topic, partition, atMs) =>
        void marks.set(`${topic}/${partition}`, { topic, partition, caughtUpMs: atMs }),
    });
    kept.set(group, { view, version, consumer, marks, endsSeen: undefined });
  };

  const doChores = async ({ view, version, marks }: Kept) => {
    const reached = [...marks.values()];
    if (reached.length > 0) await saveMarks(db, version, reached);
    for (const mark of reached) {
      const key = `${mark.topic}/${mark.partition}`;
      if (marks.get(key) === mark) marks.delete(key);
    }
    await view.upkeep?.(db, schemaOf(version), clock.now());
    if (version.state === 'live') {
      const watermark = await readWatermark(db, view, version);
      setWatermarkAge({ view: view.name }, (clock.now() - watermark) / 1_000);
    }
  };

  const swapWhenCaughtUp = async (each: Kept) => {
    const group = groupOf(each.version);
    const topics = each.view.topics.map((topic) => topic.name);
    const applied = await appliedOffsets(db, group);
    const caughtUp =
      each.endsSeen && [...each.endsSeen].every(([partition, end]) => (applied.get(partition) ?? 0n) >= end);
    const positions = await log.positions(group, topics);
    each.endsSeen = new Map(positions.map(({ topic, partition, end }) => [`${topic}/${partition}`, end]));
    if (!caughtUp) return;
    await each.view.upkeep?.(db, schemaOf(each.version), clock.now());
    if (await swapVersions(db, each.version))
      logger.info('a rebuilt view went live', { name: `${each.view.name} v${each.version.version}` });
  };

  const dropRetired = async () => {
    for (const version of await listRetired(db, graceMs)) {
      if (!views.some((view) => view.name === version.view)) continue;
      await log.deleteGroup(groupOf(version));
      await forgetGroup(db, groupOf(version));
      await dropVersion(db, version);
      logger.info('a replaced view was dropped', { name: `${version.view} v${version.version}` });
    }
  };

  const round = async () => {
    if (!ensured) for (const view of views) await ensureVersion(db, view);
    ensured = true;
    const wanted = new Map<string, { view: View; version: ViewVersion }>();
    for (const version of await listVersions(db)) {
      const view = views.find((each) => each.name === version.view && each.shape === version.shape);
      if (view && version.state !== 'retired' && keeps(version))
        wanted.set(groupOf(version), { view, version });
    }
    for (const [group, each] of kept)
      if (!wanted.has(group)) {
        kept.delete(group);
        await each.consumer.close();
      }
    for (const [group, { view, version }] of wanted) {
      const each = kept.get(group);
      if (each) each.version = version;
      else await keep(view, version);
    }
    const choresDue = clock.now() >= choresAt;
    if (choresDue) choresAt = clock.now() + CHORES_MS;
    if (choresDue) for (const each of kept.values()) await doChores(each);
    for (const each of kept.values()) if (each.version.state === 'building') await swapWhenCaughtUp(each);
    if (choresDue) await dropRetired();
    return false;
  };

  const poller = startPoller({
    round,
    idleMs: LOOK_MS,
    clock,
    onError: (error) => logger.warn('looking after the views failed', { err: error }),
  });
  // Beside the round: a refresh takes seconds where much was sold, and watermarks must not wait for it.
  const reports = startPoller({
    idleMs: CHORES_MS,
    clock,
    onError: (error) => logger.warn('refreshing reports failed: the next round tries again', { err: error }),
    async round() {
      for (const { view, version } of kept.values())
        for (const report of view.reports ?? [])
          await refreshReport(
            reportsDb,
            view,
            version,
            report,
            version.state === 'building' ? reportIntervalMs / 12 : reportIntervalMs,
          );
      return false;
    },
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
      await reports.close();
      await poller.close();
      await Promise.all([...kept.values()].map((each) => each.consumer.close()));
    },
  };
}
