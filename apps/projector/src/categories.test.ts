import { categoryTree } from './categories';

it('counts children in their parents, and makes parents that have no products of their own', () => {
  const tree = categoryTree([
    { category: 'kitchen/hand-tools', products: 3n },
    { category: 'garden', products: 1n },
    { category: 'kitchen/boards/large', products: 2n },
    { category: 'garden/pots', products: 4n },
  ]);
  expect(tree).toEqual([
    {
      slug: 'garden',
      name: 'Garden',
      productCount: 5n,
      children: [{ slug: 'garden/pots', name: 'Pots', productCount: 4n, children: [] }],
    },
    {
      slug: 'kitchen',
      name: 'Kitchen',
      productCount: 5n,
      children: [
        {
          slug: 'kitchen/boards',
          name: 'Boards',
          productCount: 2n,
          children: [{ slug: 'kitchen/boards/large', name: 'Large', productCount: 2n, children: [] }],
        },
        { slug: 'kitchen/hand-tools', name: 'Hand Tools', productCount: 3n, children: [] },
      ],
    },
  ]);
});
