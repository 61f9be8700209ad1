import { createTestDatabase, unindexedForeignKeys, type TestDatabase } from '@headroom/testing';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isUniqueViolation, sheddingDatabase, sql, type Tx } from './index';

const migrations = mkdtempSync(join(tmpdir(), 'migrations-'));
writeFileSync(
  join(migrations, '0001_things.sql'),
  'create table things (id bigint primary key, name text not null);',
);
writeFileSync(
  join(migrations, '0002_index.sql'),
  '-- no-transaction\ncreate index concurrently if not exists things_name on things (name);',
);

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase(migrations);
});
afterAll(() => test.drop());

it('keeps nothing of a transaction whose work threw', async () => {
  const work = test.db.transaction(async (tx) => {
    await tx.execute(sql('test.insert')`insert into things (id, name) values (${1n}, ${'a'})`);
    throw new Error('no');
  });
  await expect(work).rejects.toThrow('no');
  expect(await test.db.rows(sql('test.all')`select * from things`)).toEqual([]);
});

it('puts parts into statements and values into parameters', async () => {
  await test.db.execute(sql('test.insert')`insert into things (id, name) values (${2n}, ${"it's"})`);
  const filter = sql.and([sql.part`id > ${1n}`, sql.part`name = ${"it's"}`]);
  const statement = sql('test.find')`select id, name from ${sql.identifier('things')} where ${filter}`;
  expect(statement.text).toBe('select id, name from "things" where id > $1 and name = $2 /* test.find */');
  expect(await test.db.rows(statement)).toEqual([{ id: 2n, name: "it's" }]);
});

it('tells a unique violation by its constraint', async () => {
  const insert = () =>
    test.db.execute(sql('test.insert')`insert into things (id, name) values (${3n}, ${'b'})`);
  await insert();
  const error = await insert().catch((caught: unknown) => caught);
  expect(isUniqueViolation(error, 'things_pkey')).toBe(true);
  expect(isUniqueViolation(error, 'another')).toBe(false);
});

it('runs a transaction again after a deadlock when that is safe', async () => {
  await test.db.execute(sql('test.insert')`insert into things (id, name) values (10, 'x'), (11, 'y')`);
  let bothHold: () => void;
  const met = new Promise<void>((resolve) => (bothHold = resolve));
  let holding = 0;
  const cross = (first: bigint, second: bigint) =>
    test.db.transaction(
      async (tx) => {
        await tx.execute(sql('test.touch')`update things set name = name || '!' where id = ${first}`);
        holding += 1;
        if (holding === 2) bothHold();
        if (holding <= 2) await met;
        await tx.execute(sql('test.touch')`update things set name = name || '!' where id = ${second}`);
      },
      { retry: true },
    );
  await Promise.all([cross(10n, 11n), cross(11n, 10n)]);
  expect(
    await test.db.rows(sql('test.read')`select name from things where id in (10, 11) order by id`),
  ).toEqual([{ name: 'x!!' }, { name: 'y!!' }]);
});

it('shows every statement under its name in pg_stat_statements', async () => {
  await test.db.execute(sql('test.extension')`create extension if not exists pg_stat_statements`);
  await test.db.rows(sql('test.named-statement')`select id from things where name = ${'nobody'}`);
  const found = await test.db.rows<{ query: string }>(
    sql(
      'test.statements',
    )`select query from pg_stat_statements where query like '%/* test.named-statement */'`,
  );
  expect(found).toHaveLength(1);
  expect(found[0]!.query).not.toContain('nobody');
});

it('finds a foreign key without an index, and not one that has it', async () => {
  await test.db.execute(
    sql(
      'test.tables',
    )`create table notes (id int primary key, thing_id bigint references things (id), other_id bigint references things (id))`,
  );
  await test.db.execute(sql('test.index')`create index notes_thing on notes (thing_id, id)`);
  expect(await unindexedForeignKeys(test.db)).toEqual(['notes.notes_other_id_fkey']);
});

it('sheds work that waited too long for a lock', async () => {
  await test.db.execute(sql('test.insert')`insert into things (id, name) values (20, 'contended')`);
  let locked: () => void;
  const isLocked = new Promise<void>((resolve) => (locked = resolve));
  let release: () => void;
  const released = new Promise<void>((resolve) => (release = resolve));
  const holder = test.db.transaction(async (tx) => {
    await tx.execute(sql('test.lock')`select 1 from things where id = 20 for update`);
    locked();
    await released;
  });
  await isLocked;
  const impatient = (tx: Tx) =>
    tx
      .execute(sql('test.impatient')`set local lock_timeout = 20`)
      .then(() => tx.execute(sql('test.touch')`update things set name = name || '!' where id = 20`));
  await expect(test.db.transaction(impatient)).rejects.toMatchObject({ code: '55P03' });
  await expect(sheddingDatabase(test.db).transaction(impatient)).rejects.toMatchObject({
    kind: 'overloaded',
    code: 'OVERLOADED',
  });
  release!();
  await holder;
});
