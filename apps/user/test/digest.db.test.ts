import { queryAdminV1, queryV1 } from '@headroom/contracts';
import { createRpcClient, createTokenVerifier, implement, serveGrpc, type ServerCall } from '@headroom/rpc';
import { Fault } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { eventually, ManualClock } from '@headroom/testing';
import { createAccessTokens, parseSigningKeys } from '../src/access-tokens';
import { listMails } from '../src/repository';
import {
  createTestShards,
  ISSUER,
  newEmail,
  openMailJobs,
  pemKey,
  PASSWORD,
  startMails,
  startUserService,
  type TestShards,
} from './harness';

const MORNING = Date.parse('2026-03-02T05:59:00Z');
const PRODUCTS = Array.from({ length: 230 }, (_, index) => ({
  group: `product-${String(index).padStart(3, '0')}`,
  currency: 'EUR',
  orders: 1n,
  units: BigInt((index * 37) % 230) + (index === 229 ? 1_000n : 0n), // each number of units once, the last the most
  revenue: { amountMinor: 100n, currency: 'EUR' },
}));

let shards: TestShards;
let service: Awaited<ReturnType<typeof startUserService>>;
let query: Awaited<ReturnType<typeof startQueryDouble>>;
const clock = new ManualClock(MORNING);
const keys = pemKey();
beforeAll(async () => {
  shards = await createTestShards();
  service = await startUserService({ shards, clock, keys });
  query = await startQueryDouble();
});
afterAll(async () => {
  await service.close();
  await query.close();
  await shards.drop();
});

const isComplete = (asOf: string) => asOf >= '2026-03-02';

/** The query service's reports of 1 March, for admins only; away until told otherwise. */
async function startQueryDouble() {
  const state = {
    away: true,
    asOf: '2026-03-01T23:59:59.000Z',
    productsAsOf: '2026-03-01T23:59:59.000Z',
    asked: 0,
  };
  const answer = async (call: ServerCall, range: { from: string; to: string }) => {
    await call.admin();
    state.asked += 1;
    if (state.away) throw new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', {});
    expect(range).toMatchObject({ from: '2026-03-01', to: '2026-03-02' });
  };
  const sales = {
    async getSalesByDay(request: queryV1.GetSalesByDayRequest, call: ServerCall) {
      await answer(call, request);
      const orders = isComplete(state.asOf) ? 12n : 11n;
      const row = { day: '2026-03-01', orders, units: 34n };
      return {
        days: [
          { ...row, currency: 'EUR', revenue: { amountMinor: 123_456n, currency: 'EUR' } },
          { ...row, currency: 'JPY', revenue: { amountMinor: 9_000n, currency: 'JPY' } },
        ],
        next: '',
        asOf: state.asOf,
      };
    },
  };
  const products = {
    async getSales(request: queryAdminV1.GetSalesRequest, call: ServerCall) {
      await answer(call, request);
      const all = isComplete(state.productsAsOf) ? PRODUCTS : PRODUCTS.slice(0, -1);
      const rows = all.filter(({ group }) => group > request.after).slice(0, request.limit);
      const last = rows.at(-1)!.group;
      return { rows, next: last === all.at(-1)!.group ? '' : last, asOf: state.productsAsOf };
    },
  };
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [
      implement('headroom.query.v1.QueryService', queryV1.QueryServiceService, sales as never),
      implement(
        'headroom.query.v1.AdminQueryService',
        queryAdminV1.AdminQueryServiceService,
        products as never,
      ),
    ],
    verifyToken: createTokenVerifier({
      issuer: ISSUER,
      clock,
      fetchKeys: async () => accessTokens().jwks(),
    }),
    logger: silentLogger,
  });
  const address = `127.0.0.1:${server.port}`;
  const clients = {
    sales: createRpcClient(queryV1.QueryServiceService, { address }),
    products: createRpcClient(queryAdminV1.AdminQueryServiceService, { address }),
  };
  return {
    state,
    clients,
    async close() {
      clients.sales.close();
      clients.products.close();
      await server.close();
    },
  };
}

const accessTokens = () =>
  createAccessTokens({ keys: parseSigningKeys(keys)!, issuer: ISSUER, ttlSeconds: 60, clock });
const digests = async (email: string) =>
  listMails(shards.all[0]!.db, { to: email, limit: 10, afterId: undefined });

it('every admin gets yesterday’s sales once, over all replicas, as soon as the reports can be had and are complete', async () => {
  const admins = [newEmail(), newEmail(), newEmail()];
  for (const email of admins) await service.accounts.ensureAdmin({ email, password: PASSWORD });
  const disabled = await service.accounts.findByEmail(admins[2]!);
  await service.accounts.change(disabled!.id, { disabled: true });
  const customer = await service.customer();

  const replicas = await Promise.all(
    [1, 2].map(async () => {
      const jobs = await openMailJobs(shards, clock);
      const mails = await startMails({
        shards,
        jobs,
        clock,
        digest: { reports: query.clients, accessTokens: accessTokens() },
      });
      return {
        async close() {
          await mails.close();
          await jobs.close();
        },
      };
    }),
  );
  try {
    clock.advance(60_000);
    await eventually(() => expect(query.state.asked).toBeGreaterThan(2)); // away: tried again
    query.state.away = false;
    const { asked } = query.state;
    await eventually(() => expect(query.state.asked).toBeGreaterThan(asked)); // there, and behind: tried again
    expect(await digests(admins[0]!)).toEqual([]);
    query.state.asOf = '2026-03-02T05:59:59.000Z';
    const before = query.state.asked;
    await eventually(() => expect(query.state.asked).toBeGreaterThan(before + 2)); // the products are behind
    expect(await digests(admins[0]!)).toEqual([]);
    query.state.productsAsOf = '2026-03-02T05:59:59.000Z';

    for (const email of admins.slice(0, 2))
      await eventually(async () => expect(await digests(email)).toHaveLength(1), 20_000);
    clock.advance(12 * 3_600_000);
  } finally {
    for (const replica of replicas) await replica.close();
  }
  for (const email of admins.slice(0, 2)) expect(await digests(email)).toHaveLength(1);
  for (const email of [admins[2]!, customer.email]) expect(await digests(email)).toEqual([]);

  const [{ subject, text } = { subject: '', text: '' }] = await digests(admins[0]!);
  expect(subject).toBe('Sales of 2026-03-01');
  expect(text).toContain('1234.56 EUR: 12 orders, 34 units');
  expect(text).toContain('9000 JPY: 12 orders, 34 units');
  const best = [...PRODUCTS].sort((one, other) => Number(other.units - one.units)).slice(0, 5);
  expect(text.split('\n').filter((line) => line.startsWith('product-'))).toEqual(
    best.map(({ group, units }) => `${group}: ${units} units, 1.00 EUR`),
  );
});
