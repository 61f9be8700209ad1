import type { MoneyData, OrderData } from '@headroom/contracts';

export const MAIL_KINDS = ['welcome', 'order-confirmation', 'password-reset', 'sales-digest'] as const;
export type MailKind = (typeof MAIL_KINDS)[number];

/** A mail without its recipient. The subject never holds what a user typed: nothing can be smuggled into a header. */
export interface MailText {
  kind: MailKind;
  subject: string;
  text: string;
}

/** What an order's mail tells; the first lines of a long order stand for all. */
export interface OrderSummary {
  id: string;
  items: Array<{ name: string; quantity: number; lineTotal: MoneyData }>;
  /** Lines beyond those in `items`. */
  moreItems: number;
  total: MoneyData;
}

/** One day's sales as the admins are told of them. */
export interface SalesSummary {
  /** `YYYY-MM-DD`, UTC. */
  day: string;
  currencies: Array<{ orders: number; units: number; revenue: MoneyData }>;
  topProducts: Array<{ productId: string; units: number; revenue: MoneyData }>;
}

const MAX_ITEMS = 100;

export function orderSummary(order: OrderData): OrderSummary {
  return {
    id: order.id,
    items: order.items
      .slice(0, MAX_ITEMS)
      .map(({ name, quantity, lineTotal }) => ({ name, quantity, lineTotal })),
    moreItems: Math.max(0, order.items.length - MAX_ITEMS),
    total: order.total,
  };
}

export const welcomeMail = (user: { name: string }): MailText => ({
  kind: 'welcome',
  subject: 'Welcome',
  text: paragraphs(
    greeting(user.name),
    'Your account is ready: sign in with this e-mail address and the password that you chose.',
    'If you have not made this account, somebody else has typed your address. Ask for a password reset to take it over, or ignore this mail.',
  ),
});

/** The token stands on a line of its own. */
export const passwordResetMail = (
  user: { name: string },
  reset: { token: string; ttlSeconds: number },
): MailText => ({
  kind: 'password-reset',
  subject: 'Reset your password',
  text: paragraphs(
    greeting(user.name),
    'Somebody, probably you, has asked for a new password of this account. Enter this token together with the new password:',
    reset.token,
    `It works once, within ${duration(reset.ttlSeconds)}, and only until you ask for another one. A new password signs you out everywhere.`,
    'If it was not you, ignore this mail: your password stays as it is.',
  ),
});

export const orderConfirmationMail = (user: { name: string }, order: OrderSummary): MailText => ({
  kind: 'order-confirmation',
  subject: `Your order ${order.id}`,
  text: paragraphs(
    greeting(user.name),
    `Thank you: your order ${order.id} is confirmed and paid.`,
    [
      ...order.items.map((item) => `${item.quantity} x ${oneLine(item.name)}: ${money(item.lineTotal)}`),
      ...(order.moreItems > 0 ? [`and ${order.moreItems} more lines`] : []),
    ].join('\n'),
    `Total: ${money(order.total)}`,
  ),
});

export const salesDigestMail = (sales: SalesSummary): MailText => ({
  kind: 'sales-digest',
  subject: `Sales of ${sales.day}`,
  text: paragraphs(
    `Confirmed sales of ${sales.day} (UTC):`,
    sales.currencies.length === 0
      ? 'none'
      : sales.currencies
          .map(({ orders, units, revenue }) => `${money(revenue)}: ${orders} orders, ${units} units`)
          .join('\n'),
    ...(sales.topProducts.length === 0
      ? []
      : [
          [
            'Products with the most units:',
            ...sales.topProducts.map(
              ({ productId, units, revenue }) => `${productId}: ${units} units, ${money(revenue)}`,
            ),
          ].join('\n'),
        ]),
  ),
});

const paragraphs = (...texts: string[]): string => `${texts.join('\n\n')}\n`;

/**
 * By name where that is one. Anybody can register anybody's address: what looks like an address of the web, or is long, must not
 * reach a stranger as a message of the shop.
 */
function greeting(name: string): string {
  return /^[\p{L}\p{M}'’ -]{1,60}$/u.test(name.replace(/\. |\.$/g, ' ')) ? `Hello ${name},` : 'Hello,';
}

const oneLine = (text: string): string => text.replaceAll(/\p{Cc}+/gu, ' ');

function duration(seconds: number): string {
  if (seconds % 3_600 === 0) return seconds === 3_600 ? 'an hour' : `${seconds / 3_600} hours`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} minutes` : `${seconds} seconds`;
}

/** `19.99 EUR`: the decimals that ISO 4217 has for the currency. */
export function money({ amountMinor, currency }: MoneyData): string {
  const { maximumFractionDigits: decimals = 2 } = new Intl.NumberFormat('en', {
    style: 'currency',
    currency,
  }).resolvedOptions();
  const digits = String(Math.abs(amountMinor)).padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = decimals === 0 ? '' : `.${digits.slice(-decimals)}`;
  return `${amountMinor < 0 ? '-' : ''}${whole}${fraction} ${currency}`;
}
