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

/**
 * Wraps `db`; closing the wrapper closes `db`, whatever state it is in. With `killAtCall` the process dies by itself before its nth
 * call, counted from 1: every statement, the begin and the commit of a transaction are one each. A test that goes through all n
 * has tried a death at every place.
 */
export function interrupted(db: Database, { killAtCall = 0 } = {}): InterruptedDatabase {
  let calls = 0;
  let thawed = Promise.resolve();
  let release = () => {};
  let dead = false;
  const pass = async () => {
    calls += 1;
    if (calls === killAtCall) dead = true;
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
