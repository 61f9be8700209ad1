import { catalogV1, operationsV1 } from '@headroom/contracts';
import { systemClock } from '@headroom/resilience';
import { createRpcClient, withCallContext } from '@headroom/rpc';
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/**
 * Imports a generated file into a running system (`npm start`), twice, while single products are edited: lines a second, the
 * largest memory of the processes at work, and how long an edit takes to be seen in the list. With `--kills N` the catalog's
 * process is killed with SIGKILL so many times during the first import. The exit code tells whether the counts are exact, every
 * edit was seen within 5 s and the catalog stayed below 300 MiB.
 * `npx tsx --tsconfig tsconfig.base.json apps/catalog/bench/import.ts --lines 100000 --format csv --kills 3 --password ...`
 */
async function measureImport(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      gateway: { type: 'string', default: 'http://127.0.0.1:8080' },
      catalog: { type: 'string', default: '127.0.0.1:7101' },
      email: { type: 'string', default: 'admin@headroom.example' },
      password: { type: 'string', default: process.env['ADMIN_PASSWORD'] ?? '' },
      lines: { type: 'string', default: '100000' },
      format: { type: 'string', default: 'ndjson' },
      kills: { type: 'string', default: '0' },
      json: { type: 'boolean', default: false },
    },
  });
  const lines = Number(options.lines);
  const shop = connect(options);
  const run = Date.now().toString(36);
  const memory = watchMemory(Number(options.catalog.split(':')[1]));
  const results = [];
  for (const round of ['first', 'again'] as const) {
    const kills = round === 'first' ? Number(options.kills) : 0;
    const file = { format: options.format as Format, run, lines };
    const { jobId, megabytes, seconds: uploadSeconds } = await shop.upload(file);
    const edits = watchEdits(shop, `${run}-${round}`);
    const killer = killNowAndThen(memory, kills);
    const begunMs = performance.now();
    const job = await shop.awaitJob(jobId, ({ processed }) => {
      process.stderr.write(`\r${round}: ${processed} of ${lines} lines `);
      killer.at(Number(processed) / lines);
    });
    const seconds = (performance.now() - begunMs) / 1_000;
    await shop.awaitVisible(run, lines);
    const visibleSeconds = (performance.now() - begunMs) / 1_000;
    const { longestMs, count } = await edits.close();
    const { created, updated, unchanged, rejected, status } = job;
    const exact =
      status === 'succeeded' &&
      Number(round === 'first' ? created : unchanged) === lines &&
      Number(created + updated + unchanged + rejected) === lines;
    process.stderr.write('\n');
    results.push({
      ...{ round, megabytes, uploadSeconds, seconds, visibleSeconds },
      linesPerSecond: Math.round(lines / seconds),
      ...{ edits: count, longestEditMs: longestMs, kills: killer.count(), exact },
      peaksMiB: memory.peaks(),
    });
  }
  memory.close();
  shop.close();
  process.stdout.write(
    options.json
      ? `${JSON.stringify(results)}\n`
      : results
          .map(
            (each) =>
              `${each.round}: ${lines} lines (${each.megabytes} MiB, sent in ${each.uploadSeconds.toFixed(1)} s) in ${each.seconds.toFixed(1)} s, ${each.linesPerSecond} lines/s; all in the list after ${each.visibleSeconds.toFixed(1)} s; ` +
              `${each.edits} edits, the slowest seen after ${each.longestEditMs} ms; ${each.kills} kills; counts ${each.exact ? 'exact' : 'WRONG'}; ` +
              `peak MiB ${Object.entries(each.peaksMiB)
                .map(([name, peak]) => `${name} ${peak}`)
                .join(', ')}\n`,
          )
          .join(''),
  );
  const good = results.every(
    ({ exact, longestEditMs, peaksMiB }) => exact && longestEditMs < 5_000 && peaksMiB['catalog']! < 300,
  );
  process.exitCode = good ? 0 : 1;
}

type Format = 'ndjson' | 'csv';
type Shop = ReturnType<typeof connect>;

const PART_BYTES = 5 * 1024 * 1024;
const CALL_MS = 20_000;

/** The lines of the file, the same for the same run. The last line's product has a category of its own. */
function* fileLines({
  format,
  run,
  lines,
}: {
  format: Format;
  run: string;
  lines: number;
}): Generator<string> {
  if (format === 'csv') yield 'sku,name,description,category,priceMinor,onHand\n';
  for (let n = 1; n <= lines; n += 1) {
    const product = {
      sku: `${run}-${n}`,
      name: `Imported ${SHELVES[n % SHELVES.length]} number ${n}`,
      description: `Made to be imported as number ${n}, "by hand", of stuff that lasts.\nArrives in a box that needs no plastic.`,
      category: n === lines ? `import-${run}` : `imported/shelf-${n % 50}`,
      priceMinor: 100 + (n % 10_000),
      onHand: n % 20,
    };
    yield format === 'csv'
      ? `${Object.values(product)
          .map((value) => (typeof value === 'number' ? value : `"${value.replaceAll('"', '""')}"`))
          .join(',')}\n`
      : `${JSON.stringify(product)}\n`;
  }
}

const SHELVES = ['mug', 'board', 'lamp', 'towel', 'chair', 'vase', 'knife', 'rug'];

function connect({
  gateway,
  catalog,
  ...credentials
}: {
  gateway: string;
  catalog: string;
  email: string;
  password: string;
}) {
  const settings = { address: catalog, timeoutMs: CALL_MS };
  const uploads = createRpcClient(operationsV1.UploadServiceService, settings);
  const operations = createRpcClient(operationsV1.OperationsServiceService, settings);
  const products = createRpcClient(catalogV1.CatalogServiceService, settings);
  let token = '';
  let signedInMs = Number.NEGATIVE_INFINITY;

  const http = async <T>(path: string, init: RequestInit = {}): Promise<T> => {
    const response = await fetch(`${gateway}${path}`, init);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  };
  const signIn = async (): Promise<string> => {
    if (performance.now() - signedInMs < 240_000) return token;
    const { email, password } = credentials;
    const session = await http<{ accessToken: string }>('/v1/sessions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email, password }),
    });
    signedInMs = performance.now();
    return (token = session.accessToken);
  };
  /** A call as the admin; once more where the catalog was away. */
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let tries = 1; ; tries += 1)
      try {
        const accessToken = await signIn();
        return await withCallContext(
          { deadlineAt: Date.now() + CALL_MS, requestId: 'bench', accessToken },
          work,
        );
      } catch (error) {
        if (tries === 100) throw error;
        await systemClock.sleep(200);
      }
  };
  const listed = async (query: string): Promise<Array<{ id: string; price: { amountMinor: number } }>> =>
    (
      await http<{ items: Array<{ id: string; price: { amountMinor: number } }> }>(`/v1/products?${query}`, {
        headers: { authorization: `Bearer ${await signIn()}` },
      })
    ).items;

  return {
    call,
    products,
    listed,
    async upload(file: { format: Format; run: string; lines: number }) {
      const begunMs = performance.now();
      const contentType = file.format === 'csv' ? 'text/csv' : 'application/x-ndjson';
      const { uploadId } = await call(() =>
        uploads.beginUpload({ kind: 'product-import', contentType, subjectId: '' }),
      );
      let parts = 0;
      let bytes = 0;
      const send = async (content: Buffer) => {
        await call(() => uploads.appendUpload({ uploadId, index: parts, content }));
        parts += 1;
        bytes += content.length;
      };
      let rest: Buffer = Buffer.alloc(0);
      let pending: string[] = [];
      for (const line of fileLines(file)) {
        if (pending.push(line) < 5_000) continue;
        rest = Buffer.concat([rest, Buffer.from(pending.join(''))]);
        pending = [];
        for (; rest.length >= PART_BYTES; rest = rest.subarray(PART_BYTES))
          await send(rest.subarray(0, PART_BYTES));
      }
      rest = Buffer.concat([rest, Buffer.from(pending.join(''))]);
      for (; rest.length > PART_BYTES; rest = rest.subarray(PART_BYTES))
        await send(rest.subarray(0, PART_BYTES));
      if (rest.length > 0) await send(rest);
      const { job } = await call(() => uploads.completeUpload({ uploadId, parts }));
      return {
        jobId: job!.id,
        megabytes: Math.round(bytes / 1_048_576),
        seconds: (performance.now() - begunMs) / 1_000,
      };
    },
    async awaitJob(jobId: string, onProgress: (job: operationsV1.Job) => void): Promise<operationsV1.Job> {
      for (;;) {
        const job = await call(() => operations.getJob({ jobId }));
        onProgress(job);
        if (job.status === 'succeeded' || job.status === 'failed') {
          for (const { line, code, reason } of job.errors.slice(0, 5))
            process.stderr.write(`line ${line}: ${code} ${reason}\n`);
          return job;
        }
        await systemClock.sleep(250);
      }
    },
    /** Until the last product of the file is in the list. */
    async awaitVisible(run: string, lines: number) {
      while ((await listed(`category=import-${run}`)).length === 0) await systemClock.sleep(100);
      process.stderr.write(`\rall ${lines} are in the list`);
    },
    close() {
      for (const client of [uploads, operations, products]) client.close();
    },
  };
}

/** Edits one product again and again, two seconds apart, and looks when the list shows it. */
function watchEdits(shop: Shop, name: string): { close(): Promise<{ longestMs: number; count: number }> } {
  let open = true;
  let longestMs = 0;
  let count = 0;
  const category = `edited-${name}`;
  const work = async () => {
    const { product } = await shop.call(() =>
      shop.products.createProduct({
        ...{ sku: `EDITED-${name}`, name: 'Edited now and then', description: '', category },
        ...{ price: { amountMinor: 1n, currency: '' }, onHand: 1n, imageUrl: '' },
      }),
    );
    for (let amountMinor = 2; open; amountMinor += 1) {
      await shop.call(() =>
        shop.products.updateProduct({
          productId: product!.id,
          price: { amountMinor: BigInt(amountMinor), currency: '' },
        }),
      );
      const writtenMs = performance.now();
      while ((await shop.listed(`category=${category}`))[0]?.price.amountMinor !== amountMinor)
        await systemClock.sleep(50);
      longestMs = Math.max(longestMs, Math.round(performance.now() - writtenMs));
      count += 1;
      await systemClock.sleep(2_000);
    }
  };
  const done = work();
  return {
    async close() {
      open = false;
      await done;
      return { longestMs, count };
    },
  };
}

interface Memory {
  /** The catalog's process, if it runs. */
  catalogPid(): number | undefined;
  /** The largest proportional set size seen of each kind of process. */
  peaks(): Record<string, number>;
  close(): void;
}

/** Looks at the processes of the system whose catalog listens on this port, once a second, in /proc. */
function watchMemory(catalogPort: number): Memory {
  const peaks: Record<string, number> = {};
  const find = () =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        const app = /dist\/apps\/(catalog|projector|gateway)\/main\.js/.exec(
          read(`/proc/${pid}/cmdline`),
        )?.[1];
        const port = Number(/(?:^|\0)PORT=(\d+)/.exec(read(`/proc/${pid}/environ`))?.[1]);
        const near = app === 'gateway' || Math.abs(port - catalogPort) < 16;
        return app && near ? [{ app, pid: Number(pid) }] : [];
      });
  const timer = setInterval(() => {
    for (const { app, pid } of find()) {
      const kibibytes = Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
      peaks[app] = Math.max(peaks[app] ?? 0, Math.round(kibibytes / 1_024));
    }
  }, 1_000);
  return {
    catalogPid: () => find().find(({ app }) => app === 'catalog')?.pid,
    peaks: () => ({ ...peaks }),
    close: () => clearInterval(timer),
  };
}

/** Kills the catalog's process as the import passes each of `kills` equal parts. */
function killNowAndThen(memory: Memory, kills: number): { at(part: number): void; count(): number } {
  let done = 0;
  return {
    at(part) {
      if (done >= kills || part < (done + 1) / (kills + 1)) return;
      const pid = memory.catalogPid();
      if (pid === undefined) return;
      process.kill(pid, 'SIGKILL');
      done += 1;
    },
    count: () => done,
  };
}

/** A process may end while it is looked at: then there is nothing to read. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

measureImport().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
