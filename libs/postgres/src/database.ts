import { Fault } from '@headroom/resilience';
import { counter, durationHistogram, gauge, inSpan, type Logger } from '@headroom/telemetry';
import pg from 'pg';
import type { Statement } from './sql';

/** Runs statements: a pool, or one transaction. */
export interface Queryable {
  /** All rows; of several statements in one text, those of all, in order. */
  rows<Row>(statement: Statement): Promise<Row[]>;
  /** The first row, or undefined. */
  row<Row>(statement: Statement): Promise<Row | undefined>;
  /** The number of rows that were changed. */
  execute(statement: Statement): Promise<number>;
}

export type Tx = Queryable & {
  /** Runs after a successful commit, before `transaction` resolves; e.g. to wake the outbox relay. */
  afterCommit(action: () => void): void;
};

export interface Database extends Queryable {
  /**
   * Runs `work` in one transaction (READ COMMITTED), rolled back when it throws. With `retry`, a whole transaction that
   * failed by deadlock, serialization failure or a lost connection before its commit was sent is run again, up to twice;
   * only for work that is safe to repeat. No network call belongs inside.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>, options?: { retry?: boolean }): Promise<T>;
  /** Rejects when the server cannot be reached. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  url: string;
  /** For metrics and `application_name`, e.g. `order`. */
  name: string;
  logger: Logger;
  /** Largest number of connections of this process, default 8. */
  maxConnections?: number;
  /** A statement of a transaction that takes longer is cancelled by the server, default 5,000 ms. */
  statementTimeoutMs?: number;
  /** A statement that takes longer is warned of in the log, default 100 ms; more for bulk work. */
  slowStatementMs?: number;
}

const observe = durationHistogram({
  name: 'db_statement_seconds',
  help: 'Time of one SQL statement by its name',
  labels: ['database', 'statement'],
});
const observeWait = durationHistogram({
  name: 'db_pool_wait_seconds',
  help: 'Time that a caller waited for a pooled connection',
  labels: ['database'],
});
const setWaiting = gauge({
  name: 'db_pool_waiting',
  help: 'Callers that wait for a pooled connection',
  labels: ['database'],
});
const setUsed = gauge({
  name: 'db_pool_connections',
  help: 'Open connections of the pool',
  labels: ['database'],
});
const countRetry = counter({
  name: 'db_transaction_retries_total',
  help: 'Transactions run again after a conflict',
  labels: ['database'],
});

/** bigint columns arrive as bigint, dates without time as `YYYY-MM-DD`: nothing is rounded or moved by a time zone. */
const types = {
  getTypeParser(oid: number, format?: string) {
    if (format !== 'binary' && oid === 20) return (text: string) => BigInt(text);
    if (format !== 'binary' && oid === 1082) return (text: string) => text;
    return pg.types.getTypeParser(oid, format as 'text');
  },
};

/**
 * Opens a pool. Statements are unnamed at the protocol level and no session state is set (time-outs: `set local` inside
 * transactions, defaults of the database put there by `migrate` outside), so the same code runs behind a transaction pooler. Faults: `unavailable` when no connection can be had within 2 s.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const { name, logger } = options;
  const statementTimeoutMs = options.statementTimeoutMs ?? 5_000;
  const slowStatementMs = options.slowStatementMs ?? 100;
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.maxConnections ?? 8,
    application_name: `headroom-${name}`,
    connectionTimeoutMillis: 2_000,
    idleTimeoutMillis: 60_000,
    query_timeout: statementTimeoutMs + 1_000,
    keepAlive: true,
    types: types as never,
  });
  pool.on('error', (error) => logger.warn('an idle database connection was lost', { err: error, name }));

  const connect = async () => {
    const start = performance.now();
    setWaiting({ database: name }, pool.waitingCount + 1);
    try {
      return await pool.connect();
    } catch (error) {
      throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
        detail: `the ${name} database is not available`,
        cause: error,
        retryAfterSeconds: 1,
      });
    } finally {
      observeWait({ database: name }, (performance.now() - start) / 1_000);
      setWaiting({ database: name }, pool.waitingCount);
      setUsed({ database: name }, pool.totalCount);
    }
  };

  const run = async (client: pg.PoolClient, statement: Statement): Promise<pg.QueryResult> => {
    const start = performance.now();
    try {
      return await inSpan(
        `sql ${statement.name}`,
        {
          kind: 'client',
          attributes: {
            'db.system.name': 'postgresql',
            'db.namespace': name,
            'db.operation.name': statement.name,
          },
        },
        () =>
          // Without values the simple protocol is used, which alone takes several statements in one round trip.
          statement.values.length === 0
            ? client.query(statement.text)
            : client.query(statement.text, statement.values),
      );
    } catch (error) {
      throw isConnectionLoss(error)
        ? new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {
            detail: `the ${name} database is not available`,
            cause: error,
            retryAfterSeconds: 1,
          })
        : error;
    } finally {
      const tookMs = performance.now() - start;
      observe({ database: name, statement: statement.name }, tookMs / 1_000);
      if (tookMs > slowStatementMs)
        logger.warn('slow statement', { statement: statement.name, durationMs: Math.round(tookMs) });
    }
  };

  const queryable = (use: (statement: Statement) => Promise<pg.QueryResult>): Queryable => ({
    rows: async <Row>(statement: Statement) => rowsOf(await use(statement)) as Row[],
    row: async <Row>(statement: Statement) => (await use(statement)).rows[0] as Row | undefined,
    execute: async (statement) => (await use(statement)).rowCount ?? 0,
  });

  const begin = `begin; set local statement_timeout = ${statementTimeoutMs}; set local lock_timeout = ${Math.min(statementTimeoutMs, 3_000)}`;
  const once = async <T>(work: (tx: Tx) => Promise<T>): Promise<T> => {
    const client = await connect();
    const actions: Array<() => void> = [];
    let broken: Error | undefined;
    try {
      await run(client, { name: 'begin', text: begin, values: [] });
      const result = await work({
        ...queryable((statement) => run(client, statement)),
        afterCommit: (action) => void actions.push(action),
      });
      await run(client, { name: 'commit', text: 'commit', values: [] }).catch((error: unknown) => {
        broken = error as Error;
        throw new CommitUnknown(name, error);
      });
      for (const action of actions) action();
      return result;
    } catch (error) {
      if (!broken) await client.query('rollback').catch((rollbackError: Error) => (broken = rollbackError));
      throw error;
    } finally {
      client.release(broken);
    }
  };

  return {
    ...queryable(async (statement) => {
      const client = await connect();
      let broken: Error | undefined;
      try {
        return await run(client, statement);
      } catch (error) {
        if (error instanceof Fault) broken = error;
        throw error;
      } finally {
        client.release(broken);
      }
    }),
    async transaction(work, { retry = false } = {}) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(work);
        } catch (error) {
          if (!retry || attempt >= 3 || error instanceof CommitUnknown || !isRepeatable(error)) throw error;
          countRetry({ database: name });
        }
      }
    },
    async ping() {
      const client = await connect();
      try {
        await client.query('select 1');
        client.release();
      } catch (error) {
        client.release(error as Error);
        throw error;
      }
    },
    close: () => pool.end(),
  };
}

/** The commit was sent and its answer lost: the effect is unknown and must be looked up by key, never repeated blindly. */
export class CommitUnknown extends Fault {
  constructor(database: string, cause: unknown) {
    super('unavailable', 'DEPENDENCY_UNAVAILABLE', {
      detail: `the ${database} database did not confirm`,
      cause,
      retryAfterSeconds: 1,
    });
    this.name = 'CommitUnknown';
  }
}

/** The driver answers several statements in one text with a list of results. */
function rowsOf(result: pg.QueryResult | pg.QueryResult[]): unknown[] {
  return Array.isArray(result) ? result.flatMap((each) => each.rows as unknown[]) : result.rows;
}

/** The SQLSTATE of a database error, or undefined. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** True for a violation of a unique constraint (of that name, if given). */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  return (
    sqlState(error) === '23505' &&
    (constraint === undefined || (error as { constraint?: string }).constraint === constraint)
  );
}

/**
 * The same database, for work that a caller waits for: a statement that ran into its lock or statement time-out fails with an
 * `overloaded` fault, which the caller may try again later, instead of an error that looks like a defect. Whole transactions are
 * still repeated first, where they may be.
 */
export function sheddingDatabase(db: Database): Database {
  const shed = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      const state = sqlState(error);
      if (state !== '55P03' && state !== '57014') throw error;
      throw new Fault('overloaded', 'OVERLOADED', { cause: error, retryAfterSeconds: 1 });
    }
  };
  return {
    rows: (statement) => shed(db.rows(statement)),
    row: (statement) => shed(db.row(statement)),
    execute: (statement) => shed(db.execute(statement)),
    transaction: (work, options) => shed(db.transaction(work, options)),
    ping: () => db.ping(),
    close: () => db.close(),
  };
}

function isConnectionLoss(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return state.startsWith('08') || state.startsWith('57P0') || state === '53300';
  const message = error instanceof Error ? error.message : '';
  const code = (error as { code?: string }).code ?? '';
  return (
    /^E[A-Z]+$/.test(code) ||
    /Connection terminated|connection error|not queryable|timeout exceeded|Query read timeout/i.test(message)
  );
}

function isRepeatable(error: unknown): boolean {
  if (error instanceof Fault) return error.kind === 'unavailable' && error.cause !== undefined;
  const state = sqlState(error);
  return state === '40001' || state === '40P01' || state === '55P03';
}
