import { buildApps } from '@headroom/build';
import { userV1 } from '@headroom/contracts';
import { startPostgres, temporaryDirectory } from '@headroom/embedded-postgres';
import { migrateEventLog } from '@headroom/messaging';
import { createRpcClient } from '@headroom/rpc';
import { silentLogger } from '@headroom/telemetry';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort, run } from '../test/service-process';
import { startSmtpServer } from '../test/smtp-double';

/**
 * How long a registration takes while the mail server answers, and while it takes connections and never answers, in the same
 * service with the same load, by turns, and the best of each is compared, since the machine may be busy with other things. Then
 * the server comes back for good. The exit code tells whether every account got its welcome in the end.
 * `npx tsx --tsconfig tsconfig.base.json apps/user/bench/frozen-mail.ts --accounts 100 --rounds 3 --clients 4`
 */
async function measureFrozenMail(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      accounts: { type: 'string', default: '100' },
      rounds: { type: 'string', default: '3' },
      clients: { type: 'string', default: '4' },
      json: { type: 'boolean', default: false },
    },
  });
  const root = join(__dirname, '../../..');
  await buildApps(root, ['user']);
  const directory = temporaryDirectory('frozen-mail');
  const postgres = await startPostgres({
    dataDirectory: join(directory, 'postgres'),
    port: await freePort(),
    durable: true,
  });
  let service: ReturnType<typeof run> | undefined;
  try {
    await postgres.ensureDatabases(['user', 'events']);
    await migrateEventLog(postgres.url('events'), silentLogger);
    const [port, mailPort] = [await freePort(), await freePort()];
    const env = {
      PORT: String(port),
      DRAIN_SECONDS: '0',
      LOG_LEVEL: 'silent',
      USER_SHARD_URLS: postgres.url('user'),
      EVENT_LOG_URL: postgres.url('events'),
      JWT_PRIVATE_KEYS: generateKeyPairSync('ed25519')
        .privateKey.export({ type: 'pkcs8', format: 'pem' })
        .toString(),
      SIGNING_SECRET: 'x'.repeat(32),
      ISSUER: 'http://localhost',
      SMTP_URL: `smtp://127.0.0.1:${mailPort}`,
    };
    await run(env, 'migrate').exited;
    service = run(env);
    await service.ready();
    const users = createRpcClient(userV1.UserServiceService, { address: `127.0.0.1:${port}` });
    const [accounts, rounds] = [Number(options.accounts), Number(options.rounds)];
    const register = () => registerMany(users, accounts, Number(options.clients));

    const welcomed = new Set<string>();
    const onMail = ({ to }: { to: string[] }) => void welcomed.add(to[0]!);
    await registerMany(users, WARM_UP, Number(options.clients));
    const best = { answering: Number.POSITIVE_INFINITY, frozen: Number.POSITIVE_INFINITY };
    const rows = [];
    for (let round = 1; round <= rounds; round += 1) {
      const server = await startSmtpServer({ port: mailPort, onMail });
      const answering = await register();
      await server.close();
      const frozen = await freeze(mailPort);
      const freezing = await register();
      await frozen.thaw();
      rows.push({ round, 'mail server': 'answers', ...answering });
      rows.push({ round, 'mail server': 'takes connections, never answers', ...freezing });
      best.answering = Math.min(best.answering, answering.p50Ms);
      best.frozen = Math.min(best.frozen, freezing.p50Ms);
    }
    const made = WARM_UP + 2 * rounds * accounts;
    const server = await startSmtpServer({ port: mailPort, onMail });
    await until(() => welcomed.size >= made);
    await server.close();
    users.close();

    const ratio = Number((best.frozen / best.answering).toFixed(2));
    if (options.json)
      process.stdout.write(`${JSON.stringify({ rows, ratio, made, welcomed: welcomed.size })}\n`);
    else {
      console.table(rows);
      process.stdout.write(
        `best p50, frozen / answering: ${ratio}; accounts ${made}, welcomed ${welcomed.size}\n`,
      );
    }
    process.exitCode = welcomed.size === made ? 0 : 1;
  } finally {
    service?.child.kill('SIGTERM');
    await service?.exited;
    await postgres.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Accounts made before anything is measured. */
const WARM_UP = 20;

async function registerMany(
  users: { register(request: userV1.RegisterRequest): Promise<unknown> },
  accounts: number,
  clients: number,
) {
  const tookMs: number[] = [];
  let left = accounts;
  const client = async () => {
    while (left-- > 0) {
      const start = performance.now();
      await users.register({ email: `${randomUUID()}@shop.example`, password: randomUUID(), name: 'Ada' });
      tookMs.push(performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  tookMs.sort((one, other) => one - other);
  const at = (share: number) => Number(tookMs[Math.floor(share * (tookMs.length - 1))]!.toFixed(1));
  return { p50Ms: at(0.5), p99Ms: at(0.99), failed: accounts - tookMs.length };
}

/** A port that takes connections and never answers. */
async function freeze(port: number) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async thaw() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Looks every 50 ms; the retries of a long freeze are minutes apart. */
async function until(done: () => boolean): Promise<void> {
  const endsAt = Date.now() + 10 * 60_000;
  while (!done() && Date.now() < endsAt) await new Promise((resolve) => setTimeout(resolve, 50));
}

void measureFrozenMail();
