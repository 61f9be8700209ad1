import { uuidv7 } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import { createProduct, slugCandidates, type ProductInput } from './product';

/** One generated product with its opening stock; everything follows from the seed and the index. */
export interface DemoProduct {
  input: ProductInput;
  id: string;
  /** The slugs it may have, the best first. */
  slugs: [string, string];
  onHand: bigint;
  createdAtMs: number;
}

/** The first product's time of creation; each later one is a minute younger. */
const FIRST_CREATED_AT = Date.UTC(2025, 5, 1, 8);

/**
 * The product number `index` (from 0) of the demo catalogue `seed`: the same for the same arguments, whatever else is made. A
 * larger catalogue is therefore a smaller one with more behind it.
 */
export function demoProduct(seed: number, index: number, currency: string): DemoProduct {
  const { idBytes, random } = randomFrom(seed, index);
  const shelf = pick(SHELVES, random);
  const [material, stuff] = pick(shelf.materials, random);
  const noun = pick(shelf.nouns, random);
  const variant = pick(shelf.variants, random);
  const style = random() < 0.45 ? `${pick(STYLES, random)} ` : '';
  const name = `${style}${material} ${noun}, ${variant}`;
  const createdAtMs = FIRST_CREATED_AT + index * 60_000;
  const id = uuidv7(createdAtMs, idBytes);
  const [aisle = '', part = ''] = shelf.category.split('/');
  return {
    input: {
      sku: `${code(aisle)}-${code(part)}-${String(index + 1).padStart(6, '0')}`,
      name,
      description: describe(noun, stuff, shelf.uses, random),
      category: shelf.category,
      priceMinor: price(shelf.fromPrice, shelf.toPrice, random),
      currency,
      imageUrl: '',
    },
    id,
    slugs: slugCandidates(name, id),
    onHand: random() < 0.04 ? 0n : BigInt(Math.floor(random() * 501)),
    createdAtMs,
  };
}

/** The product and the event that tells of it, under the slug that was found free. */
export function demoChange({ input, id, createdAtMs }: DemoProduct, slug: string) {
  return createProduct(input, { id, slug, nowMs: createdAtMs });
}

/** Ten bytes for an id, and a source of numbers in [0, 1), from a hash of seed and index: no run depends on another. */
function randomFrom(seed: number, index: number): { idBytes: Buffer; random: () => number } {
  const bytes = createHash('shake256', { outputLength: 138 }).update(`${seed}/${index}`).digest();
  let at = 10;
  const random = () => {
    const value = bytes.readUInt32BE(at) / 2 ** 32;
    at += 4;
    return value;
  };
  return { idBytes: bytes.subarray(0, 10), random };
}

function pick<T>(items: readonly T[], random: () => number): T {
  return items[Math.floor(random() * items.length)]!;
}

const code = (word: string) => word.replace(/-/g, '').slice(0, 3).toUpperCase();

/** Whole units of the currency, more often near the low end, with the endings that shops like. */
function price(from: number, to: number, random: () => number): bigint {
  const whole = Math.floor(from + (to - from) * random() ** 2);
  return BigInt(whole * 100 + pick([0, 50, 95, 99], random));
}

function describe(noun: string, stuff: string, uses: readonly string[], random: () => number): string {
  const thing = noun.toLowerCase();
  const sentences = [
    pick(
      [
        `A ${thing} made of ${stuff}.`,
        `This ${thing} is made of ${stuff}, in small batches.`,
        `We make this ${thing} of ${stuff} and check each one by hand.`,
      ],
      random,
    ),
    pick(uses, random),
  ];
  if (random() < 0.6) sentences.push(pick(CLOSINGS, random));
  return sentences.join(' ');
}

const STYLES = [
  'Classic',
  'Nordic',
  'Rustic',
  'Handmade',
  'Everyday',
  'Slim',
  'Vintage',
  'Studio',
  'Coastal',
  'Harbour',
  'Orchard',
  'Meadow',
] as const;

const CLOSINGS = [
  'Arrives in a box that needs no plastic.',
  'Spare parts can be ordered for ten years.',
  'Small differences in grain or glaze are part of it.',
  'Made to be used daily and to look better for it.',
  'Goes well with the rest of the series.',
  'A present that does not end up in a drawer.',
] as const;

interface Shelf {
  category: string;
  nouns: readonly string[];
  /** The word in the name, and what the description calls it. */
  materials: ReadonlyArray<readonly [string, string]>;
  variants: readonly string[];
  uses: readonly string[];
  /** In whole units of the currency. */
  fromPrice: number;
  toPrice: number;
}

const SIZES = ['Small', 'Medium', 'Large', 'Extra Large'] as const;
const COLOURS = ['White', 'Sand', 'Moss', 'Slate', 'Indigo', 'Rust', 'Charcoal', 'Rose'] as const;
const WOODS = [
  ['Oak', 'oiled oak'],
  ['Walnut', 'American walnut'],
  ['Beech', 'steamed beech'],
  ['Ash', 'pale ash wood'],
  ['Olive Wood', 'olive wood'],
  ['Maple', 'hard maple'],
] as const;
const CLAYS = [
  ['Stoneware', 'glazed stoneware'],
  ['Porcelain', 'thin white porcelain'],
  ['Terracotta', 'unglazed terracotta'],
  ['Enamel', 'steel with two coats of enamel'],
] as const;
const METALS = [
  ['Steel', 'brushed stainless steel'],
  ['Cast Iron', 'seasoned cast iron'],
  ['Copper', 'copper with a tin lining'],
  ['Brass', 'solid brass'],
  ['Aluminium', 'recycled aluminium'],
] as const;
const CLOTHS = [
  ['Linen', 'washed European linen'],
  ['Cotton', 'organic cotton'],
  ['Wool', 'undyed lambswool'],
  ['Hemp', 'soft hemp cloth'],
  ['Waffle', 'waffle-woven cotton'],
] as const;
const PAPERS = [
  ['Recycled', 'recycled paper'],
  ['Kraft', 'unbleached kraft paper'],
  ['Clothbound', 'sewn sheets in a cloth binding'],
  ['Leather', 'vegetable-tanned leather'],
] as const;

const SHELVES: readonly Shelf[] = [
  {
    category: 'kitchen/boards',
    nouns: ['Serving Board', 'Cutting Board', 'Bread Board', 'Cheese Board', 'Chopping Block'],
    materials: WOODS,
    variants: [...SIZES, 'Round', 'With Handle'],
    uses: ['Kind to knives and steady on the table.', 'Carries a loaf, a cheese or breakfast for four.'],
    fromPrice: 14,
    toPrice: 120,
  },
  {
    category: 'kitchen/mugs',
    nouns: ['Mug', 'Espresso Cup', 'Tea Cup', 'Latte Bowl', 'Tumbler'],
    materials: CLAYS,
    variants: COLOURS,
    uses: ['Keeps a drink warm and a hand cool.', 'Stacks with its siblings and survives the dishwasher.'],
    fromPrice: 6,
    toPrice: 38,
  },
  {
    category: 'kitchen/bowls',
    nouns: ['Salad Bowl', 'Soup Bowl', 'Mixing Bowl', 'Fruit Bowl', 'Ramen Bowl'],
    materials: [...CLAYS, ...WOODS],
    variants: SIZES,
    uses: [
      'Deep enough to toss in, handsome enough to serve from.',
      'Just as good for dough as for cherries.',
    ],
    fromPrice: 9,
    toPrice: 85,
  },
  {
    category: 'kitchen/pans',
    nouns: ['Frying Pan', 'Saucepan', 'Casserole', 'Grill Pan', 'Crepe Pan'],
    materials: METALS,
    variants: ['20 cm', '24 cm', '28 cm', '32 cm'],
    uses: ['Works on gas, induction and an open fire.', 'Heats evenly and browns without sticking.'],
    fromPrice: 24,
    toPrice: 240,
  },
  {
    category: 'kitchen/knives',
    nouns: ['Paring Knife', 'Bread Knife', 'Cook’s Knife', 'Carving Knife', 'Vegetable Knife'],
    materials: WOODS.map(([word, stuff]) => [`${word} Handled`, `carbon steel with a handle of ${stuff}`]),
    variants: ['9 cm', '15 cm', '20 cm', '24 cm'],
    uses: ['Takes an edge easily and keeps it.', 'Balanced at the bolster, so long sessions stay easy.'],
    fromPrice: 18,
    toPrice: 190,
  },
  {
    category: 'kitchen/storage',
    nouns: ['Storage Jar', 'Bread Bin', 'Butter Dish', 'Spice Tin', 'Canister'],
    materials: [...CLAYS, ...METALS],
    variants: [...SIZES, 'Set of 3'],
    uses: ['The lid closes tightly and opens with one hand.', 'Keeps what is inside dry and dark.'],
    fromPrice: 7,
    toPrice: 70,
  },
  {
    category: 'table/linen',
    nouns: ['Tablecloth', 'Napkin', 'Table Runner', 'Tea Towel', 'Placemat'],
    materials: CLOTHS,
    variants: COLOURS,
    uses: ['Softer with each wash.', 'Dries fast and needs no iron.'],
    fromPrice: 8,
    toPrice: 95,
  },
  {
    category: 'table/cutlery',
    nouns: ['Teaspoon', 'Butter Knife', 'Salad Server', 'Cake Fork', 'Ladle'],
    materials: [...METALS, ...WOODS],
    variants: ['Single', 'Set of 2', 'Set of 4', 'Set of 6'],
    uses: ['Light in the hand and easy to clean.', 'A plain shape that suits any table.'],
    fromPrice: 4,
    toPrice: 80,
  },
  {
    category: 'living/candles',
    nouns: ['Pillar Candle', 'Candle Holder', 'Tealight Holder', 'Lantern', 'Taper Candle'],
    materials: [
      ['Beeswax', 'pure beeswax'],
      ['Soy', 'soy wax with a cotton wick'],
      ['Glass', 'mouth-blown glass'],
      ['Brass', 'solid brass'],
    ],
    variants: COLOURS,
    uses: ['Gives a calm, warm light.', 'Burns down evenly to the last.'],
    fromPrice: 5,
    toPrice: 60,
  },
  {
    category: 'living/cushions',
    nouns: ['Cushion', 'Floor Cushion', 'Bolster', 'Throw', 'Blanket'],
    materials: CLOTHS,
    variants: COLOURS,
    uses: ['Makes the reading corner yours.', 'Warm without weight.'],
    fromPrice: 15,
    toPrice: 160,
  },
  {
    category: 'living/vases',
    nouns: ['Vase', 'Bud Vase', 'Pitcher', 'Flower Pot', 'Jardiniere'],
    materials: [...CLAYS, ['Glass', 'mouth-blown glass']],
    variants: [...SIZES, 'Tall'],
    uses: ['Stands firmly even with long stems.', 'Looks finished without flowers, too.'],
    fromPrice: 9,
    toPrice: 130,
  },
  {
    category: 'living/frames',
    nouns: ['Picture Frame', 'Wall Mirror', 'Wall Shelf', 'Poster Hanger', 'Coat Hook'],
    materials: [...WOODS, ...METALS],
    variants: ['A4', 'A3', '30 x 40 cm', '50 x 70 cm'],
    uses: [
      'Hangs upright or across, with the screws enclosed.',
      'The corners are joined so that they stay tight.',
    ],
    fromPrice: 11,
    toPrice: 150,
  },
  {
    category: 'bath/towels',
    nouns: ['Bath Towel', 'Hand Towel', 'Guest Towel', 'Bath Mat', 'Bathrobe'],
    materials: CLOTHS,
    variants: COLOURS,
    uses: ['Takes up a lot of water and dries quickly.', 'Stays soft without softener.'],
    fromPrice: 9,
    toPrice: 110,
  },
  {
    category: 'bath/accessories',
    nouns: ['Soap Dish', 'Soap Dispenser', 'Toothbrush Holder', 'Bath Tray', 'Nail Brush'],
    materials: [...CLAYS, ...WOODS],
    variants: COLOURS,
    uses: ['Keeps the edge of the basin clear.', 'Can stand in the wet for years.'],
    fromPrice: 6,
    toPrice: 58,
  },
  {
    category: 'bedroom/bedding',
    nouns: ['Duvet Cover', 'Pillowcase', 'Fitted Sheet', 'Bedspread', 'Quilt'],
    materials: CLOTHS,
    variants: ['Single, White', 'Single, Sand', 'Double, White', 'Double, Moss', 'King, Slate'],
    uses: ['Cool in summer and warm in winter.', 'The seams are sewn twice where they are pulled most.'],
    fromPrice: 19,
    toPrice: 260,
  },
  {
    category: 'bedroom/lamps',
    nouns: ['Bedside Lamp', 'Reading Lamp', 'Pendant Lamp', 'Night Light', 'Lamp Shade'],
    materials: [...METALS, ...WOODS],
    variants: ['Warm White', 'Dimmable', 'Small', 'Large'],
    uses: ['Lights the page and not the room.', 'The bulb can be changed, as it should be.'],
    fromPrice: 17,
    toPrice: 220,
  },
  {
    category: 'garden/planters',
    nouns: ['Planter', 'Hanging Pot', 'Window Box', 'Herb Pot', 'Raised Bed'],
    materials: [...CLAYS, ...WOODS],
    variants: [...SIZES, 'With Saucer'],
    uses: ['Drains well, so roots stay healthy.', 'Frost does it no harm.'],
    fromPrice: 8,
    toPrice: 180,
  },
  {
    category: 'garden/tools',
    nouns: ['Hand Trowel', 'Pruning Shears', 'Watering Can', 'Garden Fork', 'Dibber'],
    materials: METALS,
    variants: ['Short', 'Long', 'Left-handed', '5 Litres'],
    uses: ['Strong enough for stony ground.', 'Hangs by its loop when the work is done.'],
    fromPrice: 9,
    toPrice: 95,
  },
  {
    category: 'office/notebooks',
    nouns: ['Notebook', 'Sketchbook', 'Weekly Planner', 'Guest Book', 'Photo Album'],
    materials: PAPERS,
    variants: ['A6, Lined', 'A5, Lined', 'A5, Plain', 'A4, Dotted', 'A4, Plain'],
    uses: ['Opens flat and takes ink without bleeding.', 'Fits a coat pocket or a shelf.'],
    fromPrice: 4,
    toPrice: 48,
  },
  {
    category: 'office/desk',
    nouns: ['Pen Holder', 'Desk Tray', 'Bookend', 'Letter Opener', 'Laptop Stand'],
    materials: [...WOODS, ...METALS],
    variants: [...SIZES, 'Pair'],
    uses: ['Brings order to a busy desk.', 'Felt below, so nothing is scratched.'],
    fromPrice: 8,
    toPrice: 140,
  },
  {
    category: 'kids/toys',
    nouns: ['Building Blocks', 'Pull-along Duck', 'Train Set', 'Spinning Top', 'Shape Sorter'],
    materials: WOODS,
    variants: ['12 Pieces', '24 Pieces', '48 Pieces', 'Starter Set'],
    uses: ['The paint is safe to be chewed on.', 'Grows with further sets.'],
    fromPrice: 7,
    toPrice: 90,
  },
  {
    category: 'kids/room',
    nouns: ['Toy Basket', 'Growth Chart', 'Bunting', 'Play Mat', 'Storage Sack'],
    materials: CLOTHS,
    variants: COLOURS,
    uses: ['Swallows a floor full of bricks in a minute.', 'Can go into the wash as often as needed.'],
    fromPrice: 12,
    toPrice: 84,
  },
  {
    category: 'travel/bags',
    nouns: ['Tote Bag', 'Backpack', 'Weekender', 'Wash Bag', 'Laptop Sleeve'],
    materials: [
      ['Canvas', 'heavy cotton canvas'],
      ['Waxed Cotton', 'waxed cotton'],
      ['Leather', 'vegetable-tanned leather'],
      ['Felt', 'pressed wool felt'],
    ],
    variants: COLOURS,
    uses: ['The straps are riveted and the seams bound.', 'One pocket for keys, one for papers, no more.'],
    fromPrice: 14,
    toPrice: 280,
  },
  {
    category: 'travel/bottles',
    nouns: ['Water Bottle', 'Vacuum Flask', 'Travel Mug', 'Lunch Box', 'Hip Flask'],
    materials: [
      ['Steel', 'brushed stainless steel'],
      ['Glass', 'borosilicate glass'],
      ['Enamel', 'steel with two coats of enamel'],
      ['Aluminium', 'recycled aluminium'],
    ],
    variants: ['350 ml', '500 ml', '750 ml', '1 Litre'],
    uses: ['Does not drip, whichever way it lies.', 'Fits the holder of a car and of a bicycle.'],
    fromPrice: 11,
    toPrice: 64,
  },
];
