import { messagingMigrations } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase, sql, type Database } from '@headroom/postgres';
import { freePort, startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { systemClock, uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { trackContention } from '../src/contention';
import { createHolds, type Holds } from '../src/holds';
import { createProduct } from '../src/product';
import { findOffers, insertProducts } from '../src/repository';
import { insertStock } from '../src/stock-repository';

/**
 * One product that everybody wants: attempts a second with its units in one row, and with the product left to split by itself.
 * What a hot row costs is the time of a commit, during which it stays locked; so this is measured on a disk as it is, and with
 * commits that take 2 ms longer, as those to a network disk or a synchronous standby do (`commit_delay` makes the server wait
 * before it flushes). Each run sells out, and the units held are counted. The best of several runs is compared, since the machine may
 * be busy with other things; the exit code tells whether every run sold exactly its units and the split won at least twofold
 * where commits are slow.
 * `npx tsx apps/catalog/bench/hot-row.ts --units 4000 --buyers 64 --rounds 2`
 */
async function measureHotRow(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      units: { type: 'string', default: '4000' },
      buyers: { type: 'string', default: '64' },
      connections: { type: 'string', default: '32' },
      rounds: { type: 'string', default: '2' },
      json: { type: 'boolean', default: false },
    },
  });
  const directory = temporaryDirectory('hot-row');
  const server = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: true,
    settings: { commit_siblings: 0 },
  });
  try {
    await server.ensureDatabases(['catalog']);
    const url = server.url('catalog');
    for (const migrations of [migrationsDirectory(join(__dirname, '../src')), messagingMigrations('outbox')])
      await migrate({ url, directory: migrations, logger: silentLogger });
    const db = openDatabase({
      url,
      name: 'hot-row',
      logger: silentLogger,
      maxConnections: Number(options.connections),
    });
    const results = [];
    for (const commitDelayMs of [0, 2]) {
      await db.execute(
        sql(
          'bench.commit-delay',
        )`alter system set commit_delay = ${sql.identifier(String(commitDelayMs * 1_000))}`,
      );
      await db.execute(sql('bench.reload')`select pg_reload_conf()`);
      const best = { oneRow: 0, split: 0 };
      let exact = true;
      for (let round = 1; round <= Number(options.rounds); round += 1)
        for (const mode of ['oneRow', 'split'] as const) {
          const units = Number(options.units);
          const run = await sellOut(db, { units, buyers: Number(options.buyers), splits: mode === 'split' });
          best[mode] = Math.max(best[mode], run.attemptsPerSecond);
          exact &&= run.sold === units && run.available === 0;
          process.stderr.write(
            `commits ${commitDelayMs} ms slower, round ${round}, ${mode}: ${run.attemptsPerSecond} attempts/s, ${run.buckets} bucket(s), sold ${run.sold} of ${units}, left ${run.available}\n`,
          );
        }
      results.push({ commitDelayMs, ...best, ratio: best.split / best.oneRow, exact });
    }
    await db.close();
    process.stdout.write(
      options.json
        ? `${JSON.stringify(results)}\n`
        : results
            .map(
              ({ commitDelayMs, oneRow, split, ratio, exact }) =>
                `commits ${commitDelayMs} ms slower: one row ${oneRow} attempts/s, split by itself ${split} attempts/s, ${ratio.toFixed(2)}x; ${exact ? 'every run sold exactly its units' : 'A RUN DID NOT SELL EXACTLY ITS UNITS'}\n`,
            )
            .join(''),
    );
    process.exitCode = results.every(({ exact }) => exact) && results.at(-1)!.ratio >= 2 ? 0 : 1;
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Run {
  attemptsPerSecond: number;
  buckets: number;
  sold: number;
  available: number;
}

/** Buyers that each take one unit after another until the product is sold out. */
async function sellOut(
  db: Database,
  { units, buyers, splits }: { units: number; buyers: number; splits: boolean },
): Promise<Run> {
  const productId = uuidv7();
  const { product } = createProduct(
    {
      sku: productId,
      name: 'Hot',
      description: '',
      category: '',
      priceMinor: 100n,
      currency: 'EUR',
      imageUrl: '',
    },
    { id: productId, slug: productId, nowMs: Date.now() },
  );
  await db.transaction(async (tx) => {
    await insertProducts(tx, [product]);
    await insertStock(tx, [{ productId, onHand: BigInt(units), atMs: Date.now() }]);
  });
  const contention = trackContention(splits ? {} : { thresholdMs: Number.POSITIVE_INFINITY });
  const holds = createHolds({ db, clock: systemClock, logger: silentLogger, contention });
  const start = performance.now();
  const counts = await Promise.all(Array.from({ length: buyers }, () => buyUntilSoldOut(holds, productId)));
  const seconds = (performance.now() - start) / 1_000;
  await holds.close();
  const attempts = counts.reduce((sum, count) => sum + count, 0);
  const held = await db.row<{ sold: bigint }>(
    sql(
      'bench.held',
    )`select coalesce(sum(quantity), 0)::bigint as sold from held_units where product_id = ${productId}`,
  );
  const { buckets } = (await findOffers(db, [productId])).get(productId)!;
  return {
    attemptsPerSecond: Math.round(attempts / seconds),
    buckets: buckets.length,
    sold: Number(held!.sold),
    available: Number(buckets.reduce((sum, available) => sum + available, 0n)),
  };
}

/** The number of attempts made; the last one found nothing left. */
async function buyUntilSoldOut(holds: Holds, productId: string): Promise<number> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      await holds.place(uuidv7(), [{ productId, quantity: 1 }], 900);
    } catch (error) {
      if ((error as { code?: string }).code === 'OUT_OF_STOCK') return attempts;
      throw error;
    }
  }
}

measureHotRow().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
