import { uuidv7 } from '@headroom/resilience';
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { HistoryOrder } from '../src/history-plan';

/** What the double does wrong. The first three happen to a correct shop too. */
export interface Misbehaviour {
  /** Every call is refused as busy once before it works. */
  busy?: boolean;
  /** Every checkout's first answer is lost after the order was placed. */
  lostAnswers?: boolean;
  /** Access tokens are refused after so many calls. */
  callsPerToken?: number;
  /** One checkout is answered as out of stock. */
  outOfStock?: boolean;
  /** One order is charged twice. */
  chargesTwice?: boolean;
  /** One order has a unit less than was asked for. */
  losesUnit?: boolean;
  /** A repeated key makes a second order. */
  forgetsKeys?: boolean;
}

interface Order {
  id: string;
  user: string;
  status: string;
  paymentStatus: string;
  cancelReason: null;
  items: Array<{ productId: string; quantity: number; unitPrice: { amountMinor: number; currency: string } }>;
  total: { amountMinor: number; currency: string };
  placedAt: string;
}

interface Product {
  id: string;
  sku: string;
  price: { amountMinor: number; currency: string };
  available: number;
  archived: boolean;
}

/** The routes of shop and payment provider that a replay uses, in memory, on a port of its own. */
export async function startShopDouble(misbehaviour: Misbehaviour = {}) {
  const passwords = new Map([['admin@shop.example', 'admin-password']]);
  const tokens = new Map<string, { email: string; calls: number }>();
  const products = new Map<string, Product>();
  const orders: Order[] = [];
  const keys = new Map<string, Order>();
  const history = new Map<string, HistoryOrder>();
  const jobs = new Map<string, object>();
  const charges: Array<{ orderId: string; amountMinor: number; status: string }> = [];
  const refused = new Set<string>();
  const lost = new Set<string>();
  let slips = 0;

  const session = (email: string) => {
    const accessToken = randomUUID();
    tokens.set(accessToken, { email, calls: 0 });
    return [201, { accessToken, refreshToken: email, expiresInSeconds: 600 }] as const;
  };
  const problem = (status: number, code: string) => [status, { status, code, detail: code }] as const;
  const page = (items: unknown[]) => [200, { items, page: { nextCursor: null } }] as const;

  const place = (
    email: string,
    key: string,
    body: { items: Array<{ productId: string; quantity: number }> },
  ) => {
    const known = misbehaviour.forgetsKeys ? undefined : keys.get(`${email} ${key}`);
    if (known) return [201, known] as const;
    if (misbehaviour.outOfStock && slips++ === 0) return problem(409, 'OUT_OF_STOCK');
    for (const { productId, quantity } of body.items) {
      const product = products.get(productId)!;
      if (product.available < quantity) return problem(409, 'OUT_OF_STOCK');
      product.available -= quantity;
    }
    const items = body.items.map(({ productId, quantity }) => ({
      productId,
      quantity,
      unitPrice: products.get(productId)!.price,
    }));
    const amountMinor = items.reduce((sum, item) => sum + item.quantity * item.unitPrice.amountMinor, 0);
    const order: Order = {
      id: uuidv7(),
      user: email,
      status: 'pending',
      paymentStatus: 'pending',
      cancelReason: null,
      items,
      total: { amountMinor, currency: items[0]!.unitPrice.currency },
      placedAt: new Date().toISOString(),
    };
    orders.unshift(order);
    keys.set(`${email} ${key}`, order);
    const times = misbehaviour.chargesTwice && slips++ === 0 ? 2 : 1;
    for (let n = 0; n < times; n += 1) charges.push({ orderId: order.id, amountMinor, status: 'succeeded' });
    if (misbehaviour.losesUnit && slips++ === 0) order.items[0]!.quantity -= 1;
    return [201, order] as const;
  };

  const importOrders = (lines: readonly HistoryOrder[]) => {
    const skus = new Set([...products.values()].map(({ sku }) => sku));
    const errors = lines.flatMap(({ items }, index) => {
      const unknown = items.find(({ sku }) => !skus.has(sku));
      return unknown ? [{ line: index + 1, code: 'SKU_UNKNOWN', reason: `there is no ${unknown.sku}` }] : [];
    });
    const rejected = new Set(errors.map(({ line }) => line));
    const taken = lines.filter((_, index) => !rejected.has(index + 1));
    const fresh = taken.filter(({ externalId }) => !history.has(externalId));
    for (const order of fresh) history.set(order.externalId, structuredClone(order));
    if (misbehaviour.losesUnit && fresh[0]) history.get(fresh[0].externalId)!.items[0]!.quantity -= 1;
    const job = {
      id: randomUUID(),
      type: 'order-import',
      status: 'succeeded',
      processed: lines.length,
      total: lines.length,
      created: fresh.length,
      updated: 0,
      unchanged: taken.length - fresh.length,
      rejected: errors.length,
      errors,
    };
    jobs.set(job.id, job);
    return [202, { ...job, status: 'queued', processed: 0 }] as const;
  };
  const salesByDay = (from: string, to: string) => {
    const days = new Map<string, { orders: number; units: number; minor: number; currency: string }>();
    for (const { placedAt, items } of history.values()) {
      const day = placedAt.slice(0, 10);
      if (day < from || day >= to) continue;
      const row = days.get(day) ?? { orders: 0, units: 0, minor: 0, currency: items[0]!.unitPrice.currency };
      row.orders += 1;
      for (const { quantity, unitPrice } of items) {
        row.units += quantity;
        row.minor += quantity * unitPrice.amountMinor;
      }
      days.set(day, row);
    }
    return [...days].map(([day, { orders: count, units, minor, currency }]) => ({
      day,
      currency,
      orders: count,
      units,
      revenue: { amountMinor: minor, currency },
    }));
  };

  const answer = (method: string, url: URL, email: string | undefined, req: IncomingMessage, body: never) => {
    const { email: named, password, sku, price, onHand, delta } = body as Record<string, never>;
    const [, , first, second, id = '', what] = url.pathname.split('/');
    switch (`${method} /v1/${[first, second].filter(Boolean).join('/')}`) {
      case 'POST /v1/users':
        if (passwords.has(named!)) return problem(409, 'EMAIL_TAKEN');
        passwords.set(named!, password!);
        return [201, {}] as const;
      case 'POST /v1/sessions':
        return passwords.get(named!) === password ? session(named!) : problem(401, 'CREDENTIALS_INVALID');
      case 'POST /v1/sessions/refresh':
        return [200, session((body as { refreshToken: string }).refreshToken)[1]] as const;
      case 'POST /v1/admin/products': {
        if (what === undefined && id !== '') products.get(id)!.archived = false;
        if (id !== '') return [200, products.get(id)] as const;
        if ([...products.values()].some((product) => product.sku === sku)) return problem(409, 'SKU_TAKEN');
        const product = {
          id: randomUUID(),
          sku: sku!,
          price: price!,
          available: onHand! * (misbehaviour.forgetsKeys ? 2 : 1),
          archived: false,
        };
        products.set(product.id, product);
        return [201, product] as const;
      }
      case 'GET /v1/admin/products':
        return id === '' ? page([...products.values()]) : ([200, products.get(id)] as const);
      case 'POST /v1/admin/order-imports':
        return importOrders(body as unknown as HistoryOrder[]);
      case 'GET /v1/admin/jobs':
        return [200, jobs.get(id)] as const;
      case 'GET /v1/admin/reports':
        return page(salesByDay(url.searchParams.get('from')!, url.searchParams.get('to')!));
      case 'PUT /v1/admin/products':
        products.get(id)!.available += delta!;
        return [200, products.get(id)] as const;
      case 'POST /v1/orders':
        return place(email!, String(req.headers['idempotency-key']), body);
      case 'GET /v1/charges':
        return page(charges.filter(({ orderId }) => orderId === url.searchParams.get('orderId')));
      case 'GET /v1/refunds':
        return page([]);
      case 'GET /v1/orders':
        // By id, as the shop lists them: two orders of one millisecond have ids in any order.
        return page(orders.filter(({ user }) => user === email).sort((a, b) => (a.id < b.id ? 1 : -1)));
    }
    if (first === 'orders' && method === 'GET') {
      const order = orders.find((each) => each.id === second && each.user === email);
      if (!order) return problem(404, 'NOT_FOUND');
      const seen = { ...order };
      Object.assign(order, { status: 'confirmed', paymentStatus: 'paid' }); // the next look finds it so
      return [200, seen] as const;
    }
    return problem(404, 'NOT_FOUND');
  };

  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk: Buffer) => (text += chunk.toString()));
    req.on('end', () => {
      const send = (status: number, body: unknown) => {
        res.writeHead(status, { 'content-type': 'application/json' });
        res.end(JSON.stringify(body));
      };
      const url = new URL(req.url!, 'http://shop');
      if (url.pathname === '/health') return send(200, { status: 'healthy' });
      const call = `${req.method} ${url} ${text} ${req.headers['idempotency-key'] ?? ''}`;
      if (misbehaviour.busy && !refused.has(call)) {
        refused.add(call);
        return send(503, { code: 'OVERLOADED' });
      }
      const open = /^\/v1\/(users|sessions|charges|refunds)/.test(url.pathname);
      const token = tokens.get(String(req.headers.authorization).replace('Bearer ', ''));
      if (token) token.calls += 1;
      if (!open && (!token || token.calls > (misbehaviour.callsPerToken ?? Infinity)))
        return send(401, { code: 'UNAUTHENTICATED' });
      const isLines = req.headers['content-type'] === 'application/x-ndjson';
      const body = (
        isLines
          ? text
              .trim()
              .split('\n')
              .map((line) => JSON.parse(line) as unknown)
          : JSON.parse(text || '{}')
      ) as never;
      const [status, result] = answer(req.method!, url, token?.email, req, body);
      if (
        misbehaviour.lostAnswers &&
        req.method === 'POST' &&
        url.pathname === '/v1/orders' &&
        !lost.has(call)
      ) {
        lost.add(call);
        return res.destroy();
      }
      send(status, result);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    orders,
    products,
    history,
    accounts: passwords,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
