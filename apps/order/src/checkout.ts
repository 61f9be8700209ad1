import { fault, orderJson, problemOf, type catalogV1, type StoredResponse } from '@headroom/contracts';
import { writeOutbox } from '@headroom/messaging';
import type { Database, Tx } from '@headroom/postgres';
import { Fault, uuidv7, uuidv7TimeMs, type Clock } from '@headroom/resilience';
import { currentTraceparent, type Logger } from '@headroom/telemetry';
import { orderEvent, orderMessage } from './events';
import { makePartitionOf } from './jobs';
import {
  cancel,
  place,
  type Canceller,
  type Order,
  type OrderEvent,
  type OrderItem,
  type ShippingAddress,
} from './order';
import {
  findKey,
  giveUpClaim,
  hastenSaga,
  insertClaim,
  insertOrderWithSaga,
  insertSaga,
  isMissingPartition,
  keepResponse,
  lockKey,
  lockOrder,
  moveClaim,
  readCart,
  renewClaim,
  takeOutOfCart,
  updateOrder,
  type CartLine,
  type Claim,
  type KeptResponse,
  type KeyOwner,
  type KeyRecord,
} from './repository';
import { startReturn, startSaga } from './saga';

/** What a checkout needs of the catalog: units held all or none, by order id; the same hold again for the same id. */
export interface Holds {
  placeHold(request: catalogV1.PlaceHoldRequest, options?: { timeoutMs?: number }): Promise<catalogV1.Hold>;
  releaseHold(
    request: catalogV1.ReleaseHoldRequest,
    options?: { timeoutMs?: number },
  ): Promise<catalogV1.HoldSettled>;
}

/** A request with a key, checked for form. */
interface KeyedRequest {
  userId: string;
  key: string;
  /** SHA-256 of the path and the canonical body. */
  fingerprint: Buffer;
  requestId: string;
}

/** A checkout, checked for form; lines merged by product, or the caller's cart. */
export interface PlaceRequest extends KeyedRequest {
  lines: CartLine[] | 'cart';
  shippingAddress: ShippingAddress;
  paymentToken: string;
  /** The same call sent again after a broken connection: it waits for the earlier try instead of being told that it runs. */
  isRetry?: boolean;
}

/** A cancellation. With `by: 'admin'` anybody's order. */
export interface CancelRequest extends KeyedRequest {
  orderId: string;
  by: Canceller;
}

export interface Checkout {
  /**
   * Places an order exactly once per key: the units are held, then order, event, saga and response are written in one
   * transaction. The same key answers with the same bytes for 24 h. Faults: those kept under the key come as a response;
   * IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_IN_FLIGHT, CART_EMPTY and DEPENDENCY_UNAVAILABLE are thrown and leave the key free.
   */
  place(request: PlaceRequest): Promise<StoredResponse>;
  /**
   * Cancels an order, or records the wish while its payment is under way. Faults: NOT_FOUND, ORDER_NOT_CANCELLABLE,
   * IDEMPOTENCY_KEY_REUSED; nothing of them is kept.
   */
  cancel(request: CancelRequest): Promise<StoredResponse>;
}

/** A claim that died is taken over this long after it was made: longer than a living request takes. */
export const CLAIM_LEASE_MS = 8_000;
const KEEP_MS = 24 * 3_600_000;
const HOLD_TIMEOUT_MS = 4_000;
const LOOK_AGAIN_MS = 50;
/** The problems that are an answer about the request rather than about the moment. */
const KEPT_PROBLEMS = new Set(['OUT_OF_STOCK', 'PRODUCT_UNAVAILABLE', 'CURRENCY_MIXED']);
const PLACE_SCOPE = 'POST /v1/orders';

/** What a request may do, given what is on record under its key. */
export type ClaimDecision =
  | { kind: 'replay'; response: KeptResponse }
  | { kind: 'reused' }
  | { kind: 'in-flight'; retryAfterSeconds: number }
  /** Goes on where an attempt ended, with the same order id: what it held is found again. */
  | { kind: 'resume' }
  /** Begins anew with another order id. */
  | { kind: 'restart' };

/**
 * Decides what a repeated key means. A claim whose lease has run out belongs to a process that died or gave up. Its order id
 * is taken over while that means the same lines (same request, same cart) and its hold can still stand.
 */
export function decideClaim(
  record: KeyRecord,
  request: { fingerprint: Buffer; cartVersion: bigint | null },
  options: { nowMs: number; holdTtlMs: number },
): ClaimDecision {
  const { nowMs } = options;
  if (record.expiresAtMs <= nowMs) return { kind: 'restart' };
  const same = record.fingerprint.equals(request.fingerprint);
  if (record.response) return same ? { kind: 'replay', response: record.response } : { kind: 'reused' };
  if (record.leaseUntilMs > nowMs)
    return same
      ? { kind: 'in-flight', retryAfterSeconds: Math.ceil((record.leaseUntilMs - nowMs) / 1_000) }
      : { kind: 'reused' };
  const fresh = nowMs - uuidv7TimeMs(record.orderId) < options.holdTtlMs;
  return { kind: same && fresh && record.cartVersion === request.cartVersion ? 'resume' : 'restart' };
}

/** Makes the checkout. `wakeRelay`, `wakeSagas` and `onChange` run right after a commit and must not block. */
export function createCheckout(deps: {
  db: Database;
  holds: Holds;
  clock: Clock;
  logger: Logger;
  holdTtlSeconds: number;
  paymentTimeoutSeconds: number;
  wakeRelay?: (() => void) | undefined;
  wakeSagas: () => void;
  onChange: (order: Order) => void;
  /** Tries to give the units of a cancelled order back before the answer; the saga does it otherwise. */
  returnUnits: (orderId: string) => Promise<void>;
}): Checkout {
  const { db, holds, clock, logger } = deps;
  const holdTtlMs = deps.holdTtlSeconds * 1_000;

  const publish = (tx: Tx, events: readonly OrderEvent[]) =>
    writeOutbox(tx, events.map(orderEvent), deps.wakeRelay);

  const takeClaim = async (
    request: PlaceRequest,
  ): Promise<StoredResponse | (Claim & { lines: CartLine[]; abandonedOrderId?: string })> => {
    const owner: KeyOwner = { userId: request.userId, scope: PLACE_SCOPE, key: request.key };
    const cart = request.lines === 'cart' ? await readCart(db, request.userId) : undefined;
    const lines = cart?.lines ?? (request.lines as CartLine[]);
    const nowMs = clock.now();
    const terms = {
      fingerprint: request.fingerprint,
      cartVersion: cart?.version ?? null,
      leaseUntilMs: nowMs + CLAIM_LEASE_MS,
      expiresAtMs: nowMs + KEEP_MS,
    };
    const first = { ...owner, orderId: uuidv7(nowMs), attempt: 1 };
    // Nearly always the key is new: one statement, no transaction. Nothing is claimed for an order of nothing.
    let claimed: boolean | 'unknown' = false;
    if (lines.length > 0)
      claimed = await insertClaim(db, { ...first, ...terms }).catch((error: unknown) => {
        if (error instanceof Fault && error.kind === 'unavailable') return 'unknown' as const;
        throw error;
      });
    if (claimed === true) return { ...first, lines };
    return db.transaction(
      async (tx) => {
        if (claimed === 'unknown' && (await insertClaim(tx, { ...first, ...terms })))
          return { ...first, lines };
        const record = await lockKey(tx, owner);
        if (record?.orderId === first.orderId) return { ...first, lines }; // ours: only the answer was lost
        if (!record) {
          requireLines(lines);
          throw inFlight(1); // deleted between the two statements, since its time was over
        }
        const decision = decideClaim(record, terms, { nowMs, holdTtlMs });
        switch (decision.kind) {
          case 'replay':
            return replayed(record, decision.response);
          case 'reused':
            throw keyReused();
          case 'in-flight':
            throw inFlight(decision.retryAfterSeconds);
          case 'resume':
          case 'restart': {
            requireLines(lines);
            const orderId = decision.kind === 'resume' ? record.orderId : first.orderId;
            const claim = { ...owner, orderId, attempt: record.attempt + 1 };
            await renewClaim(tx, { ...claim, ...terms });
            return {
              ...claim,
              lines,
              ...(decision.kind === 'restart' && !record.response
                ? { abandonedOrderId: record.orderId }
                : {}),
            };
          }
        }
      },
      { retry: true },
    );
  };

  /** As `takeClaim`, and waits while an earlier try has the key, at most until its lease is over. */
  const takeClaimInTurn = async (request: PlaceRequest) => {
    for (const untilMs = clock.now() + CLAIM_LEASE_MS; ; await clock.sleep(LOOK_AGAIN_MS)) {
      try {
        return await takeClaim(request);
      } catch (error) {
        const waits =
          error instanceof Fault && error.code === 'IDEMPOTENCY_IN_FLIGHT' && clock.now() < untilMs;
        if (!waits) throw error;
      }
    }
  };

  /** Gives back what an attempt may have held; if that fails, the hold ends by itself. */
  const abandonHold = (orderId: string) =>
    holds.releaseHold({ orderId }, { timeoutMs: HOLD_TIMEOUT_MS }).then(
      () => undefined,
      (error: unknown) => logger.warn('an abandoned hold is left to expire', { err: error, orderId }),
    );

  const hold = async (claim: Claim, lines: CartLine[]): Promise<{ claim: Claim; hold: catalogV1.Hold }> => {
    const take = (orderId: string) =>
      holds.placeHold({ orderId, lines, ttlSeconds: deps.holdTtlSeconds }, { timeoutMs: HOLD_TIMEOUT_MS });
    try {
      return { claim, hold: await take(claim.orderId) };
    } catch (error) {
      if (!(error instanceof Fault && error.code === 'HOLD_EXPIRED')) throw error;
      const orderId = uuidv7(clock.now());
      if (!(await moveClaim(db, claim, orderId))) throw inFlight(1);
      return { claim: { ...claim, orderId }, hold: await take(orderId) };
    }
  };

  /** Undefined when a later attempt has taken the key. */
  const writeOrder = (
    request: PlaceRequest,
    claim: Claim,
    held: catalogV1.Hold,
    lines: CartLine[],
  ): Promise<StoredResponse | undefined> => {
    const write = () =>
      db.transaction(
        async (tx) => {
          const nowMs = clock.now();
          const { order, events } = place({
            id: claim.orderId,
            userId: request.userId,
            ...itemsOf(held),
            shippingAddress: request.shippingAddress,
            atMs: nowMs,
          });
          const response: KeptResponse = {
            status: 201,
            contentType: 'application/json; charset=utf-8',
            location: `/v1/orders/${order.id}`,
            body: Buffer.from(JSON.stringify(orderJson(orderMessage(order)))),
            orderVersion: order.version,
          };
          // First, since it decides whether this attempt still counts, and its lock keeps a later one waiting.
          if (!(await keepResponse(tx, claim, response, nowMs + KEEP_MS))) return undefined;
          await insertOrderWithSaga(
            tx,
            order,
            startSaga({
              order,
              paymentToken: request.paymentToken,
              nowMs,
              paymentTimeoutMs: deps.paymentTimeoutSeconds * 1_000,
              traceparent: currentTraceparent(),
            }),
          );
          if (request.lines === 'cart') await takeOutOfCart(tx, request.userId, lines, nowMs);
          await publish(tx, events);
          tx.afterCommit(() => deps.onChange(order));
          tx.afterCommit(deps.wakeSagas);
          return stored(claim.orderId, response, false);
        },
        { retry: true },
      );
    return write().catch(async (error: unknown) => {
      if (!isMissingPartition(error)) throw error;
      await makePartitionOf(db, uuidv7TimeMs(claim.orderId));
      return write();
    });
  };

  /** The answer of an attempt that was overtaken: that of the one which has the key now. */
  const overtaken = async (claim: Claim): Promise<StoredResponse> => {
    const record = await findKey(db, claim);
    if (record?.orderId !== claim.orderId) await abandonHold(claim.orderId);
    if (record?.response) return replayed(record, record.response);
    throw inFlight(1);
  };

  const placeOrder = async (request: PlaceRequest): Promise<StoredResponse> => {
    const taken = await (request.isRetry ? takeClaimInTurn(request) : takeClaim(request));
    if ('body' in taken) return taken;
    const { lines, abandonedOrderId, ...first } = taken;
    let claim: Claim = first;
    try {
      if (abandonedOrderId !== undefined) await abandonHold(abandonedOrderId);
      const held = await hold(first, lines);
      claim = held.claim;
      return (await writeOrder(request, claim, held.hold, lines)) ?? (await overtaken(claim));
    } catch (error) {
      if (error instanceof Fault && KEPT_PROBLEMS.has(error.code)) {
        const problem = problemOf(error, request.requestId);
        const response: KeptResponse = {
          status: problem.status,
          contentType: 'application/problem+json; charset=utf-8',
          location: '',
          body: Buffer.from(JSON.stringify(problem)),
          orderVersion: null,
        };
        return (await keepResponse(db, claim, response, clock.now() + KEEP_MS))
          ? stored(claim.orderId, response, false)
          : overtaken(claim);
      }
      // Whatever was committed stays: only a claim without a response is given up.
      await giveUpClaim(db, claim).catch((failure: unknown) =>
        logger.warn('a claim is left to its lease', { err: failure, orderId: claim.orderId }),
      );
      throw error;
    }
  };

  const cancelOrder = async (request: CancelRequest): Promise<StoredResponse> => {
    const path = request.by === 'admin' ? '/v1/admin/orders' : '/v1/orders';
    const { userId, key, orderId } = request;
    const claim: Claim = {
      userId,
      scope: `POST ${path}/${orderId}/cancel`,
      key,
      orderId,
      attempt: 1,
    };
    const outcome = await db.transaction(
      async (tx) => {
        const nowMs = clock.now();
        const terms = {
          fingerprint: request.fingerprint,
          cartVersion: null,
          leaseUntilMs: nowMs,
          expiresAtMs: nowMs + KEEP_MS,
        };
        if (!(await insertClaim(tx, { ...claim, ...terms }))) {
          const record = await lockKey(tx, claim);
          if (!record) throw inFlight(1);
          const decision = decideClaim(record, terms, { nowMs, holdTtlMs });
          if (decision.kind === 'replay')
            return { response: replayed(record, decision.response), unitsReturn: false };
          if (decision.kind === 'reused') throw keyReused();
          await renewClaim(tx, { ...claim, ...terms });
        }
        const order = await lockOrder(tx, orderId);
        if (!order || (request.by === 'customer' && order.userId !== userId))
          throw fault('NOT_FOUND', { detail: 'there is no such order' });
        const cancellation = cancel(order, request.by, nowMs);
        if (cancellation.kind === 'refused')
          throw fault('ORDER_NOT_CANCELLABLE', { detail: cancellation.detail });
        if (!(await updateOrder(tx, order.version, cancellation.order)))
          throw new Error('an order changed under its lock');
        if (cancellation.kind === 'cancelled')
          await insertSaga(tx, startReturn(cancellation.order, nowMs, currentTraceparent()));
        else await hastenSaga(tx, orderId, nowMs);
        await publish(tx, cancellation.events);
        const response: KeptResponse = {
          status: cancellation.kind === 'cancelled' ? 200 : 202,
          contentType: 'application/json; charset=utf-8',
          location: '',
          body: Buffer.from(JSON.stringify(orderJson(orderMessage(cancellation.order)))),
          orderVersion: cancellation.order.version,
        };
        await keepResponse(tx, claim, response, nowMs + KEEP_MS);
        tx.afterCommit(() => deps.onChange(cancellation.order));
        return {
          response: stored(orderId, response, false),
          unitsReturn: cancellation.kind === 'cancelled',
        };
      },
      { retry: true },
    );
    if (outcome.unitsReturn) await deps.returnUnits(orderId);
    deps.wakeSagas();
    return outcome.response;
  };

  return { place: placeOrder, cancel: cancelOrder };
}

function itemsOf(hold: catalogV1.Hold): { items: OrderItem[]; currency: string } {
  const currency = hold.lines[0]?.unitPrice?.currency ?? '';
  return {
    currency,
    items: hold.lines.map((line) => {
      if (line.unitPrice?.currency !== currency)
        throw fault('CURRENCY_MIXED', { detail: 'the products are priced in different currencies' });
      const { productId, sku, name, quantity, unitPrice } = line;
      return { productId, sku, name, quantity, unitPriceMinor: unitPrice.amountMinor };
    }),
  };
}

function stored(orderId: string, response: KeptResponse, isReplay: boolean): StoredResponse {
  const { status, contentType, location, body, orderVersion } = response;
  return {
    status,
    contentType,
    location,
    body,
    replayed: isReplay,
    positions: orderVersion === null ? [] : [{ subject: `order/${orderId}`, version: orderVersion }],
  };
}

const replayed = (record: KeyRecord, response: KeptResponse): StoredResponse =>
  stored(record.orderId, response, true);

function requireLines(lines: readonly CartLine[]): void {
  if (lines.length === 0) throw fault('CART_EMPTY', { detail: 'there is nothing in the cart to order' });
}

const keyReused = (): Fault =>
  fault('IDEMPOTENCY_KEY_REUSED', { detail: 'this key was used for a request with another body' });

const inFlight = (retryAfterSeconds: number): Fault =>
  fault('IDEMPOTENCY_IN_FLIGHT', {
    detail: 'a request with this key is still running',
    retryAfterSeconds,
  });
