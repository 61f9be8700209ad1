import {
  DATABASE_CONFIG,
  EVENT_LOG_CONFIG,
  SHOP_CONFIG,
  address,
  integer,
  port,
  text,
} from '@headroom/service';

/** The environment of the catalog service, beside what every service reads. */
export const catalogConfig = {
  PORT: port({ default: 0 }),
  ...DATABASE_CONFIG,
  ...EVENT_LOG_CONFIG,
  USER_ADDRESS: address(),
  ISSUER: text(),
  ...SHOP_CONFIG,
  HOLD_TTL_SECONDS: integer({ default: 900, min: 1, max: 86_400 }),
};
