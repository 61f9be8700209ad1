import { recommendationV1, TOPICS } from '@headroom/contracts';
import { messagingMigrations, openEventLog, type EventLog } from '@headroom/messaging';
import { sql, type Database, type SqlPart } from '@headroom/postgres';
import { systemClock, type Clock } from '@headroom/resilience';
import { createRpcClient, serveGrpc, withCallContext, type GrpcService, type RpcClient } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, trustTokens, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { publishKnown, startActivityBuffer, type ActivityBuffer } from '../src/activity';
import { recommendationService } from '../src/api';
import { openLiveModel, type LiveModel } from '../src/live-model';
import { isSettled } from '../src/model-repository';
import { appliedOffsets, ensureModel, groupOf, listModels, schemaOf } from '../src/models-repository';
import { LEARNT_TOPICS } from '../src/learn';
import type { Published } from './events';

export interface RecommendationSystem {
  learnt: TestDatabase;
  events: TestDatabase;
  log: EventLog;
  liveModel: LiveModel;
  activity: ActivityBuffer;
  client: RpcClient<typeof recommendationV1.RecommendationServiceService>;
  /** The address of the gRPC server. */
  address: string;
  append(...events: Published[]): Promise<void>;
  /** Resolves when everything that stands in the log has been learnt by the live version. */
  settled(): Promise<SqlPart>;
  /** Makes calls as a user; the name of an admin starts with `admin`. */
  as<T>(userId: string, work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Databases for what is learnt and for events, and the service over real gRPC; whoever needs the learning starts it. */
export async function startRecommendationSystem(
  options: { clock?: Clock; services?: (db: Database) => GrpcService[] } = {},
): Promise<RecommendationSystem> {
  const { clock = systemClock } = options;
  const learnt = await createTestDatabase(join(__dirname, '../migrations'), messagingMigrations('inbox'));
  const events = await createTestDatabase(messagingMigrations('event-log'));
  const log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
  await log.ensureTopics([TOPICS.catalog, TOPICS.order, TOPICS.activity]);
  const { db } = learnt;
  await ensureModel(db);
  const liveModel = await openLiveModel({ db, logger: silentLogger });
  const activity = startActivityBuffer({
    publish: publishKnown({ db, log, liveModel }),
    logger: silentLogger,
  });
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [recommendationService({ db, liveModel, activity, clock }), ...(options.services?.(db) ?? [])],
    verifyToken: trustTokens,
    logger: silentLogger,
    graceMs: 100,
  });
  const address = `127.0.0.1:${server.port}`;
  const client = createRpcClient(recommendationV1.RecommendationServiceService, { address });
  return {
    learnt,
    events,
    log,
    liveModel,
    activity,
    client,
    address,
    append: (...batch) =>
      log.append(batch.map(({ topic, key, event }) => ({ topic, key, value: JSON.stringify(event) }))),
    settled: () =>
      eventually(async () => {
        const live = (await listModels(db)).find((model) => model.state === 'live')!;
        const applied = await appliedOffsets(db, groupOf(live));
        const positions = await log.positions(
          groupOf(live),
          LEARNT_TOPICS.map(({ name }) => name),
        );
        for (const { topic, partition, end } of positions)
          expect([topic, partition, applied.get(`${topic}/${partition}`) ?? 0n]).toEqual([
            topic,
            partition,
            end,
          ]);
        expect(await isSettled(db, schemaOf(live))).toBe(true);
        return schemaOf(live);
      }, 20_000),
    as: (accessToken, work) =>
      withCallContext({ accessToken, requestId: 'test', deadlineAt: Date.now() + 10_000 }, work),
    async close() {
      client.close();
      await server.close();
      await activity.close();
      await liveModel.close();
      await log.close();
      await learnt.drop();
      await events.drop();
    },
  };
}

/** Every row of the tables of a version, as JSON texts in order; faded sums without their rounding. */
export async function dumpModel(db: Database, schema: string): Promise<Record<string, string[]>> {
  const tables = await db.rows<{ name: string }>(sql('test.tables')`
    select table_name as name from information_schema.tables
    where table_schema = ${schema} and table_name not like 'activity\\_%' order by 1`);
  const dumped: Record<string, string[]> = {};
  for (const { name } of tables) {
    const rows = await db.rows<{ row: Record<string, unknown> }>(sql('test.dump')`
      select to_jsonb(t) as row from ${sql.identifier(schema)}.${sql.identifier(name)} t`);
    const rounded = (value: unknown) =>
      typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(10)) : value;
    dumped[name] = rows.map(({ row }) => JSON.stringify(row, (_, value) => rounded(value))).sort();
  }
  return dumped;
}
