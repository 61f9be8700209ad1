import { isUuidv7 } from '@headroom/resilience';
import { validate } from './product';

const DEFAULT_LIMIT = 20;
const MOST_LIMIT = 100;

/** The number of items that a list was asked for, default 20; throws VALIDATION_FAILED. */
export function readPage(limit: number, afterId: string): number {
  validate([
    ...(limit >= 0 && limit <= MOST_LIMIT
      ? []
      : [{ path: 'limit', message: `must be from 1 to ${MOST_LIMIT}` }]),
    ...(afterId === '' || isUuidv7(afterId) ? [] : [{ path: 'afterId', message: 'must be an id' }]),
  ]);
  return limit || DEFAULT_LIMIT;
}
