import { histogram } from '@headroom/telemetry';
import { Type } from 'typebox';
import { endpoint } from '../endpoint';

const Milliseconds = (description: string, example: number) =>
  Type.Optional(Type.Number({ minimum: 0, maximum: 3_600_000, description, examples: [example] }));

/** Around the bounds of "good" and "poor" for each: https://web.dev/articles/vitals */
const SECONDS = [0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 1.8, 2.5, 3, 4, 6, 10, 30];
const SHIFTS = [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2];
const observeSeconds = histogram({
  name: 'web_vitals_seconds',
  help: 'Loading and reacting as browsers measured it, by class of page and metric',
  labels: ['page', 'metric'],
  buckets: SECONDS,
});
const observeShift = histogram({
  name: 'web_vitals_layout_shift',
  help: 'Cumulative layout shift as browsers measured it, by class of page',
  labels: ['page'],
  buckets: SHIFTS,
});

/** A tab that slept for an hour says nothing about the shop: above this a value counts as this. */
const MOST_SECONDS = 60;
const MOST_SHIFT = 10;

/** How fast pages were for those who looked at them. */
export const vitalsEndpoints = [
  endpoint({
    method: 'POST',
    path: '/v1/vitals',
    tag: 'Operations',
    summary: 'Tell how fast a page was',
    description:
      'Web Vitals of one page view. Nothing is kept of it but histograms by class of page: home, product, search, category, cart, checkout, orders, account, admin, other.',
    access: 'open',
    cache: 'none',
    unseen: true,
    body: Type.Object(
      {
        page: Type.String({
          minLength: 1,
          maxLength: 2_048,
          description: 'The path of the page, or its class',
          examples: ['/products/blue-mug'],
        }),
        metrics: Type.Object(
          {
            lcp: Milliseconds('Largest contentful paint, ms', 1_840),
            inp: Milliseconds('Interaction to next paint, ms', 96),
            cls: Type.Optional(
              Type.Number({
                minimum: 0,
                maximum: 1_000,
                description: 'Cumulative layout shift, no unit',
                examples: [0.04],
              }),
            ),
            fcp: Milliseconds('First contentful paint, ms', 900),
            ttfb: Milliseconds('Time to first byte, ms', 120),
          },
          { additionalProperties: false, minProperties: 1 },
        ),
      },
      { additionalProperties: false },
    ),
    reply: { status: 204, description: 'Counted' },
    async handle({ body }) {
      const page = pageClass(body.page);
      for (const [metric, value] of Object.entries(body.metrics))
        if (metric === 'cls') observeShift({ page }, Math.min(value, MOST_SHIFT));
        else observeSeconds({ page, metric }, Math.min(value / 1_000, MOST_SECONDS));
    },
  }),
];

const CLASSES: Readonly<Record<string, string>> = {
  '': 'home',
  home: 'home',
  product: 'product',
  products: 'product',
  search: 'search',
  category: 'category',
  categories: 'category',
  cart: 'cart',
  checkout: 'checkout',
  order: 'orders',
  orders: 'orders',
  account: 'account',
  me: 'account',
  'sign-in': 'account',
  admin: 'admin',
};

/** The class of a page by the first step of its path: a closed set, whatever a client sends. */
export function pageClass(page: string): string {
  const [first = '', second] = page.split(/[?#]/)[0]!.replace(/^\/+/, '').split('/');
  const found = Object.hasOwn(CLASSES, first) ? CLASSES[first]! : 'other';
  return first === 'products' && !second ? 'category' : found;
}
