import { AsyncLocalStorage } from 'node:async_hooks';

/** What belongs to the request being served and travels with every call made on its behalf. */
export interface CallContext {
  /** When the request's time is up, in milliseconds since the Unix epoch. */
  deadlineAt: number;
  requestId: string;
  /** The caller's access token as it came in; every service verifies it again. */
  accessToken?: string | undefined;
}

const storage = new AsyncLocalStorage<CallContext>();

/** Runs `work` with `context` as the request that calls are made for. */
export const withCallContext = <T>(context: CallContext, work: () => T): T => storage.run(context, work);

/** The request being served, or undefined in background work. */
export const currentCall = (): CallContext | undefined => storage.getStore();
