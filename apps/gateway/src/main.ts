import {
  catalogImagesV1,
  catalogV1,
  guestCartsV1,
  operationsV1,
  orderV1,
  queryAdminV1,
  queryV1,
  recommendationV1,
  userAdminV1,
  userV1,
} from '@headroom/contracts';
import { createMemoryLimiter } from '@headroom/ratelimit';
import { systemClock } from '@headroom/resilience';
import { createHealthClient, createRpcClient, createTokenVerifier } from '@headroom/rpc';
import { runService, type HealthCheck } from '@headroom/service';
import { buildApp } from './app';
import { followSessions } from './auth';
import { CONFIG } from './config';
import { createLimits } from './limits';
import { UPLOAD_CALL_MS } from './uploads';

void runService('gateway', CONFIG, async (config, life) => {
  const user = life.own(
    createRpcClient(userV1.UserServiceService, {
      address: config.USER_ADDRESS,
      neverRetry: ['register', 'signIn', 'updateMe', 'updateUser'],
    }),
  );
  const catalog = life.own(
    createRpcClient(catalogV1.CatalogServiceService, {
      address: config.CATALOG_ADDRESS,
      neverRetry: ['createProduct', 'updateProduct', 'setStock'],
    }),
  );
  const order = life.own(
    createRpcClient(orderV1.OrderServiceService, {
      address: config.ORDER_ADDRESS,
      neverRetry: ['putCartItem', 'removeCartItem'],
      timeoutMs: 7_000, // a checkout waits for the catalog inside
    }),
  );
  const query = life.own(createRpcClient(queryV1.QueryServiceService, { address: config.QUERY_ADDRESS }));
  const passwordResets = life.own(
    createRpcClient(userAdminV1.PasswordResetServiceService, {
      address: config.USER_ADDRESS,
      neverRetry: ['requestPasswordReset', 'confirmPasswordReset'],
    }),
  );
  const userAdmin = life.own(
    createRpcClient(userAdminV1.UserAdminServiceService, { address: config.USER_ADDRESS }),
  );
  const images = life.own(
    createRpcClient(catalogImagesV1.ImageServiceService, { address: config.CATALOG_ADDRESS }),
  );
  const guestCarts = life.own(
    createRpcClient(guestCartsV1.GuestCartServiceService, { address: config.ORDER_ADDRESS }),
  );
  const adminQuery = life.own(
    createRpcClient(queryAdminV1.AdminQueryServiceService, {
      address: config.QUERY_ADDRESS,
      neverRetry: ['exportSales'],
    }),
  );
  const recommendation = life.own(
    createRpcClient(recommendationV1.RecommendationServiceService, {
      address: config.RECOMMENDATION_ADDRESS,
    }),
  );
  const operations = (address: string) =>
    life.own(
      createRpcClient(operationsV1.OperationsServiceService, {
        address,
        neverRetry: ['requeueDeadLetter', 'discardDeadLetter'],
      }),
    );
  const uploads = (address: string) =>
    life.own(createRpcClient(operationsV1.UploadServiceService, { address, timeoutMs: UPLOAD_CALL_MS }));

  const verify = createTokenVerifier({
    issuer: config.ISSUER,
    fetchKeys: async () => JSON.parse((await user.getJwks({})).jwksJson),
  });
  const sessions = life.own(followSessions({ verify, user, logger: life.logger }));
  life.ready(() => (sessions.loaded() ? undefined : 'revocations have not been read yet'));

  const services: Array<[string, string, HealthCheck['severity']]> = [
    ['user', config.USER_ADDRESS, 'unhealthy'],
    ['catalog', config.CATALOG_ADDRESS, 'unhealthy'],
    ['order', config.ORDER_ADDRESS, 'unhealthy'],
    ['query', config.QUERY_ADDRESS, 'degraded'],
    ['recommendation', config.RECOMMENDATION_ADDRESS, 'degraded'],
  ];
  for (const [name, address, severity] of services) {
    const health = life.own(createHealthClient({ address }));
    life.health({ name, severity, check: () => health.check() });
  }
  life.health({
    name: 'revocations',
    severity: 'degraded',
    async check() {
      if (!sessions.following())
        throw new Error('the stream of revocations is lost: sessions are asked about');
    },
  });

  await life.role('http', async () => {
    const { app, closeStreams } = await buildApp({
      user,
      catalog,
      order,
      query,
      passwordResets,
      userAdmin,
      images,
      guestCarts,
      adminQuery,
      recommendation,
      operations: {
        user: operations(config.USER_ADDRESS),
        catalog: operations(config.CATALOG_ADDRESS),
        order: operations(config.ORDER_ADDRESS),
        query: operations(config.QUERY_ADDRESS),
        recommendation: operations(config.RECOMMENDATION_ADDRESS),
      },
      uploads: { catalog: uploads(config.CATALOG_ADDRESS), order: uploads(config.ORDER_ADDRESS) },
      sessions,
      health: life.report,
      logger: life.logger,
      signingSecret: config.SIGNING_SECRET,
      shopCurrency: config.SHOP_CURRENCY,
      corsOrigins: config.CORS_ORIGINS,
      trustedProxies: config.TRUSTED_PROXIES,
      limits:
        config.RATE_LIMITS === 'off'
          ? undefined
          : createLimits({
              limits: config.RATE_LIMITS,
              limiter: createMemoryLimiter({ algorithm: config.RATE_LIMIT_ALGORITHM, clock: systemClock }),
            }),
    });
    await app.listen({ port: config.PORT, host: config.BIND_ADDRESS });
    life.logger.info('listening', { port: config.PORT });
    return {
      async close() {
        closeStreams();
        await app.close();
      },
    };
  });
});
