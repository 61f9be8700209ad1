import type { Clock } from '@headroom/resilience';
import { codeOf, inParallel, signIn, UnexpectedAnswer, type Account, type Http } from '@headroom/shop-api';
import { createHmac } from 'node:crypto';
import { emailOf } from './history-plan';
import { COUNTER, type PlannedProduct } from './plan';

/** A product as the shop sells it. */
export interface ShopProduct {
  id: string;
  sku: string;
  price: { amountMinor: number; currency: string };
  available: number;
  archived: boolean;
}

/** An order as its owner reads it. */
export interface ShopOrder {
  id: string;
  status: 'pending' | 'confirmed' | 'cancelled';
  paymentStatus: string;
  cancelReason: string | null;
  items: Array<{ productId: string; quantity: number; unitPrice: { amountMinor: number; currency: string } }>;
  total: { amountMinor: number; currency: string };
  placedAt: string;
}

/** Its password is made from the admin's, so that the next run knows it and nobody else does. */
const credentialsOf = (customer: string, secret: string) => {
  const email = emailOf(customer);
  return { email, password: createHmac('sha256', secret).update(email).digest('base64url') };
};

/** Makes the account of a customer of the file; false where it was there. */
export async function registerCustomer(http: Http, customer: string, secret: string): Promise<boolean> {
  const credentials = credentialsOf(customer, secret);
  const answer = await http.call('POST', '/v1/users', {
    body: { ...credentials, name: customer === COUNTER ? 'Counter' : `Customer ${customer}` },
  });
  if (answer.status !== 201 && codeOf(answer) !== 'EMAIL_TAKEN')
    throw new UnexpectedAnswer(`registration of ${credentials.email}`, answer);
  return answer.status === 201;
}

/** The account of a customer of the file: registered unless it exists, and signed in. */
export async function openCustomer(
  http: Http,
  clock: Clock,
  customer: string,
  secret: string,
): Promise<Account> {
  await registerCustomer(http, customer, secret);
  return signIn(http, clock, credentialsOf(customer, secret));
}

/** How the products of a file came to be in the shop. */
export interface Stocked {
  products: Map<string, ShopProduct>;
  created: number;
  /** Were there already: they keep name and price, and have their stock raised to what the file needs. */
  existing: number;
  /** Of those, the ones that were archived. */
  restored: number;
}

/** Makes the products that the shop does not have, by SKU; those that it has are left as they are. */
export async function createProducts(
  admin: Account,
  planned: readonly PlannedProduct[],
  options: {
    currency: string;
    skuPrefix: string;
    onHand: (product: PlannedProduct) => number;
    concurrency: number;
    onDone: (product: PlannedProduct, isNew: boolean) => void;
  },
): Promise<{ created: Map<string, ShopProduct>; taken: Map<string, PlannedProduct> }> {
  const { currency, skuPrefix } = options;
  const created = new Map<string, ShopProduct>();
  const taken = new Map<string, PlannedProduct>();
  await inParallel(planned, options.concurrency, async (product) => {
    const sku = `${skuPrefix}${product.stockCode}`;
    const answer = await admin.call<ShopProduct>('POST', '/v1/admin/products', {
      body: {
        sku,
        name: product.name,
        description: '',
        category: 'replay',
        price: { amountMinor: Number(product.priceMinor), currency },
        onHand: options.onHand(product),
      },
    });
    if (answer.status === 201) created.set(product.stockCode, answer.body);
    else if (codeOf(answer) === 'SKU_TAKEN') taken.set(sku, product);
    else throw new UnexpectedAnswer(`creating product ${sku}`, answer);
    options.onDone(product, answer.status === 201);
  });
  return { created, taken };
}

/** Sees to it that every product is for sale with stock enough. Safe to repeat; a repetition can only add to the stock. */
export async function stockProducts(
  admin: Account,
  planned: readonly PlannedProduct[],
  options: { currency: string; skuPrefix: string; concurrency: number; onDone: () => void },
): Promise<Stocked> {
  const { currency, onDone } = options;
  const { created: products, taken } = await createProducts(admin, planned, {
    ...options,
    onHand: ({ units }) => units,
    onDone: (_product, isNew) => isNew && onDone(),
  });

  const created = products.size;
  const found: Array<{ planned: PlannedProduct; product: ShopProduct }> = [];
  if (taken.size > 0)
    for await (const product of admin.list<ShopProduct>(
      '/v1/admin/products?includeArchived=true',
      () => found.length < taken.size,
    )) {
      const match = taken.get(product.sku);
      if (match) found.push({ planned: match, product });
    }
  const lost = [...taken.keys()].filter((sku) => !found.some(({ product }) => product.sku === sku));
  if (lost.length > 0)
    throw new Error(`the shop says that SKU ${lost.slice(0, 5).join(', ')} is taken, but does not list it`);
  const foreign = found.filter(({ product }) => product.price.currency !== currency);
  if (foreign.length > 0)
    throw new Error(
      `SKU ${foreign[0]!.product.sku} is sold in ${foreign[0]!.product.price.currency} already, not in ${currency}: name that currency with --currency, or keep the file's products apart with --sku-prefix`,
    );

  let restored = 0;
  await inParallel(found, options.concurrency, async ({ planned: wanted, product }) => {
    if (product.archived) {
      const answer = await admin.call('POST', `/v1/admin/products/${product.id}/restore`);
      if (answer.status !== 200) throw new UnexpectedAnswer(`restoring product ${product.sku}`, answer);
      restored += 1;
    }
    const stock = await admin.call<{ available: number }>('GET', `/v1/admin/products/${product.id}/stock`);
    if (stock.status !== 200) throw new UnexpectedAnswer(`the stock of ${product.sku}`, stock);
    const delta = wanted.units - stock.body.available;
    if (delta > 0) {
      const answer = await admin.call('PUT', `/v1/admin/products/${product.id}/stock`, { body: { delta } });
      if (answer.status !== 200) throw new UnexpectedAnswer(`raising the stock of ${product.sku}`, answer);
    }
    products.set(wanted.stockCode, product);
    onDone();
  });
  return { products, created, existing: found.length, restored };
}
