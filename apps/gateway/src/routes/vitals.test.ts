import { scrape } from '@headroom/telemetry';
import { startGateway, type TestGateway } from '../../test/fakes';
import { pageClass } from './vitals';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const send = (payload: object) => gateway.app.inject({ method: 'POST', url: '/v1/vitals', payload });

test('a page view is counted under the class of its page, in seconds', async () => {
  const answer = await send({ page: '/products/blue-mug?q=1', metrics: { lcp: 1_900, cls: 0.2, inp: 90 } });
  expect([answer.statusCode, answer.body]).toEqual([204, '']);
  const { body } = await scrape();
  expect(body).toContain('web_vitals_seconds_sum{page="product",metric="lcp"} 1.9');
  expect(body).toContain('web_vitals_layout_shift_sum{page="product"} 0.2');
  expect(body).not.toContain('blue-mug');
});

test.each([
  ['/', 'home'],
  ['home', 'home'],
  ['/products', 'category'],
  ['/products/blue-mug', 'product'],
  ['/cart#top', 'cart'],
  ['/orders/01932f4e', 'orders'],
  ['/admin/jobs', 'admin'],
  ['/made-up-by-a-stranger', 'other'],
  ['constructor', 'other'],
])('%s is of the class %s', (page, expected) => {
  expect(pageClass(page)).toBe(expected);
});

test('whatever pages are named, there are no more series than classes', async () => {
  for (let at = 0; at < 50; at += 1) await send({ page: `/${at}`, metrics: { fcp: 1 } });
  const { body } = await scrape();
  expect(body.match(/web_vitals_seconds_count\{page="[^"]+",metric="fcp"\}/g)).toEqual([
    'web_vitals_seconds_count{page="other",metric="fcp"}',
  ]);
});

test('one absurd value moves a sum by a minute at most', async () => {
  await send({ page: '/checkout', metrics: { ttfb: 3_600_000 } });
  expect((await scrape()).body).toContain('web_vitals_seconds_sum{page="checkout",metric="ttfb"} 60');
});

test.each([
  ['metrics', { page: '/', metrics: {} }],
  ['metrics.lcp', { page: '/', metrics: { lcp: -1 } }],
  ['metrics.lcp', { page: '/', metrics: { lcp: 1e12 } }],
  ['metrics.fid', { page: '/', metrics: { fid: 1 } }],
  ['page', { metrics: { lcp: 1 } }],
])('a mistake in %s is named', async (path, payload) => {
  expect((await send(payload)).json()).toMatchObject({ code: 'VALIDATION_FAILED', errors: [{ path }] });
});
