import { address, integer, list, parsed, port, text, url, type ConfigSpec } from '@headroom/service';

const postgresUrl = url(['postgres', 'postgresql']);
const optionalPostgresUrl = parsed<string | undefined>(postgresUrl.expected, postgresUrl.parse, {
  default: undefined,
  secret: true,
});

/**
 * The environment of the projector, beside what every service reads. The role of DATABASE_URL owns the schemas of the views:
 * a rebuild makes and drops some while the service runs.
 */
export const projectorConfig = {
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
  VIEW_GRACE_SECONDS: integer({ default: 30, min: 1, max: 86_400 }),
} satisfies ConfigSpec;
