import { POPULARITY_WEIGHT } from '@headroom/recommend';
import { FileError, readSalesFile } from '@headroom/replay';
import { parseArgs } from 'node:util';
import { evaluate, RECOMMENDERS, type Evaluation, type Task } from './evaluate';
import { generateHistory } from './generate';
import { invoicesOf, type Invoice } from './history';
import type { Estimate } from './statistics';

const HELP = `npm run recommend:eval -- FILE [options]

Judges the scoring of the recommendation service on a sales history (CSV): learns from what came before a point in time and
predicts what was bought after it, at three points, against popularity and chance. Parameters are chosen on what came before
the first point alone. Exit code 0: the service wins, 1: it does not, 64: wrong use, 65: the file cannot be read.

  --generated      a made-up history with planted tastes instead of a file: the personal lists must win
                   (of a file: the related products)
  --currency CODE  the currency of the file's prices (GBP)
  --seed N         decides what is drawn by chance (1)
  --json           the result as JSON
  --help           this text
`;

/** EX_USAGE and EX_DATAERR of sysexits.h */
const EXIT_USAGE = 64;
const EXIT_DATA = 65;
/** Fewer leave no three parts to learn from and to predict. */
const MIN_INVOICES = 20;

function fail(code: number, message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        generated: { type: 'boolean', default: false },
        currency: { type: 'string', default: 'GBP' },
        seed: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
      allowPositionals: true,
    });
  } catch (error) {
    return fail(EXIT_USAGE, `${(error as Error).message}\n\n${HELP}`);
  }
}

async function main(): Promise<void> {
  const { values: options, positionals } = readOptions();
  if (options.help) return void process.stdout.write(HELP);
  if (!/^\d{1,9}$/.test(options.seed))
    fail(EXIT_USAGE, `--seed must be a whole number, found ${options.seed}`);
  if (!/^[A-Z]{3}$/.test(options.currency))
    fail(EXIT_USAGE, `--currency must be three capital letters, found ${options.currency}`);
  if (positionals.length !== (options.generated ? 0 : 1))
    fail(EXIT_USAGE, `${options.generated ? 'no file beside --generated' : 'name one file'}\n\n${HELP}`);
  const seed = Number(options.seed);
  const invoices = options.generated ? generateHistory(seed) : await read(positionals[0]!, options.currency);
  if (invoices.length < MIN_INVOICES)
    fail(EXIT_DATA, `the history has ${invoices.length} invoices; at least ${MIN_INVOICES} are needed`);
  const evaluation = evaluate(invoices, seed);
  const mustWin: Task[] = options.generated ? ['personal'] : ['related'];
  const lost = evaluation.points.flatMap(({ share, results }) =>
    results
      .filter(({ task, gain }) => mustWin.includes(task) && !(gain.mean > 0))
      .map(({ task }) => `${task} at ${percent(share)}`),
  );
  const verdict =
    lost.length === 0
      ? `${mustWin.join(' and ')}: better than popularity at all points`
      : `not better than popularity: ${lost.join(', ')}`;
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ ...evaluation, won: lost.length === 0, verdict }, null, 2)}\n`
      : report(evaluation, verdict),
  );
  process.exit(lost.length === 0 ? 0 : 1);
}

async function read(path: string, currency: string): Promise<Invoice[]> {
  try {
    const { sales, badRows } = await readSalesFile(path, currency);
    if (badRows.length > 0) process.stderr.write(`${badRows.length} rows are no sales and were left out\n`);
    return invoicesOf(sales);
  } catch (error) {
    if (error instanceof FileError) return fail(EXIT_DATA, error.message);
    throw error;
  }
}

function report({ invoices, products, popularityWeight, fit, points }: Evaluation, verdict: string): string {
  const lines = [
    `${invoices} invoices, ${products} products`,
    `chosen on the first part: popularity weight ${popularityWeight} of ${fit.map((each) => `${each.popularityWeight} (recall ${percent(each.recall)})`).join(', ')}`,
    ...(popularityWeight === POPULARITY_WEIGHT ? [] : [`note: the service runs with ${POPULARITY_WEIGHT}`]),
    '',
    'at     task      n     by          hit rate@10              recall@10                coverage   gain in recall over popularity',
  ];
  for (const { share, results } of points)
    for (const { task, n, scores, gain } of results)
      for (const recommender of RECOMMENDERS) {
        const { hitRate, recall, coverage } = scores[recommender];
        lines.push(
          [
            percent(share).padEnd(6),
            task.padEnd(9),
            String(n).padEnd(5),
            recommender.padEnd(11),
            interval(hitRate).padEnd(24),
            interval(recall).padEnd(24),
            percent(coverage).padEnd(10),
            recommender === 'service' ? interval(gain) : '',
          ]
            .join(' ')
            .trimEnd(),
        );
      }
  return [...lines, '', 'Brackets: 95 % confidence intervals, bootstrap over invoices.', verdict, ''].join(
    '\n',
  );
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const interval = ({ mean, low, high }: Estimate): string =>
  `${percent(mean)} [${(low * 100).toFixed(1)}, ${(high * 100).toFixed(1)}]`;

void main();
