import { openDatabase } from '@headroom/postgres';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, interrupted } from '@headroom/testing';
import { describeEventLog } from './event-log.contract';
import { messagingMigrations } from './migrations';
import { postgresLog } from './postgres-log';

const memberTtlMs = 3_000;

describeEventLog('PostgreSQL', async () => {
  const events = await createTestDatabase(messagingMigrations('event-log'));
  const connect = () =>
    openDatabase({ url: events.url, name: 'log', logger: silentLogger, maxConnections: 4 });
  return {
    memberTtlMs,
    open: () => Promise.resolve(postgresLog({ db: connect(), logger: silentLogger, memberTtlMs })),
    openFreezable: () => {
      const { db, freeze, thaw } = interrupted(connect());
      return Promise.resolve({ log: postgresLog({ db, logger: silentLogger, memberTtlMs }), freeze, thaw });
    },
    stop: () => events.drop(),
  };
});
