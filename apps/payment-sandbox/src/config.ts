import { parsed, port, url } from '@headroom/service';

const postgresUrl = url(['postgres', 'postgresql']);

/** The environment of the payment sandbox, beside what every service reads. */
export const paymentSandboxConfig = {
  PORT: port({ default: 8090 }),
  DATABASE_URL: postgresUrl,
  MIGRATION_DATABASE_URL: parsed<string | undefined>(postgresUrl.expected, postgresUrl.parse, {
    default: undefined,
    secret: true,
  }),
};
