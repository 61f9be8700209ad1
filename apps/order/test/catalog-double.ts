import { catalogV1, fault } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import { implement, serveGrpc } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';

/** A product of the double. */
export interface ProductState {
  sku: string;
  name: string;
  priceMinor: bigint;
  currency: string;
  available: number;
  archived?: boolean;
}

interface HoldState {
  state: 'held' | 'confirmed' | 'released' | 'returned' | 'expired';
  lines: catalogV1.HeldLine[];
}

/** The catalog's part in checkouts, with state of its own behind a real gRPC server: stock and holds by order id. */
export interface CatalogDouble {
  address: string;
  products: Map<string, ProductState>;
  holds: Map<string, HoldState>;
  /** Counts of calls by method. */
  calls: Record<string, number>;
  /** Every call fails as if the service were away. */
  down: boolean;
  /** The effect happens, the answer is lost. */
  loseAnswers: boolean;
  /** Lets a hold end by time: its units are available to others. */
  expireHold(orderId: string): void;
  /** Runs inside `getQuotes`, before its answer. */
  beforeQuotes: () => Promise<void> | void;
  /** Runs inside `placeHold`, before its effect. */
  beforeHold: (orderId: string) => Promise<void> | void;
  close(): Promise<void>;
}

/** Starts the double on a free port. */
export async function startCatalogDouble(): Promise<CatalogDouble> {
  const products = new Map<string, ProductState>();
  const holds = new Map<string, HoldState>();
  const calls: Record<string, number> = {};
  const away = () => new Fault('unavailable', 'DEPENDENCY_UNAVAILABLE', { detail: 'the catalog is away' });

  const move = (lines: catalogV1.HeldLine[], sign: 1 | -1) => {
    for (const line of lines) products.get(line.productId)!.available += sign * line.quantity;
  };
  const answer = async <T>(method: string, work: () => Promise<T> | T): Promise<T> => {
    calls[method] = (calls[method] ?? 0) + 1;
    if (double.down) throw away();
    const result = await work();
    if (double.loseAnswers) throw away();
    return result;
  };
  const sold = (productId: string) => {
    const product = products.get(productId);
    return product && !product.archived ? product : undefined;
  };
  const unused = async (): Promise<never> => {
    throw new Fault('internal', 'INTERNAL', { detail: 'orders do not call this' });
  };

  const service = implement('headroom.catalog.v1.CatalogService', catalogV1.CatalogServiceService, {
    getProduct: unused,
    createProduct: unused,
    updateProduct: unused,
    archiveProduct: unused,
    restoreProduct: unused,
    listProducts: unused,
    getStock: unused,
    setStock: unused,
    listStockLedger: unused,
    getQuotes: ({ productIds }) =>
      answer('getQuotes', async () => {
        await double.beforeQuotes();
        return {
          quotes: productIds.flatMap((productId) => {
            const product = sold(productId);
            if (!product) return [];
            const { name, priceMinor, currency, available } = product;
            return [
              { productId, name, price: { amountMinor: priceMinor, currency }, available: BigInt(available) },
            ];
          }),
        };
      }),
    placeHold: ({ orderId, lines }) =>
      answer('placeHold', async () => {
        await double.beforeHold(orderId);
        const known = holds.get(orderId);
        if (known && known.state !== 'held') throw new Fault('conflict', 'HOLD_EXPIRED');
        if (known) return { orderId, lines: known.lines, expiresAt: '' };
        const missing = lines.filter((line) => !sold(line.productId));
        const productIdsOf = (of: typeof lines) => ({ productIds: of.map((line) => line.productId) });
        if (missing.length > 0) throw fault('PRODUCT_UNAVAILABLE', { extra: productIdsOf(missing) });
        if (new Set(lines.map((line) => products.get(line.productId)!.currency)).size > 1)
          throw fault('CURRENCY_MIXED');
        const short = lines.filter((line) => products.get(line.productId)!.available < line.quantity);
        if (short.length > 0) throw fault('OUT_OF_STOCK', { extra: productIdsOf(short) });
        const held = lines.map(({ productId, quantity }) => {
          const { sku, name, priceMinor, currency } = products.get(productId)!;
          return { productId, sku, name, quantity, unitPrice: { amountMinor: priceMinor, currency } };
        });
        move(held, -1);
        holds.set(orderId, { state: 'held', lines: held });
        return { orderId, lines: held, expiresAt: '' };
      }),
    confirmHold: ({ orderId }) =>
      answer('confirmHold', () => {
        const hold = holds.get(orderId);
        if (!hold || !['held', 'confirmed'].includes(hold.state)) throw new Fault('conflict', 'HOLD_EXPIRED');
        hold.state = 'confirmed';
        return { orderId, state: hold.state };
      }),
    releaseHold: ({ orderId }) =>
      answer('releaseHold', () => {
        const hold = holds.get(orderId) ?? { state: 'released', lines: [] };
        if (hold.state === 'held') move(hold.lines, 1);
        if (hold.state !== 'confirmed') hold.state = 'released';
        holds.set(orderId, hold);
        return { orderId, state: hold.state };
      }),
    returnUnits: ({ orderId }) =>
      answer('returnUnits', () => {
        const hold = holds.get(orderId);
        if (hold?.state === 'confirmed') {
          move(hold.lines, 1);
          hold.state = 'returned';
        }
        return { orderId, state: hold?.state ?? '' };
      }),
  });
  const server = await serveGrpc({
    host: '127.0.0.1',
    port: 0,
    services: [service],
    logger: silentLogger,
    graceMs: 100,
  });
  const double: CatalogDouble = {
    address: `127.0.0.1:${server.port}`,
    products,
    holds,
    calls,
    down: false,
    loseAnswers: false,
    beforeQuotes: () => undefined,
    beforeHold: () => undefined,
    expireHold(orderId) {
      const hold = holds.get(orderId)!;
      move(hold.lines, 1);
      hold.state = 'expired';
    },
    close: () => server.close(),
  };
  return double;
}
