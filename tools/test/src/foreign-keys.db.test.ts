import { jobsMigrations } from '@headroom/jobs';
import { messagingMigrations } from '@headroom/messaging';
import { createTestDatabase, unindexedForeignKeys } from '@headroom/testing';
import { globSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..', '..', '..');
const services = globSync('apps/*/migrations', { cwd: root });

it.each(services)(
  'no foreign key of %s lacks an index, those of its outbox, inbox and job queues included',
  async (migrations) => {
    const test = await createTestDatabase(
      join(root, migrations),
      messagingMigrations('outbox'),
      messagingMigrations('inbox'),
      jobsMigrations(),
    );
    try {
      expect(await unindexedForeignKeys(test.db)).toEqual([]);
    } finally {
      await test.drop();
    }
  },
);

it('looks at every service with a database', () => {
  expect(services.length).toBeGreaterThanOrEqual(5);
});
