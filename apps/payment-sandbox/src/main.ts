import { migrate, migrationsDirectory, openDatabase } from '@headroom/postgres';
import { systemClock } from '@headroom/resilience';
import { runService } from '@headroom/service';
import { buildApi } from './api';
import { paymentSandboxConfig } from './config';

void runService(
  'payment-sandbox',
  paymentSandboxConfig,
  async (config, life) => {
    const { logger } = life;
    const db = life.own(openDatabase({ url: config.DATABASE_URL, name: 'payment', logger }));
    life.health({ name: 'database', severity: 'unhealthy', check: () => db.ping() });
    await life.role('api', async () => {
      const api = buildApi({ db, logger, clock: systemClock, report: life.report });
      await api.listen({ host: config.BIND_ADDRESS, port: config.PORT });
      return api;
    });
  },
  {
    migrate: async (config, { logger }) => {
      const url = config.MIGRATION_DATABASE_URL ?? config.DATABASE_URL;
      await migrate({ url, directory: migrationsDirectory(__dirname), logger });
    },
  },
);
