import { readHistoricOrder, recordHistory, rfc3339Ms, type HistoricOrder } from './history';
import { placedAtMs } from './order';

const NOW = Date.parse('2026-06-01T12:00:00Z');
const price = (amountMinor: unknown, currency: unknown = 'GBP') => ({ amountMinor, currency });
const item = (rest: object = {}) => ({ sku: '85123A', quantity: 6, unitPrice: price(255), ...rest });
const order = (rest: object = {}) => ({
  externalId: '536365',
  email: 'Ada@Example.com',
  placedAt: '2010-12-01T08:26:00Z',
  items: [item()],
  ...rest,
});
const read = (value: unknown) =>
  readHistoricOrder(typeof value === 'string' ? value : JSON.stringify(value), NOW);
const good = (value: unknown): HistoricOrder => {
  const found = read(value);
  if ('code' in found) throw new Error(found.reason);
  return found;
};

it('reads an order with each line as it stands and the exact sum', () => {
  const items = [item(), item({ quantity: 99_999, unitPrice: price(0) }), item({ unitPrice: price(339) })];
  expect(good(order({ items }))).toMatchObject({
    externalId: '536365',
    email: 'Ada@Example.com',
    placedAtMs: Date.UTC(2010, 11, 1, 8, 26),
    currency: 'GBP',
    items: [
      { sku: '85123A', quantity: 6, unitPriceMinor: 255n },
      { sku: '85123A', quantity: 99_999, unitPriceMinor: 0n },
      { sku: '85123A', quantity: 6, unitPriceMinor: 339n },
    ],
    totalMinor: 3_564n,
  });
  expect(good(order({ email: null })).email).toBeUndefined();
  expect(good(order({ items: Array.from({ length: 1_000 }, () => item()) })).totalMinor).toBe(1_530_000n);
});

it.each([
  ['no JSON', '{"externalId":', 'LINE_MALFORMED', 'is not valid JSON'],
  ['no object', '[1]', 'LINE_MALFORMED', 'must be a JSON object'],
  ['an unknown member', order({ note: 1 }), 'VALIDATION_FAILED', 'note is not known'],
  ['no id', order({ externalId: undefined }), 'VALIDATION_FAILED', 'externalId must be text of 1 to 200'],
  ['an id with NUL', order({ externalId: 'a\0' }), 'VALIDATION_FAILED', 'externalId must be text'],
  [
    'an id of half a character',
    order({ externalId: '\ud800' }),
    'VALIDATION_FAILED',
    'externalId must be text',
  ],
  ['no e-mail address', order({ email: 'ada' }), 'VALIDATION_FAILED', 'email must be an e-mail address'],
  [
    'no RFC 3339',
    order({ placedAt: '01/12/2010' }),
    'VALIDATION_FAILED',
    'placedAt must be a time of RFC 3339',
  ],
  [
    'no such day',
    order({ placedAt: '2010-02-29T00:00:00Z' }),
    'VALIDATION_FAILED',
    'placedAt must be a time',
  ],
  [
    'before 1970',
    order({ placedAt: '1969-12-31T23:59:59Z' }),
    'VALIDATION_FAILED',
    'placedAt must not be before',
  ],
  [
    'ahead',
    order({ placedAt: '2026-06-01T12:05:00.001Z' }),
    'VALIDATION_FAILED',
    'placedAt must not be more than 5',
  ],
  ['no items', order({ items: [] }), 'VALIDATION_FAILED', 'items must be a list of 1 to 1000'],
  [
    'too many items',
    order({ items: Array(1_001).fill(item()) }),
    'VALIDATION_FAILED',
    'items must be a list',
  ],
  ['an item that is none', order({ items: ['x'] }), 'VALIDATION_FAILED', 'items[0] must be an object'],
  [
    'quantity 0',
    order({ items: [item({ quantity: 0 })] }),
    'VALIDATION_FAILED',
    'items[0].quantity must be a whole',
  ],
  [
    'quantity 100,000',
    order({ items: [item({ quantity: 100_000 })] }),
    'VALIDATION_FAILED',
    'items[0].quantity',
  ],
  ['half a unit', order({ items: [item({ quantity: 1.5 })] }), 'VALIDATION_FAILED', 'items[0].quantity'],
  [
    'no price',
    order({ items: [item({ unitPrice: 2.55 })] }),
    'VALIDATION_FAILED',
    'items[0].unitPrice must be an object',
  ],
  [
    'half a penny',
    order({ items: [item({ unitPrice: price(2.5) })] }),
    'VALIDATION_FAILED',
    'items[0].unitPrice.amountMinor',
  ],
  [
    'a price below 0',
    order({ items: [item({ unitPrice: price(-1) })] }),
    'VALIDATION_FAILED',
    'items[0].unitPrice.amountMinor',
  ],
  [
    'no currency',
    order({ items: [item({ unitPrice: price(1, 'gbp') })] }),
    'VALIDATION_FAILED',
    'items[0].unitPrice.currency',
  ],
  [
    'a sum beyond exact numbers',
    order({ items: [item({ unitPrice: price(Number.MAX_SAFE_INTEGER) })] }),
    'VALIDATION_FAILED',
    'items must not add up',
  ],
  [
    'two currencies',
    order({ items: [item(), item({ unitPrice: price(1, 'EUR') })] }),
    'CURRENCY_MIXED',
    'one currency, not GBP, EUR',
  ],
])('refuses %s and names it', (_, value, code, reason) => {
  expect(read(value)).toEqual({ code, reason: expect.stringContaining(reason) });
});

it('names everything that is wrong with a line at once', () => {
  const { reason } = read({ items: [{ sku: '', quantity: 'x', unitPrice: {} }] }) as { reason: string };
  for (const path of [
    'externalId',
    'placedAt',
    'items[0].sku',
    'items[0].quantity',
    'items[0].unitPrice.amountMinor',
  ])
    expect(reason).toContain(`${path} must`);
});

it('reads every form of a time that RFC 3339 has, and no other', () => {
  const at = Date.UTC(2010, 11, 1, 8, 26);
  for (const text of [
    '2010-12-01T08:26:00Z',
    '2010-12-01t08:26:00z',
    '2010-12-01T09:26:00+01:00',
    '2010-11-30T20:26:00-12:00',
    '2010-12-01T08:25:60Z',
    '2010-12-01T08:26:00.0009Z',
  ])
    expect(rfc3339Ms(text)).toBe(at);
  expect(rfc3339Ms('2010-12-01T08:26:00.5Z')).toBe(at + 500);
  for (const text of [
    ...[
      '2010-12-01',
      '2010-12-01T08:26Z',
      '2010-12-01 08:26:00Z',
      '2010-12-01T08:26:00',
      '2010-12-01T24:00:00Z',
    ],
    ...[
      '2010-13-01T08:26:00Z',
      '2010-12-32T08:26:00Z',
      '2010-12-01T08:60:00Z',
      '2010-12-01T08:26:00+0100',
      '٢010-12-01T08:26:00Z',
    ],
  ])
    expect(rfc3339Ms(text)).toBeUndefined();
});

it('takes two lines for the same content exactly if they say the same', () => {
  const fingerprint = (rest: object) => good(order(rest)).fingerprint.toString('hex');
  const first = fingerprint({});
  expect(fingerprint({ email: 'ADA@example.com' })).toBe(first);
  expect(fingerprint({ placedAt: '2010-12-01T10:26:00.000+02:00' })).toBe(first);
  expect(
    good({
      items: [item()],
      placedAt: order().placedAt,
      email: order().email,
      externalId: '536365',
    }).fingerprint.toString('hex'),
  ).toBe(first);
  const others = [
    { email: undefined },
    { placedAt: '2010-12-01T08:26:01Z' },
    { items: [item({ quantity: 7 })] },
    { items: [item({ unitPrice: price(256) })] },
    { items: [item({ unitPrice: price(255, 'EUR') })] },
    { items: [item({ sku: '85123B' })] },
    { items: [item({ quantity: 3 }), item({ quantity: 3 })] },
  ].map(fingerprint);
  expect(new Set([first, ...others]).size).toBe(others.length + 1);
});

it('makes a confirmed order whose id carries its date and follows from its external id', () => {
  const products = new Map([
    ['85123A', { productId: '01a1961f-5c00-7a52-9d0e-61b7c4e8f302', name: 'Lantern' }],
  ]);
  const record = (rest: object) => recordHistory(good(order(rest)), { userId: null, products, nowMs: NOW });
  const { order: made, events } = record({});
  expect(made).toMatchObject({
    status: 'confirmed',
    paymentStatus: 'paid',
    externalId: '536365',
    userId: null,
    shippingAddress: null,
    chargeId: null,
    totalMinor: 1_530n,
    version: 3n,
  });
  expect(placedAtMs(made)).toBe(Date.UTC(2010, 11, 1, 8, 26));
  expect(events.map(({ type, order: { version } }) => `${type}@${version}`)).toEqual([
    'headroom.order.placed@1',
    'headroom.order.paid@2',
    'headroom.order.confirmed@3',
  ]);
  expect(record({ items: [item({ quantity: 1 })] }).order.id).toBe(made.id);
  expect(record({ externalId: '536366' }).order.id).not.toBe(made.id);
});
