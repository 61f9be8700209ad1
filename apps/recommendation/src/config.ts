import {
  DATABASE_CONFIG,
  EVENT_LOG_CONFIG,
  address,
  integer,
  port,
  text,
  type ConfigSpec,
} from '@headroom/service';

/**
 * The environment of the recommendation service, beside what every service reads. The role of DATABASE_URL owns the schemas of
 * the models: a rebuild makes and drops some while the service runs.
 */
export const recommendationConfig = {
  PORT: port({ default: 0 }),
  ...DATABASE_CONFIG,
  ...EVENT_LOG_CONFIG,
  USER_ADDRESS: address(),
  ISSUER: text(),
  MODEL_GRACE_SECONDS: integer({ default: 30, min: 1, max: 86_400 }),
} satisfies ConfigSpec;
