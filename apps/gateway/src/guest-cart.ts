import { backoffMs } from '@headroom/resilience';
import { currentCall, withCallContext } from '@headroom/rpc';
import type { IncomingHttpHeaders } from 'node:http';
import type { Deps } from './deps';

/** The Cart-Token of a request; what cannot be one counts as none. */
export function cartTokenOf(headers: IncomingHttpHeaders): string | undefined {
  const token = headers['cart-token'];
  return typeof token === 'string' && /^[\x21-\x7e]{1,512}$/.test(token) ? token : undefined;
}

const MOST_TRIES = 3;
const TRY_MS = 1_500;

/**
 * Moves the cart of a guest into the cart of who has just signed in. The sign-in stands whatever becomes of it: after three
 * tries the lines stay where they are, and go along with the next sign-in that names the token.
 */
export async function bringCart(
  { guestCarts, logger, clock }: Pick<Deps, 'guestCarts' | 'logger' | 'clock'>,
  { cartToken, accessToken }: { cartToken: string; accessToken: string },
): Promise<void> {
  for (let attempt = 1; attempt <= MOST_TRIES; attempt += 1) {
    try {
      await withCallContext({ ...currentCall()!, accessToken }, () =>
        guestCarts.mergeGuestCart({ cartToken }, { timeoutMs: TRY_MS }),
      );
      return;
    } catch (error) {
      logger.warn('the cart of a guest was not merged at sign-in', { attempt, err: error });
      if (attempt < MOST_TRIES) await clock.sleep(backoffMs(attempt, { baseMs: 50, capMs: 200 }));
    }
  }
}
