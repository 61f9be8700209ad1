import { fault, type catalogV1, type operationsV1, type orderV1, type userV1 } from '@headroom/contracts';
import { unauthenticated, currentCall, type CallContext, type Principal } from '@headroom/rpc';
import type { HealthReport } from '@headroom/service';
import { currentTraceparent, silentLogger } from '@headroom/telemetry';
import { ManualClock } from '@headroom/testing';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../src/app';
import type { AppOptions, OperationsCalls, UploadCalls } from '../src/deps';

/**
 * The gateway with services that stand in its own process: what a call was given can be read, what it answers can be set.
 * Only the gateway's own behaviour is tested this way.
 */
export const IDS = {
  user: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b11',
  session: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b12',
  product: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b21',
  order: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b31',
  job: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b41',
  letter: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b51',
  upload: '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b61',
} as const;
const TIME = '2026-11-25T09:30:00.000Z';

export const aUser: userV1.User = {
  id: IDS.user,
  email: 'ada@example.com',
  name: 'Ada',
  role: 'customer',
  tier: 'free',
  disabled: false,
  createdAt: TIME,
  version: 3n,
};

export const aProduct: catalogV1.Product = {
  id: IDS.product,
  slug: 'blue-mug',
  sku: 'MUG-BLUE',
  name: 'Blue mug',
  description: 'Holds tea',
  category: 'kitchen/mugs',
  price: { amountMinor: 1999n, currency: 'EUR' },
  available: 5n,
  imageUrl: '',
  archived: false,
  createdAt: TIME,
  updatedAt: TIME,
  version: 7n,
};

export const anOrder = (over: Partial<orderV1.Order> = {}): orderV1.Order => ({
  id: IDS.order,
  userId: IDS.user,
  status: 'pending',
  paymentStatus: 'pending',
  cancelReason: '',
  items: [
    {
      productId: IDS.product,
      name: 'Blue mug',
      quantity: 2,
      unitPrice: { amountMinor: 1999n, currency: 'EUR' },
      lineTotal: { amountMinor: 3998n, currency: 'EUR' },
    },
  ],
  total: { amountMinor: 3998n, currency: 'EUR' },
  placedAt: TIME,
  updatedAt: TIME,
  version: 1n,
  ...over,
});

const aCart: orderV1.Cart = {
  version: 4n,
  items: [
    {
      productId: IDS.product,
      name: 'Blue mug',
      quantity: 2,
      unitPrice: { amountMinor: 1999n, currency: 'EUR' },
      lineTotal: { amountMinor: 3998n, currency: 'EUR' },
      inStock: true,
    },
  ],
  total: { amountMinor: 3998n, currency: 'EUR' },
};

export const aJob = (over: Partial<operationsV1.Job> = {}): operationsV1.Job => ({
  id: IDS.job,
  type: 'product-import',
  status: 'queued',
  processed: 0n,
  created: 0n,
  updated: 0n,
  unchanged: 0n,
  rejected: 0n,
  errors: [],
  createdAt: TIME,
  ...over,
});

export const aDeadLetter = (over: Partial<operationsV1.DeadLetter> = {}): operationsV1.DeadLetter => ({
  id: IDS.letter,
  source: 'projector',
  topic: 'headroom.order.v1',
  key: IDS.order,
  eventId: IDS.order,
  error: 'it cannot be',
  attempts: 10,
  failedAt: TIME,
  payload: '{"specversion":"1.0"}',
  ...over,
});

/** The service that has every job and dead letter that is asked for; the others have none. */
const owner: OperationsCalls = {
  listJobs: async () => ({ jobs: [aJob()], more: false, total: 1n, totalIsEstimate: false }),
  getJob: async ({ jobId }) => aJob({ id: jobId }),
  listDeadLetters: async () => ({
    deadLetters: [aDeadLetter()],
    more: false,
    total: 1n,
    totalIsEstimate: false,
  }),
  requeueDeadLetter: async () => ({}),
  discardDeadLetter: async () => ({}),
};
const notFound = async (): Promise<never> => {
  throw fault('NOT_FOUND');
};
const stranger: OperationsCalls = {
  listJobs: async () => ({ jobs: [], more: false, total: 0n, totalIsEstimate: false }),
  getJob: notFound,
  listDeadLetters: async () => ({ deadLetters: [], more: false, total: 0n, totalIsEstimate: false }),
  requeueDeadLetter: notFound,
  discardDeadLetter: notFound,
};
const takesUploads: UploadCalls = {
  beginUpload: async () => ({ uploadId: IDS.upload }),
  appendUpload: async () => ({}),
  completeUpload: async () => ({ job: aJob(), positions: [] }),
  abandonUpload: async () => ({}),
};

const aStock: catalogV1.Stock = { productId: IDS.product, onHand: 7n, available: 5n, held: 2n, version: 9n };
const written = { product: aProduct, positions: [{ subject: `product/${IDS.product}`, version: 7n }] };
const stored = (status: number) => ({
  status,
  body: Buffer.from('{"id":"kept","status":"pending"}'),
  contentType: 'application/json; charset=utf-8',
  location: `/v1/orders/${IDS.order}`,
  replayed: false,
  positions: [{ subject: `order/${IDS.order}`, version: 1n }],
});

async function* once<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

function services() {
  const session: userV1.SessionTokens = {
    accessToken: 'a.b.c',
    refreshToken: 'opaque',
    expiresInSeconds: 600,
    user: aUser,
  };
  const user: AppOptions['user'] = {
    register: async () => aUser,
    signIn: async () => session,
    refresh: async () => session,
    signOut: async () => ({}),
    getMe: async () => aUser,
    updateMe: async () => aUser,
    findUserByEmail: async () => ({ user: aUser }),
    getUser: async () => aUser,
    updateUser: async () => aUser,
    getJwks: async () => ({ jwksJson: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"abc","kid":"1"}]}' }),
    watchRevocations: () => once({ revocations: [], caughtUp: true }),
    checkSession: async () => ({ active: true }),
  };
  const catalog: AppOptions['catalog'] = {
    getProduct: async () => aProduct,
    getQuotes: async () => ({ quotes: [] }),
    createProduct: async () => written,
    updateProduct: async () => written,
    archiveProduct: async () => written,
    restoreProduct: async () => written,
    listProducts: async () => ({
      products: [aProduct],
      nextAfterId: IDS.product,
      total: 40n,
      totalIsEstimate: false,
    }),
    getStock: async () => aStock,
    setStock: async () => ({ stock: aStock, positions: [{ subject: `stock/${IDS.product}`, version: 9n }] }),
    listStockLedger: async () => ({
      entries: [{ id: IDS.product, delta: 7n, reason: 'opening', orderId: '', at: TIME }],
      nextAfterId: '',
      total: 1n,
      totalIsEstimate: false,
    }),
    placeHold: unused,
    confirmHold: unused,
    releaseHold: unused,
    returnUnits: unused,
  };
  const order: AppOptions['order'] = {
    getCart: async () => aCart,
    putCartItem: async () => aCart,
    removeCartItem: async () => aCart,
    placeOrder: async () => stored(201),
    cancelOrder: async () => stored(202),
    getOrder: async () => anOrder(),
    listRecentOrders: async () => ({ orders: [anOrder()], total: 1n, totalIsEstimate: false }),
    watchOrder: () => once(anOrder({ version: 5n, status: 'confirmed', paymentStatus: 'paid' })),
  };
  const query: AppOptions['query'] = {
    listProducts: async () => ({
      products: [aProduct],
      next: 'position-1',
      total: 12n,
      totalIsEstimate: false,
    }),
    listCategories: async () => ({
      categories: [
        {
          slug: 'kitchen',
          name: 'Kitchen',
          productCount: 2n,
          children: [{ slug: 'kitchen/mugs', name: 'Mugs', productCount: 1n, children: [] }],
        },
      ],
    }),
    listOrders: async () => ({ orders: [], more: false, watermarkMs: 5n }),
    getSalesByDay: async () => ({
      days: [
        {
          day: '2026-11-24',
          currency: 'EUR',
          orders: 1n,
          units: 2n,
          revenue: { amountMinor: 3998n, currency: 'EUR' },
        },
      ],
      next: '',
      asOf: TIME,
      total: 1n,
      totalIsEstimate: false,
    }),
    getCustomerSummary: unused,
  };
  const passwordResets: AppOptions['passwordResets'] = {
    requestPasswordReset: async () => ({}),
    confirmPasswordReset: async () => ({}),
  };
  const userAdmin: AppOptions['userAdmin'] = {
    listUsers: async () => ({ users: [aUser], more: false, total: 1n, totalIsEstimate: false }),
    listMails: async () => ({
      mails: [
        {
          id: IDS.letter,
          to: 'ada@example.com',
          subject: 'Welcome',
          text: 'Hello',
          kind: 'welcome',
          createdAt: TIME,
        },
      ],
      more: false,
      total: 1n,
      totalIsEstimate: false,
    }),
  };
  const images: AppOptions['images'] = {
    getImage: async () => ({
      content: Buffer.from('RIFF....WEBPVP8 '),
      sizeBytes: 16n,
      contentType: 'image/webp',
    }),
  };
  const guestCarts: AppOptions['guestCarts'] = { mergeGuestCart: async () => ({ mergedLines: 1 }) };
  const adminQuery: AppOptions['adminQuery'] = {
    listAllOrders: async () => ({ orders: [anOrder()], more: false, total: 1n, totalIsEstimate: false }),
    getSales: async () => ({
      rows: [
        {
          group: IDS.product,
          currency: 'EUR',
          orders: 1n,
          units: 2n,
          revenue: { amountMinor: 3998n, currency: 'EUR' },
        },
      ],
      next: '',
      asOf: TIME,
      total: 1n,
      totalIsEstimate: false,
    }),
    exportSales: async () => ({ job: aJob({ type: 'sales-export' }), positions: [] }),
    getSalesExport: async () => ({
      content: Buffer.from('day,currency\n'),
      sizeBytes: 13n,
      contentType: 'text/csv',
    }),
  };
  const recommendation: AppOptions['recommendation'] = {
    listRelated: async () => ({ products: [aProduct] }),
    listTrending: async () => ({ products: [aProduct] }),
    listForMe: async () => ({ products: [aProduct] }),
    recordActivity: async () => ({}),
  };
  return {
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
    catalogWork: { ...owner },
    orderWork: { ...stranger },
    userWork: { ...stranger },
    catalogUploads: { ...takesUploads },
    orderUploads: { ...takesUploads },
  };
}

const unused = async (): Promise<never> => {
  throw new Error('no route calls this');
};

export const TOKENS = { customer: 'customer.token.x', admin: 'admin.token.x' } as const;
export const bearer = (who: keyof typeof TOKENS) => ({ authorization: `Bearer ${TOKENS[who]}` });

const principal = (role: Principal['role']): Principal => ({
  userId: IDS.user,
  sessionId: IDS.session,
  role,
  tier: 'free',
  issuedAtSeconds: Date.UTC(2026, 0, 1) / 1_000,
  expiresAtSeconds: Date.UTC(2026, 0, 1) / 1_000 + 600,
});

/** One call that a service received: its request, and what travelled with it. */
export interface Received {
  method: string;
  request: unknown;
  context: CallContext | undefined;
  traceparent: string | undefined;
}

export interface TestGateway {
  app: FastifyInstance;
  closeStreams(): void;
  clock: ManualClock;
  /** Replace a method to make a service answer otherwise. */
  services: Replaceable<ReturnType<typeof services>>;
  /** All calls so far, oldest first. */
  received: Received[];
  /** How often a token was verified. */
  verified: { count: number };
  revoke(): void;
  /** Makes the services answer as at the start, and forgets their calls. */
  reset(): void;
  health: { report: HealthReport };
  close(): Promise<void>;
}

type Replaceable<T> = { [K in keyof T]: { -readonly [M in keyof T[K]]: T[K][M] } };

/** A gateway of its own for one test file or test. */
export async function startGateway(over: Partial<AppOptions> = {}): Promise<TestGateway> {
  const clock = new ManualClock();
  const fakes = services();
  const received: Received[] = [];
  const verified = { count: 0 };
  let active = true;
  const health: { report: HealthReport } = {
    report: {
      status: 'healthy',
      checks: { catalog: { status: 'healthy', durationMs: 3, details: { address: 'internal:1' } } },
    },
  };
  const listen = <T extends object>(service: T): T =>
    new Proxy(service, {
      get(target, method: string) {
        const call = target[method as keyof T] as (request: unknown, options: unknown) => unknown;
        return (request: unknown, options: unknown) => {
          received.push({
            method,
            request,
            context: currentCall() && { ...currentCall()! },
            traceparent: currentTraceparent(),
          });
          return call(request, options);
        };
      },
    });
  const { app, closeStreams } = await buildApp({
    user: listen(fakes.user),
    catalog: listen(fakes.catalog),
    order: listen(fakes.order),
    query: listen(fakes.query),
    passwordResets: listen(fakes.passwordResets),
    userAdmin: listen(fakes.userAdmin),
    images: listen(fakes.images),
    guestCarts: listen(fakes.guestCarts),
    adminQuery: listen(fakes.adminQuery),
    recommendation: listen(fakes.recommendation),
    operations: {
      user: listen(fakes.userWork),
      catalog: listen(fakes.catalogWork),
      order: listen(fakes.orderWork),
    },
    uploads: { catalog: listen(fakes.catalogUploads), order: listen(fakes.orderUploads) },
    sessions: {
      async authenticate(authorization) {
        verified.count += 1;
        const token = authorization.replace(/^Bearer /, '');
        if (!active) throw unauthenticated('the session has ended');
        if (token === TOKENS.customer) return principal('customer');
        if (token === TOKENS.admin) return principal('admin');
        throw unauthenticated('the access token is not valid');
      },
      isActive: async () => active,
    },
    health: async () => health.report,
    logger: silentLogger,
    clock,
    signingSecret: 'a secret of the tests, long enough',
    shopCurrency: 'EUR',
    corsOrigins: ['https://shop.example'],
    trustedProxies: [],
    limits: undefined,
    ...over,
  });
  return {
    app,
    closeStreams,
    clock,
    services: fakes,
    received,
    verified,
    revoke: () => (active = false),
    reset() {
      const fresh = services();
      for (const name of Object.keys(fresh) as Array<keyof typeof fresh>)
        Object.assign(fakes[name], fresh[name]);
      received.length = 0;
    },
    health,
    async close() {
      closeStreams();
      await app.close();
    },
  };
}
