import { fault } from '@headroom/contracts';
import { isUuidv7 } from '@headroom/resilience';
import { aProduct, bearer, IDS, startGateway, type TestGateway } from '../../test/fakes';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
beforeEach(() => gateway.reset());
afterAll(() => gateway.close());

const ROUTES = [
  [`/v1/products/${IDS.product}/related`, 'listRelated', { productId: IDS.product }],
  ['/v1/products/trending', 'listTrending', {}],
  ['/v1/me/recommendations', 'listForMe', {}],
] as const;
const get = (url: string) => gateway.app.inject({ url, headers: bearer('customer') });
const lastRequest = (method: string) =>
  gateway.received.filter((call) => call.method === method).at(-1)!.request;
interface Found {
  items: Array<{ id: string; name?: string }>;
  degraded?: boolean;
}

describe.each(ROUTES)('%s', (url, method, request) => {
  test('gives what the recommendations say, as many as were asked for', async () => {
    const answer = await get(`${url}?limit=7`);
    expect(lastRequest(method)).toEqual({ ...request, limit: 7 });
    expect(answer.json()).toEqual({ items: [expect.objectContaining({ id: IDS.product })] });
    await get(url);
    expect(lastRequest(method)).toEqual({ ...request, limit: 20 });
    expect((await get(`${url}?limit=101`)).statusCode).toBe(400);
    expect((await get(`${url}?fields=name`)).json()).toEqual({
      items: [{ id: IDS.product, name: 'Blue mug' }],
    });
  });

  test.each([
    fault('DEPENDENCY_UNAVAILABLE'),
    fault('DEPENDENCY_UNAVAILABLE', { kind: 'timeout' }),
    fault('OVERLOADED'),
    fault('INTERNAL'),
  ])(
    'while they are away (%s) popular products stand in, still 200, and nobody keeps them',
    async (error) => {
      gateway.services.recommendation[method] = async () => {
        throw error;
      };
      const answer = await get(`${url}?limit=3&fields=name`);
      expect([answer.statusCode, answer.headers['cache-control']]).toEqual([200, 'no-store']);
      expect(answer.json<Found>().degraded).toBe(true);
      expect(lastRequest('listProducts')).toMatchObject({ sort: 4, limit: 4 });
    },
  );

  test('while the view is away too it is a 503', async () => {
    const away = async (): Promise<never> => {
      throw fault('DEPENDENCY_UNAVAILABLE');
    };
    gateway.services.recommendation[method] = away;
    gateway.services.query.listProducts = away;
    expect((await get(url)).statusCode).toBe(503);
  });
});

test('a product is not related to itself, and no more come than were asked for', async () => {
  gateway.services.recommendation.listRelated = async () => {
    throw fault('DEPENDENCY_UNAVAILABLE');
  };
  gateway.services.query.listProducts = async ({ limit }) => ({
    products: [IDS.product, IDS.order, IDS.user, IDS.job].slice(0, limit).map((id) => ({ ...aProduct, id })),
    next: '',
    totalIsEstimate: false,
  });
  const { items } = (await get(`/v1/products/${IDS.product}/related?limit=2`)).json<Found>();
  expect(items.map(({ id }) => id)).toEqual([IDS.order, IDS.user]);
});

test('an unknown product is a 404, not a reason for popular ones', async () => {
  gateway.services.recommendation.listRelated = async () => {
    throw fault('NOT_FOUND');
  };
  for (const id of [IDS.order, 'not-an-id', 'blue-mug'])
    expect((await get(`/v1/products/${id}/related`)).statusCode).toBe(404);
});

test('recommendations of the caller need a caller', async () => {
  expect((await gateway.app.inject('/v1/me/recommendations')).statusCode).toBe(401);
});

describe('activity', () => {
  const record = async (headers: Record<string, string>, body: object = {}) => {
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/activity',
      headers,
      payload: { type: 'view', productId: IDS.product, ...body },
    });
    expect([answer.statusCode, answer.body]).toEqual([202, '']);
    return (lastRequest('recordActivity') as { guestId: string }).guestId;
  };

  test('of who is signed in has no guest, whatever token is sent along', async () => {
    expect(await record({ ...bearer('customer'), 'cart-token': 'guest' })).toBe('');
    expect(lastRequest('recordActivity')).toEqual({ type: 'view', productId: IDS.product, guestId: '' });
  });

  test('of one guest has one id, which is not the token; of strangers never the same', async () => {
    const id = await record({ 'cart-token': 'guest-1' });
    expect(await record({ 'cart-token': 'guest-1' }, { type: 'click' })).toBe(id);
    expect(await record({ 'cart-token': 'guest-2' })).not.toBe(id);
    expect(id).not.toContain('guest');
    const [first, second] = [await record({}), await record({ 'cart-token': 'no good' })];
    expect([isUuidv7(first), isUuidv7(second), first === second]).toEqual([true, true, false]);
  });

  test.each([
    ['userId', { userId: IDS.user }],
    ['type', { type: 'purchase' }],
    ['productId', { productId: 'blue-mug' }],
  ])('a client cannot say a wrong %s', async (path, body) => {
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/activity',
      payload: { type: 'view', productId: IDS.product, ...body },
    });
    expect(answer.json()).toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path }] });
  });
});
