import type { catalogV1 } from '@headroom/contracts';
import { uuidv7 } from '@headroom/resilience';
import fc from 'fast-check';
import {
  archiveProduct,
  changeProduct,
  createProduct,
  readChanges,
  readNewProduct,
  restoreProduct,
  slugCandidates,
  type ProductInput,
} from './product';

const input: ProductInput = {
  sku: 'MUG-1',
  name: 'Blue mug',
  description: 'Holds 300 ml.',
  category: 'kitchen/mugs',
  priceMinor: 1_999n,
  currency: 'EUR',
  imageUrl: '',
};
const id = uuidv7();
const { product } = createProduct(input, { id, slug: 'blue-mug', nowMs: 1_000 });

describe('a change of a product', () => {
  it('of nothing but the price is price-changed', () => {
    expect(changeProduct(product, { priceMinor: 2_500n }, 2_000)).toEqual({
      product: { ...product, priceMinor: 2_500n, version: 2n, updatedAtMs: 2_000 },
      type: 'headroom.catalog.price-changed',
    });
  });

  it('of the price and something else is one product-updated', () => {
    const changed = changeProduct(product, { priceMinor: 2_500n, name: 'Green mug' }, 2_000);
    expect(changed).toMatchObject({
      type: 'headroom.catalog.product-updated',
      product: { version: 2n, priceMinor: 2_500n, name: 'Green mug', slug: 'blue-mug' },
    });
  });

  it('to what it is already is none', () => {
    expect(changeProduct(product, { ...input }, 2_000)).toBeUndefined();
  });

  it('is refused while it is archived, and archiving or restoring twice is none', () => {
    const archived = archiveProduct(product, 2_000)!;
    expect(archived).toMatchObject({ type: 'headroom.catalog.product-archived', product: { version: 2n } });
    expect(() => changeProduct(archived.product, { name: 'Green mug' }, 3_000)).toThrow(
      expect.objectContaining({ code: 'PRODUCT_ARCHIVED' }),
    );
    expect(archiveProduct(archived.product, 3_000)).toBeUndefined();
    const restored = restoreProduct(archived.product, 3_000)!;
    expect(restored).toMatchObject({ type: 'headroom.catalog.product-restored', product: { version: 3n } });
    expect(restoreProduct(restored.product, 4_000)).toBeUndefined();
  });
});

describe('a slug', () => {
  it.each([
    ['Oak Serving Board, Large', 'oak-serving-board-large'],
    ['  Crème Brûlée  Löffel ', 'creme-brulee-loffel'],
    ['Große Schüssel', 'grosse-schussel'],
    ['Cook’s Knife', 'cooks-knife'],
    ['茶碗', 'product'],
    ['Trending', 'product-trending'],
    [id, `product-${id}`],
  ])('of %j is %j', (name, slug) => {
    expect(slugCandidates(name, id)).toEqual([slug, `${slug}-${id.slice(-12)}`]);
  });

  it('of any name can stand in a path and is no id', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (name) => {
        for (const slug of slugCandidates(name, id)) expect(slug).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
        expect(slugCandidates(name, id)[1].length).toBeLessThanOrEqual(255);
      }),
    );
  });
});

const request = (members: Partial<catalogV1.CreateProductRequest> = {}): catalogV1.CreateProductRequest => ({
  sku: 'MUG-1',
  name: 'Blue mug',
  description: '',
  category: 'kitchen/mugs',
  price: { amountMinor: 1n, currency: '' },
  onHand: 0n,
  imageUrl: '',
  ...members,
});

describe('what is read from a request', () => {
  it("has the shop's currency where the price names none", () => {
    expect(readNewProduct(request(), 'SEK').input.currency).toBe('SEK');
    expect(
      readNewProduct(request({ price: { amountMinor: 1n, currency: 'USD' } }), 'SEK').input.currency,
    ).toBe('USD');
  });

  it('names every member that is wrong, as the API calls it', () => {
    const wrong = request({
      sku: ' MUG ',
      name: 'a\u0000b',
      description: 'x'.repeat(10_001),
      category: 'Kitchen',
      price: { amountMinor: -1n, currency: 'euro' },
      onHand: -1n,
      imageUrl: 'javascript:alert(1)',
    });
    let caught: { code?: string; errors?: Array<{ path: string }> } = {};
    try {
      readNewProduct(wrong, 'EUR');
    } catch (error) {
      caught = error as typeof caught;
    }
    expect(caught.code).toBe('VALIDATION_FAILED');
    expect(caught.errors!.map(({ path }) => path).sort()).toEqual([
      'category',
      'description',
      'imageUrl',
      'name',
      'onHand',
      'price.amountMinor',
      'price.currency',
      'sku',
    ]);
  });

  it.each(['kitchen', 'a/b/c/d', ''])('takes the category %j', (category) => {
    expect(readNewProduct(request({ category }), 'EUR').input.category).toBe(category);
  });

  it.each(['a/b/c/d/e', '/a', 'a//b', 'a/', 'ä'])('refuses the category %j', (category) => {
    expect(() => readNewProduct(request({ category }), 'EUR')).toThrow(
      expect.objectContaining({ errors: [expect.objectContaining({ path: 'category' })] }),
    );
  });

  it('of a change has only the members that it names', () => {
    expect(readChanges({ productId: id, name: 'Green mug' }, 'EUR')).toEqual({ name: 'Green mug' });
    expect(readChanges({ productId: id, price: { amountMinor: 5n, currency: '' } }, 'EUR')).toEqual({
      priceMinor: 5n,
      currency: 'EUR',
    });
  });
});
