import fc from 'fast-check';
import { mergeNewestFirst } from './merge-newest-first';

it('pages through several lists as through one list sorted by id, whatever the page size', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.uuid({ version: 7 }), fc.nat(3)), { selector: ([id]) => id, maxLength: 40 }),
      fc.integer({ min: 1, max: 7 }),
      (entries, limit) => {
        const sorted = (source: number) =>
          entries
            .filter(([, of]) => of === source)
            .map(([id]) => ({ id }))
            .sort((a, b) => (a.id < b.id ? 1 : -1));
        const sources = [0, 1, 2, 3].map(sorted);
        const pages: Array<{ id: string }> = [];
        for (let after: string | undefined; ;) {
          const page = mergeNewestFirst(
            sources.map((all) => {
              const rest = all.filter(({ id }) => after === undefined || id < after);
              return { items: rest.slice(0, limit), more: rest.length > limit };
            }),
            limit,
          );
          pages.push(...page.items);
          if (!page.more) break;
          after = page.items.at(-1)!.id;
        }
        expect(pages.map(({ id }) => id)).toEqual(
          entries
            .map(([id]) => id)
            .sort()
            .reverse(),
        );
      },
    ),
  );
});
