import {
  DATABASE_CONFIG,
  EVENT_LOG_CONFIG,
  SHOP_CONFIG,
  address,
  integer,
  port,
  text,
  url,
} from '@headroom/service';
import { STORAGE_CONFIG } from '@headroom/storage';

/** The environment of the order service, beside what every service reads. */
export const orderConfig = {
  PORT: port({ default: 0 }),
  ...DATABASE_CONFIG,
  ...EVENT_LOG_CONFIG,
  ...STORAGE_CONFIG,
  USER_ADDRESS: address(),
  CATALOG_ADDRESS: address(),
  PAYMENT_URL: url(['http', 'https']),
  ISSUER: text(),
  ...SHOP_CONFIG,
  ORDER_PAYMENT_TIMEOUT_SECONDS: integer({ default: 600, min: 1, max: 86_400 }),
  HOLD_TTL_SECONDS: integer({ default: 900, min: 1, max: 86_400 }),
};
