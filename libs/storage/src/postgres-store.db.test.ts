import { sql } from '@headroom/postgres';
import { createTestDatabase, unindexedForeignKeys, type TestDatabase } from '@headroom/testing';
import { describeBlobStore } from './blob-store.contract';
import { storageMigrations } from './migrations';
import { createPostgresStore } from './postgres-store';

jest.setTimeout(120_000); // tens of megabytes are moved, on machines that may be busy

describeBlobStore('rows in PostgreSQL', async () => {
  const test = await createTestDatabase(storageMigrations());
  return { store: createPostgresStore({ db: test.db }), close: () => test.drop() };
});

describe('the store in PostgreSQL', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase(storageMigrations());
  });
  afterAll(() => test.drop());

  it('has no unindexed foreign key', async () => {
    expect(await unindexedForeignKeys(test.db)).toEqual([]);
  });

  it('leaves no row of files that were removed, replaced or never finished', async () => {
    const store = createPostgresStore({ db: test.db });
    const contentType = 'text/plain';
    const rows = async () => {
      const left = await test.db.row<{ count: bigint }>(sql('test.left')`
        select (select count(*) from blobs) + (select count(*) from blob_parts) + (select count(*) from blob_chunks) as count`);
      return left!.count;
    };
    await store.put('a', Buffer.alloc(2_000_000), { contentType });
    await store.put('a', Buffer.alloc(10), { contentType });
    await store.delete('a');
    const handle = await store.startUpload('b', { contentType });
    await store.putPart(handle, 0, Buffer.alloc(2_000_000));
    await store.abortUpload(handle);
    expect(await rows()).toBe(0n);
    const other = await store.startUpload('c', { contentType });
    await store.putPart(other, 0, Buffer.alloc(2_000_000));
    await store.sweep(new Date(Date.now() + 1_000));
    expect(await rows()).toBe(0n);
  });
});
