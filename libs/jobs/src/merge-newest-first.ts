/**
 * One page of several lists of which each is sorted newest first by UUIDv7 ids, read after the same id with `limit` items at
 * least (or all there are): the first `limit` of all of them, and whether more follow.
 */
export function mergeNewestFirst<T extends { id: string }>(
  lists: ReadonlyArray<{ items: readonly T[]; more: boolean }>,
  limit: number,
): { items: T[]; more: boolean } {
  const all = lists.flatMap((list) => list.items).sort((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0));
  return { items: all.slice(0, limit), more: all.length > limit || lists.some((list) => list.more) };
}
