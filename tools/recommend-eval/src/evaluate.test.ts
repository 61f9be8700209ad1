import { evaluate, POINTS, type Task } from './evaluate';
import { GENERATED, generateHistory } from './generate';
import { invoicesOf, splitAt, type Invoice } from './history';
import { train } from './model';
import { estimate, randomOf, sample } from './statistics';

const small = { ...GENERATED, customers: 150, products: 200, tastes: 10 };
const generated = generateHistory(1, small);
const judged = evaluate(generated, 1);

const resultsOf = (task: Task) =>
  judged.points.map(({ results }) => results.find((result) => result.task === task)!);

it('finds planted taste: personal lists beat popularity beyond doubt at every point, popularity beats chance', () => {
  for (const { scores, gain, n } of resultsOf('personal')) {
    expect(n).toBeGreaterThan(100);
    expect(gain.low).toBeGreaterThan(0);
    expect(scores.popularity.recall.low).toBeGreaterThan(scores.random.recall.high);
  }
});

it('gives the same figures for the same seed, and other ones for another', () => {
  expect(evaluate(generateHistory(1, small), 1)).toEqual(judged);
  expect(evaluate(generated, 2).points).not.toEqual(judged.points);
});

it('chooses its parameters on what came before the first point, whatever comes after', () => {
  const { before, after } = splitAt(generated, POINTS[0]);
  const shuffled = after.map((invoice, index) => ({
    ...invoice,
    productIds: after[(index * 7 + 3) % after.length]!.productIds,
  }));
  const other = evaluate([...before, ...shuffled], 1);
  expect(other.fit).toEqual(judged.fit);
  expect(other.popularityWeight).toBe(judged.popularityWeight);
});

it('learns nothing from what came after a point', () => {
  const { before } = splitAt(generated, 0.6);
  const latest = before.at(-1)!.atMs;
  expect(generated.slice(before.length).every(({ atMs }) => atMs >= latest)).toBe(true);
  const model = train(before, 1);
  const known = new Set(before.flatMap(({ productIds }) => productIds));
  expect(model.popular.filter((id) => !known.has(id))).toEqual([]);
  for (const id of model.popular.slice(0, 20))
    expect(model.neighboursOf(id).filter((each) => !known.has(each.id) || each.id === id)).toEqual([]);
});

it('makes invoices of rows, oldest first, each product once', () => {
  const sale = (invoice: string, stockCode: string, atMs: number) => ({
    line: 1,
    invoice,
    stockCode,
    description: 'SPOONS',
    quantity: 1,
    atMs,
    unitPriceMinor: 85n,
    customer: undefined,
    country: 'Australia',
  });
  expect(invoicesOf([sale('2', 'B', 9), sale('1', 'A', 3), sale('2', 'A', 9), sale('2', 'B', 9)])).toEqual([
    { id: '1', customer: undefined, atMs: 3, productIds: ['A'] },
    { id: '2', customer: undefined, atMs: 9, productIds: ['B', 'A'] },
  ] satisfies Invoice[]);
});

it('gives an interval that covers the true mean in about 95 of 100 samples', () => {
  const random = randomOf(7);
  let covered = 0;
  for (let round = 0; round < 200; round += 1) {
    const { low, high } = estimate(
      Array.from({ length: 100 }, () => (random() < 0.3 ? 1 : 0)),
      round,
    );
    if (low <= 0.3 && 0.3 <= high) covered += 1;
  }
  expect(covered).toBeGreaterThanOrEqual(180);
  expect(covered).toBeLessThan(200);
  expect(sample([1, 2, 3], 5, random).sort()).toEqual([1, 2, 3]);
});
