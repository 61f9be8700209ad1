import type { PublishableEvent } from '@headroom/contracts';
import { operationsV1, queryAdminV1, queryV1, TOPICS } from '@headroom/contracts';
import { jobsMigrations, openJobs, type Jobs } from '@headroom/jobs';
import { messagingMigrations, openEventLog, type EventLog } from '@headroom/messaging';
import { sql, type Database } from '@headroom/postgres';
import { systemClock, type Clock } from '@headroom/resilience';
import { createRpcClient, serveGrpc, withCallContext, type RpcClient } from '@headroom/rpc';
import { openBlobStore, storageMigrations, type BlobStore } from '@headroom/storage';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, trustTokens, type TestDatabase } from '@headroom/testing';
import { join } from 'node:path';
import { adminQueryService } from '../src/admin-query';
import { createExports, EXPORT_QUEUES } from '../src/exports';
import { openLiveViews, type LiveViews } from '../src/live-views';
import { operationsService } from '../src/operations-api';
import { queryService } from '../src/query';
import { ensureVersion } from '../src/repository';
import { VIEWS } from '../src/views';

export interface ProjectorSystem {
  views: TestDatabase;
  events: TestDatabase;
  log: EventLog;
  liveViews: LiveViews;
  client: RpcClient<typeof queryV1.QueryServiceService>;
  admin: RpcClient<typeof queryAdminV1.AdminQueryServiceService>;
  operations: RpcClient<typeof operationsV1.OperationsServiceService>;
  jobs: Jobs;
  blobs: BlobStore;
  append(...events: PublishableEvent[]): Promise<void>;
  /** Makes calls as a user; the name of an admin starts with `admin`. */
  as<T>(userId: string, work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Databases for views and events, and the services that read, over real gRPC; whoever needs the projection starts it. */
export async function startProjectorSystem(clock: Clock = systemClock): Promise<ProjectorSystem> {
  const views = await createTestDatabase(
    join(__dirname, '../migrations'),
    messagingMigrations('inbox'),
    jobsMigrations(),
    storageMigrations(),
  );
  const events = await createTestDatabase(messagingMigrations('event-log'));
  const log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
  await log.ensureTopics([TOPICS.user, TOPICS.catalog, TOPICS.order]);
  for (const view of VIEWS) await ensureVersion(views.db, view);
  const liveViews = await openLiveViews({ db: views.db, views: VIEWS, logger: silentLogger });
  const jobs = await openJobs({ db: views.db, logger: silentLogger, clock, queues: EXPORT_QUEUES });
  const blobs = await openBlobStore({ url: undefined, db: views.db, logger: silentLogger });
  const exports = createExports({ db: views.db, jobs, blobs, clock });
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [
      queryService({ db: views.db, liveViews, shopCurrency: 'EUR' }),
      adminQueryService({ db: views.db, liveViews, exports }),
      operationsService({ db: views.db, jobs }),
    ],
    verifyToken: trustTokens,
    logger: silentLogger,
    graceMs: 100,
  });
  const address = `127.0.0.1:${server.port}`;
  const client = createRpcClient(queryV1.QueryServiceService, { address });
  const admin = createRpcClient(queryAdminV1.AdminQueryServiceService, { address });
  const operations = createRpcClient(operationsV1.OperationsServiceService, { address });
  return {
    views,
    events,
    log,
    liveViews,
    client,
    admin,
    operations,
    jobs,
    blobs,
    append: (...batch) =>
      log.append(batch.map(({ topic, key, event }) => ({ topic, key, value: JSON.stringify(event) }))),
    as: (accessToken, work) =>
      withCallContext({ accessToken, requestId: 'test', deadlineAt: Date.now() + 10_000 }, work),
    async close() {
      for (const each of [client, admin, operations]) each.close();
      await server.close();
      await jobs.close();
      await blobs.close();
      await liveViews.close();
      await log.close();
      await views.drop();
      await events.drop();
    },
  };
}

/** Every row of every table of a schema, as JSON texts in order. */
export async function dumpSchema(db: Database, schema: string): Promise<Record<string, string[]>> {
  const tables = await db.rows<{ name: string }>(sql('test.tables')`
    select table_name as name from information_schema.tables where table_schema = ${schema} order by 1`);
  const dumped: Record<string, string[]> = {};
  for (const { name } of tables) {
    const rows = await db.rows<{ row: string }>(sql('test.dump')`
      select to_jsonb(t)::text as row from ${sql.identifier(schema)}.${sql.identifier(name)} t order by 1`);
    dumped[name] = rows.map(({ row }) => row);
  }
  return dumped;
}
