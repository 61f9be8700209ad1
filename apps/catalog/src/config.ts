import { address, integer, list, parsed, port, text, url } from '@headroom/service';

const postgresUrl = url(['postgres', 'postgresql']);
const optionalPostgresUrl = parsed<string | undefined>(postgresUrl.expected, postgresUrl.parse, {
  default: undefined,
  secret: true,
});

/** The environment of the catalog service, beside what every service reads. */
export const catalogConfig = {
  PORT: port({ default: 0 }),
  DATABASE_URL: postgresUrl,
  DATABASE_DIRECT_URL: optionalPostgresUrl,
  MIGRATION_DATABASE_URL: optionalPostgresUrl,
  EVENT_LOG_URL: postgresUrl,
  KAFKA_BROKERS: list({ default: [] }),
  USER_ADDRESS: address(),
  ISSUER: text(),
  SHOP_CURRENCY: parsed<string>(
    'an ISO 4217 code such as EUR',
    (value) => (/^[A-Z]{3}$/.test(value) ? value : undefined),
    { default: 'EUR' },
  ),
  HOLD_TTL_SECONDS: integer({ default: 900, min: 1, max: 86_400 }),
};
