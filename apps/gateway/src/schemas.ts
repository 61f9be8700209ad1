import {
  moneyJson,
  orderJson,
  type catalogV1,
  type operationsV1,
  type orderV1,
  type queryAdminV1,
  type queryV1,
  type userAdminV1,
  type userV1,
} from '@headroom/contracts';
import { Type, type Static, type TSchema } from 'typebox';

/**
 * The things of the API, each as its schema and the function that makes it from what a service answered. Those that have a
 * name in COMPONENTS appear under it in the OpenAPI document.
 */

export const EXAMPLE_ID = '01932f4e-7b7a-7c3d-9a51-4a1d6c0f2b11';
const EXAMPLE_TIME = '2026-11-25T09:30:00.000Z';
const UUID_V7 = '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$';

/** An id in a body. */
export const Id = Type.String({
  pattern: UUID_V7,
  errorText: 'a UUID of version 7',
  examples: [EXAMPLE_ID],
});
const ReadId = Type.String({ format: 'uuid', examples: [EXAMPLE_ID] });
const Time = Type.String({
  format: 'date-time',
  description: 'RFC 3339, UTC',
  examples: [EXAMPLE_TIME],
});
const nullable = <T>(schema: { type: string; [keyword: string]: unknown }) =>
  Type.Unsafe<T | null>({ ...schema, type: [schema.type, 'null'] });

export const Currency = Type.String({
  pattern: '^[A-Z]{3}$',
  errorText: 'an ISO 4217 code such as EUR',
  examples: ['EUR'],
});

/**
 * The largest price of one unit, in minor units. A thousand lines of 9,999 units at this price still add up to less than
 * 2^53, so that no total is ever rounded by a JSON reader.
 */
export const HIGHEST_PRICE_MINOR = 900_000_000;

export const Money = Type.Object(
  { amountMinor: Type.Integer({ examples: [1999] }), currency: Type.String({ examples: ['EUR'] }) },
  { description: 'An amount in the minor unit of its currency (cents), never a fraction' },
);

export const Problem = Type.Object(
  {
    type: Type.String({ format: 'uri', examples: ['https://headroom.dev/errors/validation-failed'] }),
    title: Type.String({ examples: ['The request is not valid'] }),
    status: Type.Integer({ examples: [400] }),
    detail: Type.String({ examples: ['quantity must be >= 1'] }),
    code: Type.String({ examples: ['VALIDATION_FAILED'] }),
    requestId: Type.String({ examples: [EXAMPLE_ID] }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          path: Type.String({ examples: ['items[0].quantity'] }),
          message: Type.String({ examples: ['must be >= 1'] }),
        }),
      ),
    ),
  },
  { additionalProperties: true, description: 'A problem document (RFC 9457)' },
);

const userMembers = {
  id: ReadId,
  email: Type.String({ examples: ['ada@example.com'] }),
  name: Type.String({ examples: ['Ada Lovelace'] }),
  role: Type.Unsafe<string>({ type: 'string', enum: ['customer', 'admin'] }),
  tier: Type.Unsafe<string>({ type: 'string', enum: ['free', 'basic', 'premium', 'enterprise'] }),
  createdAt: Time,
  version: Type.Integer({ description: 'Also the ETag', examples: [1] }),
};
export const User = Type.Object(userMembers);
export const AdminUser = Type.Object({ ...userMembers, disabled: Type.Boolean({ examples: [false] }) });

/** A user as its owner sees it. */
export const userJson = (user: userV1.User): Static<typeof User> => ({
  id: user.id,
  email: user.email,
  name: user.name,
  role: user.role,
  tier: user.tier,
  createdAt: user.createdAt,
  version: Number(user.version),
});

/** A user as an admin sees it. */
export const adminUserJson = (user: userV1.User): Static<typeof AdminUser> => ({
  ...userJson(user),
  disabled: user.disabled,
});

export const SessionTokens = Type.Object({
  accessToken: Type.String({ examples: ['eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTkzIn0.c2lnbmF0dXJl'] }),
  refreshToken: Type.String({ examples: ['4Yk0n3Jm2Qx8w1v7s5d9f6g2h4j8k0l3'] }),
  expiresInSeconds: Type.Integer({ description: 'Of the access token', examples: [600] }),
  user: User,
});

/** A fresh pair of tokens and whom they are for. */
export const sessionJson = (session: userV1.SessionTokens): Static<typeof SessionTokens> => ({
  accessToken: session.accessToken,
  refreshToken: session.refreshToken,
  expiresInSeconds: session.expiresInSeconds,
  user: userJson(session.user!),
});

const Options = Type.Record(Type.String(), Type.String(), {
  description: 'What sets a variant apart',
  examples: [{ colour: 'blue' }],
});
const productMembers = {
  id: ReadId,
  slug: Type.String({ description: 'Stays when the name changes', examples: ['blue-mug'] }),
  sku: Type.String({ examples: ['MUG-BLUE'] }),
  name: Type.String({ examples: ['Blue mug'] }),
  description: Type.String({ examples: ['Holds 300 ml, survives the dishwasher.'] }),
  category: Type.String({ examples: ['kitchen/mugs'] }),
  price: Money,
  inStock: Type.Boolean({ examples: [true] }),
  available: Type.Integer({ description: 'Units that can be ordered now', examples: [42] }),
  imageUrl: nullable<string>({ type: 'string', examples: ['https://images.example/blue-mug.webp'] }),
  updatedAt: Time,
  group: Type.Optional(
    Type.String({ description: 'Products of one group are variants of each other', examples: ['mug'] }),
  ),
  options: Type.Optional(Options),
  variants: Type.Optional(
    Type.Array(
      Type.Object({
        id: ReadId,
        options: Options,
        price: Money,
        inStock: Type.Boolean({ examples: [true] }),
      }),
      { description: 'Where one product with a group was asked for: all of the group, itself included' },
    ),
  ),
};
export const Product = Type.Object(productMembers);
export const AdminProduct = Type.Object({
  ...productMembers,
  archived: Type.Boolean({ examples: [false] }),
  createdAt: Time,
  version: Type.Integer({ description: 'Also the ETag', examples: [3] }),
});

/** A product as a shopper sees it. */
export const productJson = (product: catalogV1.Product): Static<typeof Product> => ({
  id: product.id,
  slug: product.slug,
  sku: product.sku,
  name: product.name,
  description: product.description,
  category: product.category,
  price: moneyJson(product.price),
  inStock: product.available > 0n,
  available: Number(product.available),
  imageUrl: product.imageUrl === '' ? null : product.imageUrl,
  updatedAt: product.updatedAt,
  ...(product.group ? { group: product.group } : {}),
  ...(product.options ? { options: product.options.values } : {}),
  ...(product.variants
    ? {
        variants: product.variants.variants.map(({ id, options, price, available }) => ({
          id,
          options: options?.values ?? {},
          price: moneyJson(price),
          inStock: available > 0n,
        })),
      }
    : {}),
});

/** A product as an admin sees it. */
export const adminProductJson = (product: catalogV1.Product): Static<typeof AdminProduct> => ({
  ...productJson(product),
  archived: product.archived,
  createdAt: product.createdAt,
  version: Number(product.version),
});

export const Stock = Type.Object({
  onHand: Type.Integer({ description: 'available + held', examples: [45] }),
  available: Type.Integer({ examples: [42] }),
  held: Type.Integer({ description: 'Held for orders that are not paid yet', examples: [3] }),
});

/** The units of one product. */
export const stockJson = (stock: catalogV1.Stock): Static<typeof Stock> => ({
  onHand: Number(stock.onHand),
  available: Number(stock.available),
  held: Number(stock.held),
});

export const StockLedgerEntry = Type.Object({
  id: ReadId,
  delta: Type.Integer({ examples: [-2] }),
  reason: Type.Unsafe<string>({ type: 'string', enum: ['opening', 'correction', 'sale', 'return'] }),
  orderId: Type.Optional(ReadId),
  at: Time,
});

/** One change of the units on hand. */
export const ledgerEntryJson = (entry: catalogV1.StockLedgerEntry): Static<typeof StockLedgerEntry> => ({
  id: entry.id,
  delta: Number(entry.delta),
  reason: entry.reason,
  ...(entry.orderId === '' ? {} : { orderId: entry.orderId }),
  at: entry.at,
});

interface CategoryJson {
  slug: string;
  name: string;
  productCount: number;
  children: CategoryJson[];
}

/** A category path has at most four parts, so the tree is as deep as it is written here. */
const categorySchema = (levels: number, slug: string): TSchema =>
  Type.Object({
    slug: Type.String({ description: 'The whole path', examples: [slug] }),
    name: Type.String({ examples: ['Mugs'] }),
    productCount: Type.Integer({ description: 'Children included', examples: [17] }),
    children:
      levels > 1 ? Type.Array(categorySchema(levels - 1, `${slug}/mugs`)) : Type.Array(Type.Object({})),
  });
export const Category = Type.Unsafe<CategoryJson>(categorySchema(4, 'kitchen'));

/** A category and all below it. */
export const categoryJson = (category: queryV1.Category): CategoryJson => ({
  slug: category.slug,
  name: category.name,
  productCount: Number(category.productCount),
  children: category.children.map(categoryJson),
});

export const Cart = Type.Object({
  version: Type.Integer({ description: 'Also the ETag', examples: [4] }),
  items: Type.Array(
    Type.Object({
      productId: ReadId,
      name: Type.String({ examples: ['Blue mug'] }),
      quantity: Type.Integer({ examples: [1] }),
      unitPrice: Money,
      lineTotal: Money,
      inStock: Type.Boolean({ examples: [true] }),
    }),
  ),
  total: Money,
});

/** A cart at today's prices. */
export const cartJson = (cart: orderV1.Cart): Static<typeof Cart> => ({
  version: Number(cart.version),
  items: cart.items.map((item) => ({
    productId: item.productId,
    name: item.name,
    quantity: item.quantity,
    unitPrice: moneyJson(item.unitPrice),
    lineTotal: moneyJson(item.lineTotal),
    inStock: item.inStock,
  })),
  total: moneyJson(cart.total),
});

const orderMembers = {
  id: ReadId,
  status: Type.Unsafe<string>({ type: 'string', enum: ['pending', 'confirmed', 'cancelled'] }),
  paymentStatus: Type.Unsafe<string>({
    type: 'string',
    description:
      'A cancelled order that stays `pending` was never charged: it was given up on request before any money was taken. `failed` goes with `payment_failed` and `expired`.',
    enum: ['pending', 'paid', 'declined', 'failed', 'refund_pending', 'refunded'],
  }),
  cancelReason: nullable<string>({
    type: 'string',
    enum: ['payment_declined', 'payment_failed', 'expired', 'customer', 'admin', null],
    examples: [null],
  }),
  items: Type.Array(
    Type.Object({
      productId: ReadId,
      name: Type.String({ examples: ['Blue mug'] }),
      quantity: Type.Integer({ examples: [1] }),
      unitPrice: Money,
      lineTotal: Money,
    }),
  ),
  total: Money,
  placedAt: Time,
  updatedAt: Time,
};
export const Order = Type.Object(orderMembers);
export const AdminOrder = Type.Object({
  ...orderMembers,
  userId: nullable<string>({
    type: 'string',
    format: 'uuid',
    description: 'Null: history that belongs to no account',
    examples: [EXAMPLE_ID],
  }),
  externalId: Type.Optional(
    Type.String({ description: 'Of imported history: its id where it came from', examples: ['536365'] }),
  ),
});

/** An order as an admin sees it. */
export const adminOrderJson = (order: orderV1.Order): Static<typeof AdminOrder> => ({
  ...orderJson(order),
  userId: order.userId === '' ? null : order.userId,
  ...(order.externalId === undefined ? {} : { externalId: order.externalId }),
});

export const Sales = Type.Object({
  day: Type.Optional(Type.String({ format: 'date', description: '`by=day`', examples: ['2026-11-24'] })),
  productId: Type.Optional(
    Type.String({ format: 'uuid', description: '`by=product`, instead of `day`', examples: [EXAMPLE_ID] }),
  ),
  category: Type.Optional(
    Type.String({ description: '`by=category`, instead of `day`', examples: ['kitchen/mugs'] }),
  ),
  currency: Type.String({ examples: ['EUR'] }),
  orders: Type.Integer({ examples: [12] }),
  units: Type.Integer({ examples: [31] }),
  revenue: Money,
});

/** The confirmed orders of one day in one currency. */
export const salesOfDayJson = (sales: queryV1.SalesDay): Static<typeof Sales> => ({
  day: sales.day,
  ...salesJson(sales),
});

/** The confirmed orders of one product or category in one currency. */
export const salesOfGroupJson = (
  sales: queryAdminV1.SalesRow,
  name: 'productId' | 'category',
): Static<typeof Sales> => ({ [name]: sales.group, ...salesJson(sales) });

const salesJson = ({ currency, orders, units, revenue }: Omit<queryV1.SalesDay, 'day'>) => ({
  currency,
  orders: Number(orders),
  units: Number(units),
  revenue: moneyJson(revenue),
});

export const Mail = Type.Object({
  id: ReadId,
  to: Type.String({ examples: ['ada@example.com'] }),
  subject: Type.String({ examples: ['Your new password'] }),
  text: Type.String({
    description: 'A reset token stands on a line of its own',
    examples: ['Hello Ada,\n\n4Yk0n3Jm2Qx8w1v7s5d9f6g2h4j8k0l3\n'],
  }),
  kind: Type.String({
    description:
      'What occasioned it, such as `welcome`, `order-confirmation`, `password-reset`, `sales-digest`',
    examples: ['password-reset'],
  }),
  createdAt: Time,
});

/** A mail that was kept instead of being sent. */
export const mailJson = ({
  id,
  to,
  subject,
  text,
  kind,
  createdAt,
}: userAdminV1.Mail): Static<typeof Mail> => ({
  id,
  to,
  subject,
  text,
  kind,
  createdAt,
});

const Count = (description: string, example: number) => Type.Integer({ description, examples: [example] });
export const Job = Type.Object({
  id: ReadId,
  type: Type.String({
    description: 'Such as `product-import`, `order-import`, `product-image`, `sales-export`',
    examples: ['product-import'],
  }),
  status: Type.Unsafe<string>({ type: 'string', enum: ['queued', 'running', 'succeeded', 'failed'] }),
  processed: Count('Lines so far; blank ones and a header do not count', 1000),
  total: nullable<number>({ type: 'integer', description: 'Null: not known yet', examples: [1000] }),
  created: Count('Lines that made something', 990),
  updated: Count('Lines that changed something', 4),
  unchanged: Count('Lines that said what was so already', 3),
  rejected: Count('Lines that had no effect', 3),
  errors: Type.Array(
    Type.Object({
      line: Type.Integer({ description: 'From 1; 0: the job as a whole', examples: [17] }),
      code: Type.String({ examples: ['SKU_ARCHIVED'] }),
      reason: Type.String({ examples: ['the product MUG-RED is archived'] }),
    }),
    { description: 'The first 1,000; a list of jobs gives none' },
  ),
  createdAt: Time,
  finishedAt: nullable<string>({
    type: 'string',
    format: 'date-time',
    description: 'Null: not finished yet',
    examples: [EXAMPLE_TIME],
  }),
  resultUrl: Type.Optional(
    Type.String({
      description: 'The file that a finished job made',
      examples: [`/v1/admin/reports/sales/exports/${EXAMPLE_ID}`],
    }),
  ),
});

/** A piece of background work with its progress. */
export const jobJson = (job: operationsV1.Job): Static<typeof Job> => ({
  id: job.id,
  type: job.type,
  status: job.status,
  processed: Number(job.processed),
  total: job.total === undefined ? null : Number(job.total),
  created: Number(job.created),
  updated: Number(job.updated),
  unchanged: Number(job.unchanged),
  rejected: Number(job.rejected),
  errors: job.errors.map(({ line, code, reason }) => ({ line: Number(line), code, reason })),
  createdAt: job.createdAt,
  finishedAt: job.finishedAt ?? null,
  ...(job.resultUrl ? { resultUrl: job.resultUrl } : {}),
});

export const DeadLetter = Type.Object({
  id: ReadId,
  source: Type.String({
    description: 'The group of consumers that gave up, or `jobs/` and a queue',
    examples: ['recommendation'],
  }),
  topic: nullable<string>({
    type: 'string',
    description: 'Null: it was a job',
    examples: ['headroom.order.v1'],
  }),
  key: Type.String({ description: 'What waits behind it has the same key', examples: [EXAMPLE_ID] }),
  eventId: nullable<string>({
    type: 'string',
    description: 'Of an event or a job; null: it could not be read',
    examples: [EXAMPLE_ID],
  }),
  error: Type.String({ examples: ['product 01932f4e is unknown'] }),
  attempts: Type.Integer({ examples: [10] }),
  failedAt: Time,
  payload: Type.Unsafe<unknown>({
    description: 'As it came: its JSON, or a text where it is none',
    examples: [{ specversion: '1.0', type: 'headroom.order.placed' }],
  }),
});

/** Work that was given up until somebody decides about it. */
export const deadLetterJson = (letter: operationsV1.DeadLetter): Static<typeof DeadLetter> => ({
  id: letter.id,
  source: letter.source,
  topic: letter.topic === '' ? null : letter.topic,
  key: letter.key,
  eventId: letter.eventId === '' ? null : letter.eventId,
  error: letter.error,
  attempts: letter.attempts,
  failedAt: letter.failedAt,
  payload: jsonOrText(letter.payload),
});

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Schemas that the document names. */
export const COMPONENTS: Record<string, TSchema> = {
  Problem,
  Money,
  User,
  AdminUser,
  SessionTokens,
  Product,
  AdminProduct,
  Stock,
  StockLedgerEntry,
  Category,
  Cart,
  Order,
  AdminOrder,
  Sales,
  Mail,
  Job,
  DeadLetter,
};

/** ISO 3166-1 alpha-2, as officially assigned. */
export const COUNTRIES: readonly string[] = (
  'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ ' +
  'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO ' +
  'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE ' +
  'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO ' +
  'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW ' +
  'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM ' +
  'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW'
).split(' ');
