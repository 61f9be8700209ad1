import { openDatabase } from '@headroom/postgres';
import type { Logger } from '@headroom/telemetry';
import type { EventLog } from './event-log';
import { postgresLog } from './postgres-log';

/**
 * The event log that the configuration names. Nothing is connected yet: a service starts while the log is away, its relay and
 * consumers try again. Brokers are refused as long as the Postgres log is the only transport, rather than silently ignored.
 */
export function openEventLog(options: {
  /** EVENT_LOG_URL */
  url: string;
  /** KAFKA_BROKERS */
  kafkaBrokers?: readonly string[] | undefined;
  logger: Logger;
  /** Of the process, for metrics and connection names. */
  name: string;
}): Promise<EventLog> {
  if (options.kafkaBrokers && options.kafkaBrokers.length > 0)
    return Promise.reject(
      new Error('KAFKA_BROKERS: found brokers, expected none, since events go through EVENT_LOG_URL'),
    );
  const db = openDatabase({
    url: options.url,
    name: `${options.name}-events`,
    logger: options.logger,
    maxConnections: 6,
  });
  return Promise.resolve(postgresLog({ db, logger: options.logger }));
}
