import type { queryV1 } from '@headroom/contracts';

/**
 * The tree of categories with counts that include children. A path exists with its first product, and its parents with it.
 * Siblings are in the order of their slugs.
 */
export function categoryTree(
  counts: ReadonlyArray<{ category: string; products: bigint }>,
): queryV1.Category[] {
  const nodes = new Map<string, queryV1.Category>();
  const roots: queryV1.Category[] = [];
  const nodeOf = (path: string): queryV1.Category => {
    const known = nodes.get(path);
    if (known) return known;
    const end = path.lastIndexOf('/');
    const node = { slug: path, name: titleOf(path.slice(end + 1)), productCount: 0n, children: [] };
    nodes.set(path, node);
    (end < 0 ? roots : nodeOf(path.slice(0, end)).children).push(node);
    return node;
  };
  for (const { category, products } of counts)
    for (let path = category; path !== ''; path = path.slice(0, Math.max(0, path.lastIndexOf('/'))))
      nodeOf(path).productCount += products;
  for (const siblings of [roots, ...[...nodes.values()].map((node) => node.children)])
    siblings.sort((a, b) => (a.slug < b.slug ? -1 : 1));
  return roots;
}

/** `hand-tools` becomes `Hand Tools`. */
const titleOf = (part: string): string =>
  part
    .split('-')
    .filter((word) => word !== '')
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join(' ');
