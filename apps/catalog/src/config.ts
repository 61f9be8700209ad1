import {
  DATABASE_CONFIG,
  EVENT_LOG_CONFIG,
  SHOP_CONFIG,
  address,
  integer,
  port,
  text,
} from '@headroom/service';
import { STORAGE_CONFIG } from '@headroom/storage';

/** The environment of the catalog service, beside what every service reads. */
export const catalogConfig = {
  PORT: port({ default: 0 }),
  ...DATABASE_CONFIG,
  ...EVENT_LOG_CONFIG,
  USER_ADDRESS: address(),
  ISSUER: text(),
  ...SHOP_CONFIG,
  ...STORAGE_CONFIG,
  HOLD_TTL_SECONDS: integer({ default: 900, min: 1, max: 86_400 }),
  /** An import waits while more events than this are on their way to the views. */
  IMPORT_BACKLOG_EVENTS: integer({ default: 2_500, min: 100, max: 1_000_000 }),
};
