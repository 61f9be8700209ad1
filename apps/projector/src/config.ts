import {
  DATABASE_CONFIG,
  EVENT_LOG_CONFIG,
  SHOP_CONFIG,
  address,
  integer,
  port,
  text,
  type ConfigSpec,
} from '@headroom/service';
import { STORAGE_CONFIG } from '@headroom/storage';

/**
 * The environment of the projector, beside what every service reads. The role of DATABASE_URL owns the schemas of the views:
 * a rebuild makes and drops some while the service runs.
 */
export const projectorConfig = {
  PORT: port({ default: 0 }),
  ...DATABASE_CONFIG,
  ...EVENT_LOG_CONFIG,
  USER_ADDRESS: address(),
  ISSUER: text(),
  ...SHOP_CONFIG,
  ...STORAGE_CONFIG,
  VIEW_GRACE_SECONDS: integer({ default: 30, min: 1, max: 86_400 }),
  /** Between two refreshes of the reports by product and category, which must never be three minutes old. */
  REPORT_SECONDS: integer({ default: 60, min: 1, max: 90 }),
} satisfies ConfigSpec;
