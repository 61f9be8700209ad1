/** The public topics, with the partitions and the retention they are made with (undefined: kept for ever). */
export const TOPICS = {
  user: { name: 'headroom.user.v1', partitions: 6, retentionMs: undefined },
  catalog: { name: 'headroom.catalog.v1', partitions: 6, retentionMs: undefined },
  order: { name: 'headroom.order.v1', partitions: 6, retentionMs: undefined },
  activity: { name: 'headroom.activity.v1', partitions: 6, retentionMs: 30 * 24 * 3_600_000 },
} as const;

export interface MoneyData {
  amountMinor: number;
  currency: string;
}

export interface UserData {
  id: string;
  email: string;
  name: string;
  role: 'customer' | 'admin';
  tier: string;
  disabled: boolean;
  createdAt: string;
}

export interface ProductData {
  id: string;
  slug: string;
  sku: string;
  name: string;
  description: string;
  category: string;
  price: MoneyData;
  imageUrl: string | null;
  /** Products of one group are variants of each other. */
  group: string | null;
  /** What sets a variant apart, e.g. `{ size: 'L' }`; null: nothing. */
  options: Record<string, string> | null;
  archived: boolean;
  createdAt: string;
  updatedAt: string;
}

export interface StockData {
  productId: string;
  onHand: number;
  available: number;
  held: number;
}

export interface OrderData {
  id: string;
  /** Null: imported history that belongs to no account. */
  userId: string | null;
  /** The id where imported history came from; null for an order placed here. */
  externalId: string | null;
  status: 'pending' | 'confirmed' | 'cancelled';
  paymentStatus: 'pending' | 'paid' | 'declined' | 'failed' | 'refund_pending' | 'refunded';
  cancelReason: 'payment_declined' | 'payment_failed' | 'expired' | 'customer' | 'admin' | null;
  items: Array<{
    productId: string;
    sku: string;
    name: string;
    quantity: number;
    unitPrice: MoneyData;
    lineTotal: MoneyData;
  }>;
  total: MoneyData;
  placedAt: string;
  updatedAt: string;
}

/** Every event carries the whole state of its aggregate after the change. */
export interface EventDataByType {
  'headroom.user.registered': UserData;
  'headroom.user.updated': UserData;
  'headroom.catalog.product-created': ProductData;
  'headroom.catalog.product-updated': ProductData;
  'headroom.catalog.price-changed': ProductData;
  'headroom.catalog.product-archived': ProductData;
  'headroom.catalog.product-restored': ProductData;
  'headroom.catalog.stock-changed': StockData;
  'headroom.order.placed': OrderData;
  'headroom.order.paid': OrderData;
  'headroom.order.payment-declined': OrderData;
  'headroom.order.confirmed': OrderData;
  'headroom.order.cancelled': OrderData;
  'headroom.order.refund-requested': OrderData;
  'headroom.order.refunded': OrderData;
}

export type EventType = keyof EventDataByType;

/** CloudEvents 1.0, structured JSON (https://github.com/cloudevents/spec). */
interface Envelope<T extends string, D> {
  specversion: '1.0';
  id: string;
  source: string;
  type: T;
  subject: string;
  time: string;
  datacontenttype: 'application/json';
  dataschema: string;
  traceparent?: string;
  data: D;
}

/** A change of an aggregate, with `aggregateversion` 1, 2, 3... per subject. */
export interface DomainEvent<T extends EventType = EventType> extends Envelope<T, EventDataByType[T]> {
  aggregateversion: number;
}

/** Somebody looked at a product or clicked on it: a signed-in user or a guest, never both. */
export interface ActivityData {
  type: 'view' | 'click';
  productId: string;
  userId: string | null;
  guestId: string | null;
}

/** Happens once and changes no aggregate: it has no version, and only its `id` tells a repetition. */
export type ActivityEvent = Envelope<'headroom.activity.recorded', ActivityData>;

/** An event together with the topic and the key that it is published under. */
export interface PublishableEvent<T extends EventType = EventType> {
  topic: string;
  key: string;
  event: DomainEvent<T>;
}

/** The version of each type's schema, in `dataschema` and in the file names under libs/contracts/events. */
const SCHEMA_VERSION = 1;

const dataSchemaOf = (type: string) => `https://headroom.dev/schemas/${type}.v${SCHEMA_VERSION}.json`;

/** Builds the event of an activity, about the product, under the key of whoever acted. */
export function activityEvent(options: {
  id: string;
  time: string;
  traceparent?: string | undefined;
  data: ActivityData;
}): { topic: string; key: string; event: ActivityEvent } {
  const { id, time, traceparent, data } = options;
  const type = 'headroom.activity.recorded';
  return {
    topic: TOPICS.activity.name,
    key: data.userId ?? data.guestId ?? data.productId,
    event: {
      specversion: '1.0',
      id,
      source: '/headroom/recommendation',
      type,
      subject: `product/${data.productId}`,
      time,
      datacontenttype: 'application/json',
      dataschema: dataSchemaOf(type),
      ...(traceparent ? { traceparent } : {}),
      data,
    },
  };
}

/** Builds an event; `subject` is `<kind>/<id>` and `key` the aggregate's id. */
export function domainEvent<T extends EventType>(options: {
  id: string;
  type: T;
  subject: string;
  key: string;
  version: bigint | number;
  time: string;
  traceparent?: string | undefined;
  data: EventDataByType[T];
}): PublishableEvent<T> {
  const service = options.type.split('.')[1] as 'user' | 'catalog' | 'order';
  return {
    topic: TOPICS[service].name,
    key: options.key,
    event: {
      specversion: '1.0',
      id: options.id,
      source: `/headroom/${service}`,
      type: options.type,
      subject: options.subject,
      time: options.time,
      datacontenttype: 'application/json',
      dataschema: dataSchemaOf(options.type),
      ...(options.traceparent ? { traceparent: options.traceparent } : {}),
      aggregateversion: Number(options.version),
      data: options.data,
    },
  };
}
