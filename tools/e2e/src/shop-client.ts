import { randomUUID } from 'node:crypto';

export interface Answer<T = unknown> {
  status: number;
  headers: Headers;
  body: T;
  text: string;
}

interface RequestOptions {
  body?: unknown;
  /** Sent as it stands, instead of `body`. */
  rawBody?: string;
  token?: string | undefined;
  headers?: Record<string, string>;
}

/** An answer that has not come by then rejects the call. */
const PATIENCE_MS = 30_000;

/** Plain HTTP calls of the public API, as a customer's program would make them. */
export function shopClient(base: string) {
  const request = async <T = Record<string, unknown>>(
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<Answer<T>> => {
    const payload =
      options.rawBody ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    const response = await fetch(`${base}${path}`, {
      method,
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: {
        ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.token ? { authorization: `Bearer ${options.token}` } : {}),
        ...options.headers,
      },
      ...(payload === undefined ? {} : { body: payload }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: (isJson && text !== '' ? JSON.parse(text) : undefined) as T,
    };
  };

  /** Every item of a list, page by page. */
  const list = async <T>(path: string, token?: string): Promise<T[]> => {
    const items: T[] = [];
    for (let cursor = ''; ;) {
      const query = `limit=100${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
      const { status, text, body } = await request<{ items: T[]; page: { nextCursor?: string | null } }>(
        'GET',
        `${path}${path.includes('?') ? '&' : '?'}${query}`,
        { token },
      );
      if (status !== 200) throw new Error(`${path} answered ${status}: ${text}`);
      items.push(...body.items);
      cursor = body.page.nextCursor ?? '';
      if (cursor === '') return items;
    }
  };

  const signIn = async (email: string, password: string) => {
    const { status, body, text } = await request<{
      accessToken: string;
      refreshToken: string;
      user: { id: string };
    }>('POST', '/v1/sessions', { body: { email, password } });
    if (status !== 201) throw new Error(`sign-in answered ${status}: ${text}`);
    return body;
  };

  return {
    request,
    list,
    signIn,
    /** A new customer, signed in. */
    async customer(password = 'a-long-enough-password') {
      const email = `shopper-${randomUUID()}@shop.example`;
      const registered = await request<{ id: string }>('POST', '/v1/users', {
        body: { email, password, name: 'Sam Shopper' },
      });
      if (registered.status !== 201)
        throw new Error(`registration answered ${registered.status}: ${registered.text}`);
      const session = await signIn(email, password);
      return {
        id: registered.body.id,
        email,
        password,
        token: session.accessToken,
        refreshToken: session.refreshToken,
      };
    },
    async product(
      adminToken: string,
      values: Partial<{
        sku: string;
        name: string;
        category: string;
        priceMinor: number;
        currency: string;
        onHand: number;
      }> = {},
    ) {
      const created = await request<{ id: string; slug: string }>('POST', '/v1/admin/products', {
        token: adminToken,
        body: {
          sku: values.sku ?? `SKU-${randomUUID()}`,
          name: values.name ?? 'Oak serving board',
          description: 'A board.',
          category: values.category ?? 'kitchen/boards',
          price: { amountMinor: values.priceMinor ?? 1_999, currency: values.currency ?? 'EUR' },
          onHand: values.onHand ?? 100,
        },
      });
      if (created.status !== 201)
        throw new Error(`creating a product answered ${created.status}: ${created.text}`);
      return created.body;
    },
    checkout(
      token: string,
      items: Array<{ productId: string; quantity: number }>,
      options: { key?: string; payment?: string } = {},
    ) {
      return request<Order>('POST', '/v1/orders', {
        token,
        headers: { 'idempotency-key': options.key ?? randomUUID() },
        body: {
          items,
          shippingAddress: ADDRESS,
          payment: { method: 'card', token: options.payment ?? 'tok_ok' },
        },
      });
    },
    /** The order once it is confirmed or cancelled with no refund pending. */
    async settled(token: string, orderId: string, timeoutMs = 30_000): Promise<Order> {
      const until = Date.now() + timeoutMs;
      for (;;) {
        const { body, status } = await request<Order>('GET', `/v1/orders/${orderId}`, { token });
        if (status === 200 && body.status !== 'pending' && body.paymentStatus !== 'refund_pending')
          return body;
        if (Date.now() > until) throw new Error(`order ${orderId} is still ${JSON.stringify(body)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}

export type ShopClient = ReturnType<typeof shopClient>;

export interface Order {
  id: string;
  status: string;
  paymentStatus: string;
  cancelReason: string | null;
  items: Array<{ productId: string; quantity: number; unitPrice: { amountMinor: number } }>;
  total: { amountMinor: number; currency: string };
  code?: string;
}

export const ADDRESS = {
  name: 'Sam Shopper',
  line1: '1 Long Street',
  postalCode: '10115',
  city: 'Berlin',
  country: 'DE',
};
