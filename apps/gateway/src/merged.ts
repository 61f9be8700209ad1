import { fault } from '@headroom/contracts';
import { Fault } from '@headroom/resilience';
import type { Deps, OperationsCalls } from './deps';

/** A page of one service's list, newest first. */
interface Page<T> {
  items: T[];
  more: boolean;
  total?: bigint | undefined;
  totalIsEstimate?: boolean | undefined;
}

/**
 * One page of the list that all services have together, newest first by id. Each gives a full page, which is enough:
 * whatever belongs on the merged page stands on the first page of its service. A list with a hole would be wrong, so that
 * one service that is away fails it.
 */
export async function mergedPage<T extends { id: string }>(
  { operations }: Pick<Deps, 'operations'>,
  limit: number,
  read: (service: OperationsCalls) => Promise<Page<T>>,
): Promise<Page<T>> {
  const pages = await Promise.all(Object.values(operations).map(read));
  const merged = pages.flatMap(({ items }) => items).sort((a, b) => (a.id < b.id ? 1 : -1));
  const totals = pages.map(({ total }) => total);
  return {
    items: merged.slice(0, limit),
    more: merged.length > limit || pages.some(({ more }) => more),
    ...(totals.every((total) => total !== undefined)
      ? {
          total: totals.reduce((sum, total) => sum + total, 0n),
          totalIsEstimate: pages.some(({ totalIsEstimate }) => totalIsEstimate),
        }
      : {}),
  };
}

/**
 * The answer of the one service whose thing it is. NOT_FOUND only when all say that it is not theirs: a service that
 * cannot be asked may have it.
 */
export async function askOwner<T>(
  { operations }: Pick<Deps, 'operations'>,
  ask: (service: OperationsCalls) => Promise<T>,
): Promise<T> {
  const answers = await Promise.allSettled(Object.values(operations).map(ask));
  const owner = answers.find((answer) => answer.status === 'fulfilled');
  if (owner) return owner.value;
  const reasons = answers.flatMap((answer): unknown[] =>
    answer.status === 'rejected' ? [answer.reason] : [],
  );
  throw reasons.find((reason) => !isNotFound(reason)) ?? fault('NOT_FOUND');
}

const isNotFound = (reason: unknown) => reason instanceof Fault && reason.kind === 'not_found';
