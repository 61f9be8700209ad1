import { uuidv7 } from '@headroom/resilience';
import { noReplyOf } from './mail-delivery';
import { mailFor } from './mails';
import { money, orderConfirmationMail, orderSummary, passwordResetMail, welcomeMail } from './mail-texts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const eur = (amountMinor: number) => ({ amountMinor, currency: 'EUR' });

it.each([
  [eur(0), '0.00 EUR'],
  [eur(5), '0.05 EUR'],
  [eur(123_456), '1234.56 EUR'],
  [eur(-5), '-0.05 EUR'],
  [{ amountMinor: 500, currency: 'JPY' }, '500 JPY'],
  [{ amountMinor: 1_500, currency: 'KWD' }, '1.500 KWD'],
])('money has the decimals of its currency: %o', (amount, text) => {
  expect(money(amount)).toBe(text);
});

it.each(['Ada', 'Ada Lovelace', 'Dr. Ada Lovelace Jr.', 'María-José O’Neill', '李小龙'])(
  'a name greets: %s',
  (name) => expect(welcomeMail({ name }).text).toContain(`Hello ${name},`),
);

it.each([
  'https://evil.example',
  'evil.example',
  'Click on www.evil',
  'a@b',
  'x'.repeat(61),
  '<b>Ada</b>',
  '1000 €',
])('what could be a message to a stranger does not: %s', (name) =>
  expect(welcomeMail({ name }).text).not.toContain(name),
);

it('the reset token stands on a line of its own', () => {
  const { text } = passwordResetMail({ name: 'Ada' }, { token: 'the-token', ttlSeconds: 5_400 });
  expect(text.split('\n')).toContain('the-token');
  expect(text).toContain('within 90 minutes');
});

it('an order of very many lines tells the first hundred, each on one line, and how many more there are', () => {
  const items = Array.from({ length: 150 }, (_, index) => ({
    productId: uuidv7(),
    sku: `S${index}`,
    name: `Mug\n${index}`,
    quantity: 1,
    unitPrice: eur(100),
    lineTotal: eur(100),
  }));
  const summary = orderSummary({ id: uuidv7(), items, total: eur(15_000) } as never);
  const lines = orderConfirmationMail({ name: 'Ada' }, summary).text.split('\n');
  expect(lines.filter((line) => line.startsWith('1 x Mug'))).toHaveLength(100);
  expect(lines).toContain('1 x Mug 99: 1.00 EUR');
  expect(lines).toContain('and 50 more lines');
  expect(lines).toContain('Total: 150.00 EUR');
});

it('events of other types, and such without a readable time, ask for no mail', () => {
  const time = new Date(NOW).toISOString();
  const data = { id: uuidv7(), userId: uuidv7(), externalId: null };
  for (const type of ['headroom.user.updated', 'headroom.order.placed', 'headroom.order.cancelled'])
    expect(mailFor({ type, time, data }, NOW)).toBeUndefined();
  expect(mailFor({ type: 'headroom.user.registered', time: 'soon', data }, NOW)).toBeUndefined();
  expect(mailFor({ type: 'headroom.user.registered', time, data }, NOW)).toBeDefined();
});

it.each([
  ['https://shop.example:8443/', 'no-reply@shop.example'],
  ['headroom', 'no-reply@localhost'],
])('mails come from the host of the issuer %s, where no sender is named', (issuer, sender) => {
  expect(noReplyOf(issuer)).toBe(sender);
});
