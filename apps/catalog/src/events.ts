import { domainEvent, type catalogV1, type Position, type PublishableEvent } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import { currentTraceparent } from '@headroom/telemetry';
import type { Product, ProductChange } from './product';
import type { Variant } from './repository';
import type { Hold, Stock } from './stock';

/** Milliseconds since the Unix epoch as RFC 3339 in UTC. */
const time = (ms: number): string => new Date(ms).toISOString();

/** The contract's event for a change of a product, with its whole state. */
export function productEvent({ type, product }: ProductChange): PublishableEvent {
  return domainEvent({
    id: uuidv7(product.updatedAtMs),
    type,
    subject: productPosition(product).subject,
    key: product.id,
    version: product.version,
    time: time(product.updatedAtMs),
    traceparent: currentTraceparent(),
    data: {
      id: product.id,
      slug: product.slug,
      sku: product.sku,
      name: product.name,
      description: product.description,
      category: product.category,
      price: { amountMinor: Number(product.priceMinor), currency: product.currency },
      imageUrl: product.imageUrl === '' ? null : product.imageUrl,
      group: product.group,
      options: product.options,
      archived: product.archived,
      createdAt: time(product.createdAtMs),
      updatedAt: time(product.updatedAtMs),
    },
  });
}

/** The contract's event for the stock as it stands at `nowMs`: absolute values, under a version of its own. */
export function stockEvent(stock: Stock, nowMs: number): PublishableEvent {
  const { productId, available, held } = stock;
  return domainEvent({
    id: uuidv7(nowMs),
    type: 'headroom.catalog.stock-changed',
    subject: stockPosition(productId, stock.version).subject,
    key: productId,
    version: stock.version,
    time: time(nowMs),
    traceparent: currentTraceparent(),
    data: {
      productId,
      onHand: Number(available + held),
      available: Number(available),
      held: Number(held),
    },
  });
}

/** How far a product has been written. */
export const productPosition = (product: Product): Position => ({
  subject: `product/${product.id}`,
  version: product.version,
});

/** How far a product's stock has been written, or will be once its next state is published. */
export const stockPosition = (productId: string, version: bigint): Position => ({
  subject: `stock/${productId}`,
  version,
});

/** The product as the service's callers see it. */
export function productMessage(product: Product & { available: bigint }): catalogV1.Product {
  return {
    id: product.id,
    slug: product.slug,
    sku: product.sku,
    name: product.name,
    description: product.description,
    category: product.category,
    price: { amountMinor: product.priceMinor, currency: product.currency },
    available: product.available,
    imageUrl: product.imageUrl,
    ...(product.group === null ? {} : { group: product.group }),
    ...(product.options === null ? {} : { options: { values: product.options } }),
    archived: product.archived,
    createdAt: time(product.createdAtMs),
    updatedAt: time(product.updatedAtMs),
    version: product.version,
  };
}

/** A product as one among the variants of its group. */
export function variantMessage(variant: Variant): catalogV1.Variant {
  return {
    id: variant.id,
    ...(variant.options === null ? { options: undefined } : { options: { values: variant.options } }),
    price: { amountMinor: variant.priceMinor, currency: variant.currency },
    available: variant.available,
  };
}

/** The stock as the service's callers see it. */
export function stockMessage({ productId, available, held, version }: Stock): catalogV1.Stock {
  return { productId, onHand: available + held, available, held, version };
}

/** The hold as the service's callers see it. */
export function holdMessage({ orderId, lines, expiresAtMs }: Hold): catalogV1.Hold {
  return {
    orderId,
    lines: lines.map((line) => ({
      productId: line.productId,
      sku: line.sku,
      name: line.name,
      quantity: line.quantity,
      unitPrice: { amountMinor: line.unitPriceMinor, currency: line.currency },
    })),
    expiresAt: time(expiresAtMs),
  };
}
