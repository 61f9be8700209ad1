import { address, EVENT_LOG_CONFIG, integer, parsed, port, text, urls } from '@headroom/service';
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
  PASSWORD_RESET_TTL_SECONDS: integer({ default: 3_600, min: 1, max: 86_400 }),
  ...mailConfig(process.env['MAIL_INBOX']),
  /** Of the query service, for the sales digest; unset: none is sent. */
  QUERY_ADDRESS: parsed<string | undefined>(address().expected, address().parse, { default: undefined }),
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

/**
 * Where mails go: SMTP_URL, or nowhere with MAIL_INBOX=1, which wins where both are set. One of them is required, of every role,
 * so that a system that cannot mail is found out at its start.
 */
function mailConfig(inbox: string | undefined) {
  const parseSmtpUrl = (value: string) =>
    URL.canParse(value) && /^smtps?:$/.test(new URL(value).protocol) && new URL(value).hostname !== ''
      ? value
      : undefined;
  return {
    MAIL_INBOX: parsed<boolean>(
      '1 (keep mails for the admin instead of sending them) or 0',
      (value) => (value === '1' ? true : value === '0' ? false : undefined),
      { default: false },
    ),
    SMTP_URL: parsed<string | undefined>(
      'a URL such as smtp://user:password@host:587, or MAIL_INBOX=1 to keep mails for the admin instead',
      parseSmtpUrl,
      { secret: true, ...(inbox === '1' ? { default: undefined } : {}) },
    ),
    /** The sender; unset: `no-reply` at the host of ISSUER. */
    MAIL_FROM: parsed<string | undefined>(
      'an e-mail address',
      (value) => (isEmail(value) ? value : undefined),
      { default: undefined },
    ),
  };
}
