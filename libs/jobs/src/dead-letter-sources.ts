import type { DeadLetterPage } from './dead-jobs';
import { mergeNewestFirst } from './merge-newest-first';

/** Where work ends up that could not be done: the jobs of a database, or the parked events of one (libs/messaging). */
export interface DeadLetterSource {
  /** Newest first by id, which is a UUIDv7; after `afterId` (empty or missing: from the newest). */
  list(options: {
    limit: number;
    afterId?: string;
    includeTotal?: boolean | undefined;
  }): Promise<DeadLetterPage>;
  /** Tries it again. False when this source has no such dead letter. */
  requeue(id: string): Promise<boolean>;
  /** Drops it for good. False when this source has no such dead letter. */
  discard(id: string): Promise<boolean>;
}

/** All sources of a service as one. */
export function mergeDeadLetters(...sources: readonly DeadLetterSource[]): DeadLetterSource {
  const anyOf = async (act: (source: DeadLetterSource) => Promise<boolean>) => {
    for (const source of sources) if (await act(source)) return true;
    return false;
  };
  return {
    async list(options) {
      const pages = await Promise.all(sources.map((source) => source.list(options)));
      const { items, more } = mergeNewestFirst(
        pages.map((page) => ({ items: page.deadLetters, more: page.more })),
        options.limit,
      );
      return {
        deadLetters: items,
        more,
        ...(options.includeTotal
          ? {
              total: pages.reduce((sum, page) => sum + (page.total ?? 0n), 0n),
              totalIsEstimate: pages.some((page) => page.totalIsEstimate === true),
            }
          : {}),
      };
    },
    requeue: (id) => anyOf((source) => source.requeue(id)),
    discard: (id) => anyOf((source) => source.discard(id)),
  };
}
