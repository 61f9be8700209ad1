import { TOPICS, type PublishableEvent } from '@headroom/contracts';
import { freePort, startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { messagingMigrations, openEventLog, startRelay, type EventLog } from '@headroom/messaging';
import { migrate, migrationsDirectory, openDatabase, sql, type Database } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startProjection } from '../src/project';
import { appliedOffsets, ensureVersion, groupOf } from '../src/repository';
import { VIEWS } from '../src/views';
import type { View } from '../src/views/view';
import { orderEvent, productEvent, stockEvent } from '../test/events';

/**
 * How many events a second each view applies from a log that is full: event by event and by batch, both by the same statements, and
 * how many a second the relay brings from an outbox into the log. The events are what a shop's past consists of: products with
 * their stock, and orders of three lines that are placed and confirmed. The exit code tells whether every view is at least five
 * times as fast by batch, or applies more than the relay brings.
 * `npx tsx --tsconfig tsconfig.base.json apps/projector/bench/projection.ts --events 40000`
 */
async function measureProjection(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      events: { type: 'string', default: '40000' },
      views: { type: 'string', default: VIEWS.map((view) => view.name).join(',') },
      json: { type: 'boolean', default: false },
    },
  });
  const count = Number(options.events);
  const directory = temporaryDirectory('projection');
  const server = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: true,
  });
  try {
    await server.ensureDatabases(['shop', 'events', 'views']);
    const prepare = async (name: string, ...directories: string[]) => {
      for (const each of directories)
        await migrate({ url: server.url(name), directory: each, logger: silentLogger });
      return openDatabase({ url: server.url(name), name, logger: silentLogger, statementTimeoutMs: 60_000 });
    };
    const shop = await prepare('shop', messagingMigrations('outbox'));
    await (await prepare('events', messagingMigrations('event-log'))).close();
    const views = await prepare(
      'views',
      migrationsDirectory(join(__dirname, '../src')),
      messagingMigrations('inbox'),
    );
    const log = await openEventLog({ url: server.url('events'), logger: silentLogger, name: 'bench' });

    await fillOutbox(shop, count);
    const relayed = await measureRelay(shop, log, count);
    process.stderr.write(`relay: ${relayed} events/s\n`);
    const results = [];
    for (const view of VIEWS.filter(({ name }) => options.views.split(',').includes(name))) {
      // Fewer of them event by event: the rate is what is compared.
      const oneByOne = await measureView(views, log, eventByEvent(view), Math.ceil(count / 8));
      const byBatch = await measureView(views, log, view, count);
      const ratio = byBatch / oneByOne;
      process.stderr.write(`${view.name}: ${oneByOne}/s, ${byBatch}/s, ${ratio.toFixed(1)}x\n`);
      results.push({ view: view.name, oneByOne, byBatch, ratio });
    }
    await log.close();
    await views.close();
    await shop.close();
    process.stdout.write(
      options.json
        ? `${JSON.stringify({ events: count, relayed, results })}\n`
        : `${results
            .map(
              ({ view, oneByOne, byBatch, ratio }) =>
                `${view}: event by event ${oneByOne}/s, by batch ${byBatch}/s, ${ratio.toFixed(1)}x\n`,
            )
            .join('')}outbox to log: ${relayed}/s\n`,
    );
    process.exitCode = results.every(({ byBatch, ratio }) => ratio >= 5 || byBatch > relayed) ? 0 : 1;
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Half catalogue, half orders, as an import writes them. */
async function fillOutbox(shop: Database, count: number): Promise<void> {
  const products = Array.from({ length: Math.ceil(count / 4) }, () => uuidv7());
  const user = uuidv7();
  const events: PublishableEvent[] = [];
  products.forEach((id, index) => {
    events.push(
      productEvent(1, {
        id,
        name: `Oak Serving Board ${index}`,
        description: `Board number ${index}, of oak that was felled in winter and dried for ${index % 7} years.`,
        category: `c${index % 8}/d${index % 40}`,
      }),
      stockEvent(1, id, index % 50),
    );
    const order = {
      id: uuidv7(),
      userId: user,
      placedAt: new Date(Date.now() - (index % 60) * 86_400_000).toISOString(),
      lines: [0, 7, 13].map((step) => ({
        productId: products[(index * 31 + step) % products.length]!,
        quantity: 2,
        priceMinor: 500,
      })),
    };
    events.push(
      orderEvent(1, { ...order, status: 'pending' }),
      orderEvent(2, { ...order, status: 'confirmed' }),
    );
  });
  for (let from = 0; from < count; from += 1_000) {
    const some = events.slice(from, from + 1_000);
    await shop.execute(sql('bench.fill')`
      insert into outbox (shard, topic, key, event)
      select abs(hashtext(key)) % 8, topic, key, event::jsonb
      from unnest(${some.map(({ topic }) => topic)}::text[], ${some.map(({ key }) => key)}::text[],
        ${some.map(({ event }) => JSON.stringify(event))}::text[]) with ordinality as e (topic, key, event, n) order by n`);
  }
}

async function measureRelay(shop: Database, log: EventLog, count: number): Promise<number> {
  await log.ensureTopics([TOPICS.catalog, TOPICS.order]);
  const start = performance.now();
  const relay = startRelay({
    db: shop,
    log,
    topics: [TOPICS.catalog, TOPICS.order],
    logger: silentLogger,
    name: 'shop',
  });
  await until(async () => (await shop.row(sql('bench.left')`select from outbox limit 1`)) === undefined);
  const seconds = (performance.now() - start) / 1_000;
  await relay.close();
  return Math.round(count / seconds);
}

/** Events a second until `atLeast` of those in the log have been applied. */
async function measureView(views: Database, log: EventLog, view: View, atLeast: number): Promise<number> {
  await ensureVersion(views, view);
  const topics = view.topics.map(({ name }) => name);
  const group = groupOf({ view: view.name, version: 1 });
  const ends = (await log.positions(group, topics)).reduce((sum, { end }) => sum + Number(end), 0);
  const wanted = Math.min(atLeast, ends);
  const applied = async () =>
    [...(await appliedOffsets(views, group)).values()].reduce((sum, offset) => sum + Number(offset), 0);
  const projection = startProjection({ db: views, log, views: [view], logger: silentLogger });
  await until(async () => (await applied()) > 0);
  const start = performance.now();
  const before = await applied();
  let done = before;
  await until(async () => (done = await applied()) >= wanted);
  const seconds = (performance.now() - start) / 1_000;
  await projection.close();
  return Math.round((done - before) / seconds);
}

/** The view as it would be without batches. */
const eventByEvent = (view: View): View => ({
  ...view,
  name: `single_${view.name}`,
  async apply(tx, schema, { events, partition }, nowMs) {
    for (const event of events) await view.apply(tx, schema, { events: [event], partition }, nowMs);
  },
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

measureProjection().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
