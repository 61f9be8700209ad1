import { isFinal } from '@headroom/contracts';
import { startPoller, type Clock, type Poller } from '@headroom/resilience';
import { untraced, type Logger } from '@headroom/telemetry';
import type { Order } from './order';

/** Follows orders for any number of readers. */
export interface OrderWatch {
  /**
   * The order's state once its version is above `afterVersion`, then each newer state that is seen; a slow reader gets the
   * latest only. Ends after a final state, at once when `order` is final and not newer, or when `signal` aborts.
   */
  follow(order: Order, afterVersion: bigint, signal: AbortSignal): AsyncIterable<Order>;
  /** Tells about a state that this process has committed, so that its readers need not wait for the next look. */
  changed(order: Order): void;
  /** Ends every reader. */
  close(): Promise<void>;
}

interface Follower {
  offer(order: Order): void;
  end(): void;
}

/** How often the orders that somebody follows are looked up, since other processes change them too. */
const LOOK_EVERY_MS = 300;

/**
 * Makes a watch. All followed orders of the process are read with one statement per look, and none is read while nobody
 * follows.
 */
export function createOrderWatch(deps: {
  load: (ids: readonly string[]) => Promise<Order[]>;
  clock: Clock;
  logger: Logger;
}): OrderWatch {
  const followers = new Map<string, Set<Follower>>();
  let poller: Poller | undefined;
  let closed = false;

  const offer = (order: Order) => {
    for (const follower of followers.get(order.id) ?? []) follower.offer(order);
  };
  const look = async () => {
    const orders = await deps.load([...followers.keys()]);
    orders.forEach(offer);
    return false;
  };
  const join = (id: string, follower: Follower) => {
    const group = followers.get(id) ?? new Set();
    followers.set(id, group.add(follower));
    poller ??= startPoller({
      round: () => untraced(look),
      idleMs: LOOK_EVERY_MS,
      onError: (error) => deps.logger.warn('looking up followed orders failed', { err: error }),
      clock: deps.clock,
    });
  };
  const leave = (id: string, follower: Follower) => {
    const group = followers.get(id);
    group?.delete(follower);
    if (group?.size === 0) followers.delete(id);
    if (followers.size > 0) return;
    void poller?.close();
    poller = undefined;
  };

  return {
    async *follow(order, afterVersion, signal) {
      let sent = afterVersion;
      let latest = order;
      let ended = closed;
      let wake: (() => void) | undefined;
      const follower: Follower = {
        offer(next) {
          if (next.version > latest.version) latest = next;
          wake?.();
        },
        end() {
          ended = true;
          wake?.();
        },
      };
      join(order.id, follower);
      signal.addEventListener('abort', follower.end, { once: true });
      try {
        while (!ended && !signal.aborted) {
          const current = latest;
          if (current.version > sent) {
            sent = current.version;
            yield current;
          }
          if (isFinal(current)) return;
          if (latest.version > sent || ended) continue;
          await new Promise<void>((resolve) => (wake = resolve));
          wake = undefined;
        }
      } finally {
        signal.removeEventListener('abort', follower.end);
        leave(order.id, follower);
      }
    },
    changed: offer,
    async close() {
      closed = true;
      for (const group of followers.values()) for (const follower of group) follower.end();
      await poller?.close();
    },
  };
}
