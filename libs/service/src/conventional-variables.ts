import { list, parsed, url } from './config';

/*
 * Variables that mean the same in every service that reads them.
 */

const postgresUrl = url(['postgres', 'postgresql']);
const optionalPostgresUrl = parsed<string | undefined>(postgresUrl.expected, postgresUrl.parse, {
  default: undefined,
  secret: true,
});

/** A service's own database: by way of a pooler or not, past the pooler, and with the rights that migrations need. */
export const DATABASE_CONFIG = {
  DATABASE_URL: postgresUrl,
  DATABASE_DIRECT_URL: optionalPostgresUrl,
  MIGRATION_DATABASE_URL: optionalPostgresUrl,
};

/** Where events are published and read: Kafka, or, unset, the log in PostgreSQL. */
export const EVENT_LOG_CONFIG = {
  EVENT_LOG_URL: postgresUrl,
  KAFKA_BROKERS: list({ default: [] }),
};

/** The currency of amounts that name none. */
export const SHOP_CONFIG = {
  SHOP_CURRENCY: parsed<string>(
    'an ISO 4217 code such as EUR',
    (value) => (/^[A-Z]{3}$/.test(value) ? value : undefined),
    { default: 'EUR' },
  ),
};
