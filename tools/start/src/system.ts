import type { Running } from './running';
import type { Secrets } from './secrets';

/** One process of the system: which app, its environment, and whether its database has migrations. */
export interface ProcessSpec {
  name: string;
  app: string;
  env: Record<string, string>;
  migrates: boolean;
  opsPort: number;
}

export const DATABASES = [
  'user_1',
  'user_2',
  'user_3',
  'catalog',
  'order',
  'views',
  'recommendation',
  'payment',
  'events',
] as const;

/** The address of one of the system's databases. */
export function databaseUrl(
  { ports }: Running,
  { postgresPassword }: Secrets,
  name: (typeof DATABASES)[number],
): string {
  return `postgres://headroom:${encodeURIComponent(postgresPassword)}@127.0.0.1:${ports.postgres}/${name}`;
}

/**
 * The whole system on one machine, in order of start: one process per service, one database per service (three for users,
 * one for the views, one for the event log), all on loopback.
 */
export function systemProcesses(options: Running, secrets: Secrets): ProcessSpec[] {
  const { ports } = options;
  const database = (name: (typeof DATABASES)[number]) => databaseUrl(options, secrets, name);
  const grpc = (index: number) => `127.0.0.1:${ports.internal + index}`;
  const USER_ADDRESS = grpc(0);
  const CATALOG_ADDRESS = grpc(1);
  const ORDER_ADDRESS = grpc(2);
  const QUERY_ADDRESS = grpc(3);
  const RECOMMENDATION_ADDRESS = grpc(4);
  const ISSUER = `http://localhost:${ports.gateway}`;
  const events = { EVENT_LOG_URL: database('events') };
  const shop = { SHOP_CURRENCY: process.env['SHOP_CURRENCY'] || 'EUR' };
  const grpcPort = (address: string) => ({ PORT: address.split(':')[1]! });
  const specs: Array<Omit<ProcessSpec, 'opsPort'>> = [
    {
      name: 'payment',
      app: 'payment-sandbox',
      migrates: true,
      env: { PORT: String(ports.payment), DATABASE_URL: database('payment') },
    },
    {
      name: 'user',
      app: 'user',
      migrates: true,
      env: {
        ...grpcPort(USER_ADDRESS),
        ...events,
        ISSUER,
        USER_SHARD_URLS: (['user_1', 'user_2', 'user_3'] as const).map(database).join(','),
        JWT_PRIVATE_KEYS: secrets.jwtPrivateKey,
        SIGNING_SECRET: secrets.signingSecret,
        ...(process.env['SMTP_URL'] ? { SMTP_URL: process.env['SMTP_URL'] } : { MAIL_INBOX: '1' }),
        QUERY_ADDRESS,
        ADMIN_EMAIL: secrets.adminEmail,
        ADMIN_PASSWORD: secrets.adminPassword,
      },
    },
    {
      name: 'catalog',
      app: 'catalog',
      migrates: true,
      env: {
        ...grpcPort(CATALOG_ADDRESS),
        ...events,
        ...shop,
        ISSUER,
        USER_ADDRESS,
        DATABASE_URL: database('catalog'),
      },
    },
    {
      name: 'order',
      app: 'order',
      migrates: true,
      env: {
        ...grpcPort(ORDER_ADDRESS),
        ...events,
        ...shop,
        ISSUER,
        USER_ADDRESS,
        CATALOG_ADDRESS,
        PAYMENT_URL: `http://127.0.0.1:${ports.payment}`,
        DATABASE_URL: database('order'),
      },
    },
    {
      name: 'projector',
      app: 'projector',
      migrates: true,
      env: {
        ...grpcPort(QUERY_ADDRESS),
        ...events,
        ...shop,
        ISSUER,
        USER_ADDRESS,
        DATABASE_URL: database('views'),
      },
    },
    {
      name: 'recommendation',
      app: 'recommendation',
      migrates: true,
      env: {
        ...grpcPort(RECOMMENDATION_ADDRESS),
        ...events,
        ISSUER,
        USER_ADDRESS,
        DATABASE_URL: database('recommendation'),
      },
    },
    {
      name: 'gateway',
      app: 'gateway',
      migrates: false,
      env: {
        PORT: String(ports.gateway),
        ...shop,
        ISSUER,
        USER_ADDRESS,
        CATALOG_ADDRESS,
        ORDER_ADDRESS,
        QUERY_ADDRESS,
        RECOMMENDATION_ADDRESS,
        SIGNING_SECRET: secrets.signingSecret,
        // The sign-in throttle and limits count addresses: nothing stands in front of this gateway.
        TRUSTED_PROXIES: process.env['TRUSTED_PROXIES'] ?? '',
        RATE_LIMITS: process.env['RATE_LIMITS'] ?? '',
        RATE_LIMIT_ALGORITHM: process.env['RATE_LIMIT_ALGORITHM'] ?? '',
      },
    },
  ];
  return specs.map((spec, index) => {
    const opsPort = ports.internal + 8 + index;
    return { ...spec, opsPort, env: { DRAIN_SECONDS: '0', ...spec.env, OPS_PORT: String(opsPort) } };
  });
}
