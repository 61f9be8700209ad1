import { blend, HISTORY, recentlyBought, seedsOf, type Interest, type Seed } from '@headroom/recommend';
import { splitAt, type Invoice } from './history';
import { train, type Model } from './model';
import { estimate, randomOf, sample, type Estimate } from './statistics';

/** Length of the lists that are judged. */
const LIST = 10;
/** Products of one invoice that are asked about at most, drawn by the seed. */
const QUERIES = 10;
/** Shares of the invoices, by time, after which the rest is to be predicted. */
export const POINTS = [0.4, 0.6, 0.8] as const;
/** Weights of popularity that are tried on the first part of the history, and on nothing else. */
const WEIGHTS = [0, 0.25, 0.5, 1, 2];
/** The share of the first part that is learnt from while a weight is chosen. */
const FIT_SHARE = 0.6;

export const TASKS = ['related', 'basket', 'personal'] as const;
/**
 * `related`: given one product of a later invoice, the rest of it. `basket`: given half of it. `personal`: given what its customer
 * bought before, all of it.
 */
export type Task = (typeof TASKS)[number];
export const RECOMMENDERS = ['service', 'popularity', 'random'] as const;
export type Recommender = (typeof RECOMMENDERS)[number];

export interface Score {
  /** Share of lists with at least one product that was bought. */
  hitRate: Estimate;
  /** Share of what was bought that stood in the list. */
  recall: Estimate;
  /** Share of the products known then that stood in any list. */
  coverage: number;
}

export interface TaskResult {
  task: Task;
  /** Invoices that were predicted. */
  n: number;
  scores: Record<Recommender, Score>;
  /** Recall of the service less that of popularity, invoice by invoice. */
  gain: Estimate;
}

export interface Evaluation {
  invoices: number;
  products: number;
  /** Chosen on the first part. */
  popularityWeight: number;
  fit: Array<{ popularityWeight: number; recall: number }>;
  points: Array<{ share: number; learnt: number; results: TaskResult[] }>;
}

/** Judges the service's scoring on a history; the same seed gives the same figures. */
export function evaluate(invoices: readonly Invoice[], seed: number): Evaluation {
  const first = splitAt(splitAt(invoices, POINTS[0]).before, FIT_SHARE);
  const fit = WEIGHTS.map((popularityWeight) => {
    const model = train(first.before, popularityWeight);
    const recall = (['related', 'basket'] as const).map(
      (task) => judge(task, model, first.before, first.after, seed).scores.service.recall.mean,
    );
    return { popularityWeight, recall: (recall[0]! + recall[1]!) / 2 };
  });
  const popularityWeight = fit.reduce((best, each) =>
    each.recall > best.recall ? each : best,
  ).popularityWeight;
  return {
    invoices: invoices.length,
    products: new Set(invoices.flatMap(({ productIds }) => productIds)).size,
    popularityWeight,
    fit,
    points: POINTS.map((share) => {
      const { before, after } = splitAt(invoices, share);
      const model = train(before, popularityWeight);
      return {
        share,
        learnt: before.length,
        results: TASKS.map((task) => judge(task, model, before, after, seed)),
      };
    }),
  };
}

/** One list to be filled: from these seeds, without these products, so as to have these. */
interface Question {
  seeds: Seed[];
  excluded: Set<string>;
  wanted: string[];
}

function judge(
  task: Task,
  model: Model,
  before: readonly Invoice[],
  after: readonly Invoice[],
  seed: number,
): TaskResult {
  const random = randomOf(seed);
  const known = new Set(model.popular);
  const ask = { related: askForRelated, basket: askForBasket, personal: personalQuestions(before) }[task];
  const asked = after
    .map((invoice) => ask(invoice, known, random).filter(({ wanted }) => wanted.length > 0))
    .filter((questions) => questions.length > 0);
  const fill: Record<Recommender, (question: Question) => string[]> = {
    service: ({ seeds, excluded }) => {
      const found = blend(seeds, (id) => model.neighboursOf(id), { excluded, limit: LIST }).map(
        ({ id }) => id,
      );
      return filledUp(found, model.popular, excluded);
    },
    popularity: ({ excluded }) => filledUp([], model.popular, excluded),
    random: ({ excluded }) =>
      sample(model.popular, LIST + excluded.size, random)
        .filter((id) => !excluded.has(id))
        .slice(0, LIST),
  };
  const recalls = {} as Record<Recommender, number[]>;
  const scores = {} as Record<Recommender, Score>;
  for (const recommender of RECOMMENDERS) {
    const shown = new Set<string>();
    const perInvoice = asked.map((questions) => {
      const answers = questions.map((question) => {
        const list = fill[recommender](question);
        for (const id of list) shown.add(id);
        const hits = question.wanted.filter((id) => list.includes(id)).length;
        return { hit: hits > 0 ? 1 : 0, recall: hits / question.wanted.length };
      });
      return { hit: mean(answers.map(({ hit }) => hit)), recall: mean(answers.map(({ recall }) => recall)) };
    });
    recalls[recommender] = perInvoice.map(({ recall }) => recall);
    scores[recommender] = {
      hitRate: estimate(
        perInvoice.map(({ hit }) => hit),
        seed,
      ),
      recall: estimate(recalls[recommender], seed),
      coverage: shown.size / Math.max(1, known.size),
    };
  }
  return {
    task,
    n: asked.length,
    scores,
    gain: estimate(
      recalls.service.map((recall, index) => recall - recalls.popularity[index]!),
      seed,
    ),
  };
}

/** `found`, then the most popular products, up to the length of a list. */
function filledUp(
  found: readonly string[],
  popular: readonly string[],
  excluded: ReadonlySet<string>,
): string[] {
  const list = found.slice(0, LIST);
  for (const id of popular) {
    if (list.length >= LIST) break;
    if (!excluded.has(id) && !list.includes(id)) list.push(id);
  }
  return list;
}

function askForRelated(invoice: Invoice, known: ReadonlySet<string>, random: () => number): Question[] {
  return sample(
    invoice.productIds.filter((id) => known.has(id)),
    QUERIES,
    random,
  ).map((id) => ({
    seeds: [{ id, weight: 1 }],
    excluded: new Set([id]),
    wanted: invoice.productIds.filter((other) => other !== id),
  }));
}

function askForBasket(invoice: Invoice, known: ReadonlySet<string>, random: () => number): Question[] {
  const usable = invoice.productIds.filter((id) => known.has(id));
  const given = sample(usable, Math.floor(invoice.productIds.length / 2), random);
  if (given.length === 0) return [];
  return [
    {
      seeds: given.map((id) => ({ id, weight: 1 })),
      excluded: new Set(given),
      wanted: invoice.productIds.filter((id) => !given.includes(id)),
    },
  ];
}

/** Of each known customer the first later invoice, as the service would have seen them then. */
function personalQuestions(before: readonly Invoice[]): (invoice: Invoice) => Question[] {
  const bought = new Map<string, Invoice[]>();
  for (const invoice of before)
    if (invoice.customer !== undefined)
      bought.set(invoice.customer, [...(bought.get(invoice.customer) ?? []), invoice]);
  return (invoice) => {
    const own = bought.get(invoice.customer ?? '');
    if (!own) return [];
    bought.delete(invoice.customer!);
    const history: Interest[] = own
      .slice(-HISTORY.orders)
      .flatMap(({ productIds, atMs }) =>
        productIds.map((productId) => ({ productId, kind: 'purchase' as const, atMs })),
      );
    const excluded = recentlyBought(history, invoice.atMs);
    return [
      {
        seeds: seedsOf(history),
        excluded,
        wanted: invoice.productIds.filter((id) => !excluded.has(id)),
      },
    ];
  };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
