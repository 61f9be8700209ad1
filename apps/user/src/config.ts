import { EVENT_LOG_CONFIG, integer, parsed, port, text, urls } from '@headroom/service';
import { parseSigningKeys } from './access-tokens';
import { parseSignInLimits, type SignInLimits } from './throttle';
import { isEmail } from './user';

/** The environment of the user service, beside what every service reads. */
export const userConfig = {
  PORT: port({ default: 0 }),
  USER_SHARD_URLS: urls(['postgres', 'postgresql']),
  ...EVENT_LOG_CONFIG,
  JWT_PRIVATE_KEYS: parsed(
    'one or more Ed25519 private keys in PEM (PKCS #8), one after another, the signing one first',
    parseSigningKeys,
    { secret: true },
  ),
  SIGNING_SECRET: parsed<string>(
    'at least 32 characters',
    (value) => (value.length >= 32 ? value : undefined),
    { secret: true },
  ),
  ISSUER: text(),
  ACCESS_TOKEN_TTL_SECONDS: integer({ default: 600, min: 10, max: 3_600 }),
  SIGN_IN_LIMITS: parsed<SignInLimits>('off, or account=N/Tmin,address=N/Tmin', parseSignInLimits, {
    default: parseSignInLimits('account=10/15min,address=100/15min')!,
  }),
  ADMIN_EMAIL: parsed<string | undefined>(
    'an e-mail address',
    (value) => (isEmail(value) ? value : undefined),
    { default: undefined },
  ),
  ADMIN_PASSWORD: parsed<string | undefined>(
    '8 to 128 characters',
    (value) => (value.length >= 8 && value.length <= 128 ? value : undefined),
    { default: undefined, secret: true },
  ),
};
