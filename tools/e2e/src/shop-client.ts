import { randomUUID } from 'node:crypto';
import createClient from 'openapi-fetch';
import type { components, paths } from './gen/api';

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

/**
 * The public API as a customer's program would call it. What shoppers do is typed by the API's own document, so that a wrong
 * path, parameter or member does not compile; `request` sends anything, right or wrong.
 */
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

  const texts = new WeakMap<Response, string>();
  const api = createClient<paths>({ baseUrl: base });
  api.use({
    async onResponse({ response }) {
      texts.set(response, await response.clone().text());
    },
  });

  /** What a typed call was answered, whatever its status. */
  const answerOf = async <T>(
    call: Promise<{ data?: T; error?: unknown; response: Response }>,
  ): Promise<Answer<T>> => {
    const { data, error, response } = await call;
    return {
      status: response.status,
      headers: response.headers,
      body: (data ?? error) as T,
      text: texts.get(response) ?? '',
    };
  };

  /** The body of a typed call that must succeed. */
  const bodyOf = async <T>(
    what: string,
    call: Promise<{ data?: T; error?: unknown; response: Response }>,
  ): Promise<T> => {
    const { data, response } = await call;
    if (data === undefined) throw new Error(`${what} answered ${response.status}: ${texts.get(response)}`);
    return data;
  };

  const signIn = (email: string, password: string) =>
    bodyOf('sign-in', api.POST('/v1/sessions', { body: { email, password }, signal: patience() }));

  return {
    request,
    list,
    signIn,
    /** A new customer, signed in. */
    async customer(password = 'a-long-enough-password') {
      const email = `shopper-${randomUUID()}@shop.example`;
      const { id } = await bodyOf(
        'registration',
        api.POST('/v1/users', { body: { email, password, name: 'Sam Shopper' }, signal: patience() }),
      );
      const session = await signIn(email, password);
      return {
        id,
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
      return bodyOf(
        'creating a product',
        api.POST('/v1/admin/products', {
          headers: bearer(adminToken),
          signal: patience(),
          body: {
            sku: values.sku ?? `SKU-${randomUUID()}`,
            name: values.name ?? 'Oak serving board',
            description: 'A board.',
            category: values.category ?? 'kitchen/boards',
            price: { amountMinor: values.priceMinor ?? 1_999, currency: values.currency ?? 'EUR' },
            onHand: values.onHand ?? 100,
          },
        }),
      );
    },
    checkout(
      token: string,
      items: Array<{ productId: string; quantity: number }>,
      options: { key?: string; payment?: string } = {},
    ) {
      return answerOf<Order>(
        api.POST('/v1/orders', {
          params: { header: { 'Idempotency-Key': options.key ?? randomUUID() } },
          headers: bearer(token),
          signal: patience(),
          body: {
            items,
            shippingAddress: ADDRESS,
            payment: { method: 'card', token: options.payment ?? 'tok_ok' },
          },
        }),
      );
    },
    /** The order once it is confirmed or cancelled with no refund pending. */
    async settled(token: string, orderId: string, timeoutMs = 30_000): Promise<Order> {
      const until = Date.now() + timeoutMs;
      for (;;) {
        const { body, status } = await answerOf<Order>(
          api.GET('/v1/orders/{id}', {
            params: { path: { id: orderId } },
            headers: bearer(token),
            signal: patience(),
          }),
        );
        if (status === 200 && body.status !== 'pending' && body.paymentStatus !== 'refund_pending')
          return body;
        if (Date.now() > until) throw new Error(`order ${orderId} is still ${JSON.stringify(body)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}

export type ShopClient = ReturnType<typeof shopClient>;

/** An order as the API shows it; where a call was refused, the problem's code stands in its place. */
export type Order = components['schemas']['Order'] & { code?: string };

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const patience = () => AbortSignal.timeout(PATIENCE_MS);

export const ADDRESS = {
  name: 'Sam Shopper',
  line1: '1 Long Street',
  postalCode: '10115',
  city: 'Berlin',
  country: 'DE',
} as const;
