import type { Database, Queryable, Statement } from '@headroom/postgres';
import { Fault } from '@headroom/resilience';

/** A database as seen by a process that can be frozen (as by SIGSTOP) or killed, for tests of what its neighbours then do. */
export interface InterruptedDatabase {
  db: Database;
  /** From now on calls do not reach the database; they wait. */
  freeze(): void;
  /** Lets the calls that wait go on. */
  thaw(): void;
  /** From now on, and for those that wait, every call fails; open transactions roll back. */
  kill(): void;
}

/** Wraps `db`; closing the wrapper closes `db`, whatever state it is in. */
export function interrupted(db: Database): InterruptedDatabase {
  let thawed = Promise.resolve();
  let release = () => {};
  let dead = false;
  const pass = async () => {
    await thawed;
    if (dead) throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { detail: 'this process is dead' });
  };
  const wrap = (inner: Queryable): Queryable => ({
    rows: async <Row>(statement: Statement) => (await pass(), inner.rows<Row>(statement)),
    row: async <Row>(statement: Statement) => (await pass(), inner.row<Row>(statement)),
    execute: async (statement) => (await pass(), inner.execute(statement)),
  });
  return {
    db: {
      ...wrap(db),
      async transaction(work, options) {
        await pass();
        return db.transaction(async (tx) => {
          const result = await work({ ...wrap(tx), afterCommit: (action) => tx.afterCommit(action) });
          await pass();
          return result;
        }, options);
      },
      ping: async () => (await pass(), db.ping()),
      close: () => db.close(),
    },
    freeze() {
      thawed = new Promise((resolve) => (release = resolve));
    },
    thaw: () => release(),
    kill() {
      dead = true;
      release();
    },
  };
}
