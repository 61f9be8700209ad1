import { domainEvent, TOPICS, type OrderData, type UserData } from '@headroom/contracts';
import { consumeEvents, messagingMigrations, openEventLog, type EventLog } from '@headroom/messaging';
import { sql } from '@headroom/postgres';
import { uuidv7 } from '@headroom/resilience';
import { silentLogger } from '@headroom/telemetry';
import { createTestDatabase, eventually, type TestDatabase } from '@headroom/testing';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { smtpDelivery, type MailDelivery } from '../src/mail-delivery';
import { enqueueMails } from '../src/mails';
import { listMails, trimMails } from '../src/repository';
import {
  createTestShards,
  newEmail,
  PASSWORD,
  startMails,
  startUserService,
  type TestShards,
} from './harness';
import { closeSmtpServers, Refusal, startSmtpServer } from './smtp-double';

const HOUR_MS = 3_600_000;

let shards: TestShards;
let events: TestDatabase;
let log: EventLog;
let service: Awaited<ReturnType<typeof startUserService>>;
beforeAll(async () => {
  shards = await createTestShards();
  events = await createTestDatabase(messagingMigrations('event-log'));
  log = await openEventLog({ url: events.url, logger: silentLogger, name: 'test' });
  await log.ensureTopics([TOPICS.user, TOPICS.order]);
  service = await startUserService({ shards });
});
afterAll(async () => {
  await closeSmtpServers();
  await service.close();
  await log.close();
  await shards.drop();
  await events.drop();
});

const home = () => shards.all[0]!.db;
const mailsTo = (email: string) => listMails(home(), { to: email, limit: 100, afterId: undefined });

/** Runs the consumer and the work on mails for as long as `work` takes. */
async function whileMailing<T>(work: () => Promise<T>, delivery?: MailDelivery, group = 'mails'): Promise<T> {
  const consumer = await consumeEvents({
    log,
    db: home(),
    group,
    topics: [TOPICS.user, TOPICS.order],
    logger: silentLogger,
    apply: enqueueMails({ jobs: service.jobs, clock: service.clock }),
  });
  const mails = await startMails({
    shards,
    jobs: service.jobs,
    clock: service.clock,
    ...(delivery ? { delivery } : {}),
  });
  try {
    return await work();
  } finally {
    await consumer.close();
    await mails.close();
    delivery?.close();
  }
}

/** An account, without its event being published by a relay. */
async function register(name = 'Ada') {
  const email = newEmail();
  const user = await service.registration.register({ email, name, passwordHash: 'not asked for' });
  return { ...user, email };
}

const append = (event: { topic: string; key: string; event: object }) =>
  log.append([{ topic: event.topic, key: event.key, value: JSON.stringify(event.event), headers: {} }]);

const registered = (user: { id: string; email: string }, ageMs = 0) =>
  domainEvent({
    id: uuidv7(),
    type: 'headroom.user.registered',
    subject: `user/${user.id}`,
    key: user.id,
    version: 1,
    time: new Date(service.clock.now() - ageMs).toISOString(),
    data: { id: user.id, email: user.email } as UserData,
  });

function confirmed(userId: string | null, options: { externalId?: string; ageMs?: number } = {}) {
  const id = uuidv7();
  const price = { amountMinor: 1_250, currency: 'EUR' };
  const time = new Date(service.clock.now() - (options.ageMs ?? 0)).toISOString();
  const data: OrderData = {
    id,
    userId,
    externalId: options.externalId ?? null,
    status: 'confirmed',
    paymentStatus: 'paid',
    cancelReason: null,
    items: [
      {
        productId: uuidv7(),
        sku: 'MUG',
        name: 'Blue mug',
        quantity: 2,
        unitPrice: price,
        lineTotal: { amountMinor: 2_500, currency: 'EUR' },
      },
    ],
    total: { amountMinor: 2_500, currency: 'EUR' },
    placedAt: time,
    updatedAt: time,
  };
  return domainEvent({
    id: uuidv7(),
    type: 'headroom.order.confirmed',
    subject: `order/${id}`,
    key: id,
    version: 3,
    time,
    data,
  });
}

/** Until the group has read everything and no mail waits. */
async function settled() {
  const last = await register();
  await append(registered(last));
  await eventually(async () => expect(await mailsTo(last.email)).toHaveLength(1));
  await eventually(async () =>
    expect(
      await home().rows(
        sql('test.waiting')`select 1 from jobs.job where name in ('mails', 'password-resets')`,
      ),
    ).toEqual([]),
  );
}

it('who registers is welcomed once, and an order’s owner gets its lines, its total and its id', async () => {
  const user = await register();
  const order = confirmed(user.id);
  await whileMailing(async () => {
    await append(registered(user));
    await append(order);
    await eventually(async () => expect(await mailsTo(user.email)).toHaveLength(2));
    await settled();
  });
  const mails = new Map((await mailsTo(user.email)).map((mail) => [mail.kind, mail]));
  expect([...mails.keys()].sort()).toEqual(['order-confirmation', 'welcome']);
  expect(mails.get('welcome')!.text).toContain('Hello Ada,');
  const { text, subject } = mails.get('order-confirmation')!;
  expect(subject).toContain(order.key);
  for (const part of ['Hello Ada,', order.key, '2 x Blue mug: 25.00 EUR', 'Total: 25.00 EUR'])
    expect(text).toContain(part);
});

it('a consumer that reads everything again mails nobody twice', async () => {
  const user = await register();
  await append(registered(user));
  await append(confirmed(user.id));
  await whileMailing(() => eventually(async () => expect(await mailsTo(user.email)).toHaveLength(2)));

  // A group that has read nothing yet, until it has read what the other has.
  await whileMailing(
    async () => {
      await eventually(async () =>
        expect(
          await home().rows(sql('test.unread')`
            select m.topic, m.partition from consumer_offsets m
            left join consumer_offsets a on a.topic = m.topic and a.partition = m.partition and a.group_name = 'again'
            where m.group_name = 'mails' and coalesce(a.next_offset, 0) < m.next_offset`),
        ).toEqual([]),
      );
      await settled();
    },
    undefined,
    'again',
  );
  expect(await mailsTo(user.email)).toHaveLength(2);
});

it('history mails nobody: neither old events nor imported orders nor orders of nobody', async () => {
  const user = await register();
  await append(registered(user, 24 * HOUR_MS + 1));
  await append(confirmed(user.id, { ageMs: 24 * HOUR_MS + 1 }));
  await append(confirmed(user.id, { externalId: 'invoice 1' }));
  await append(confirmed(null));
  await whileMailing(settled);
  expect(await mailsTo(user.email)).toEqual([]);
});

it('a mail server gets the mail as it was meant, and nothing that a user typed reaches its header', async () => {
  const server = await startSmtpServer();
  const user = await register('Win a prize at https://evil.example');
  const order = confirmed(user.id);
  const delivery = smtpDelivery({ url: server.url, from: 'shop@shop.example' });
  await whileMailing(async () => {
    await append(registered(user));
    await append(order);
    await service.resets.requestPasswordReset({ email: user.email });
    await eventually(() => expect(server.mails).toHaveLength(3));
  }, delivery);
  await server.close();

  for (const mail of server.mails) {
    expect(mail).toMatchObject({ from: 'shop@shop.example', to: [user.email] });
    expect(mail.raw).toMatch(/^Auto-Submitted: auto-generated\r$/m);
    expect(mail.messageId).toMatch(/^<[0-9a-f-]{36}@shop\.example>$/);
    expect(mail.raw).not.toContain('evil');
  }
  expect(server.mails.map(({ subject }) => subject).sort()).toEqual([
    'Reset your password',
    'Welcome',
    `Your order ${order.key}`,
  ]);
  const reset = server.mails.find(({ subject }) => subject === 'Reset your password')!;
  const [token, ...more] = reset.raw.split('\r\n').filter((line) => /^[A-Za-z0-9_-]{44}$/.test(line));
  expect(more).toEqual([]);
  await service.resets.confirmPasswordReset({ token: token!, password: PASSWORD });
});

it('a mail is tried again under the same Message-ID, and one that is refused for good becomes a dead letter', async () => {
  let refusals = 2;
  const unknown = await register();
  const server = await startSmtpServer({
    onRecipient: (address) => {
      if (address === unknown.email) throw new Refusal(550, 'no such mailbox here');
    },
    onMail: () => {
      if (refusals-- > 0) server.dropConnections();
    },
  });
  const user = await register();
  await whileMailing(
    async () => {
      await append(registered(unknown));
      await append(registered(user));
      await eventually(() => expect(server.mails).toHaveLength(3));
      await eventually(async () =>
        expect((await service.jobs.deadLetters.list({ limit: 1 })).deadLetters).toMatchObject([
          { source: 'jobs/mails', attempts: 1, error: expect.stringContaining('no such mailbox here') },
        ]),
      );
    },
    smtpDelivery({ url: server.url, from: 'shop@shop.example' }),
  );
  await server.close();
  expect(server.mails.map(({ to }) => to)).toEqual(Array(3).fill([user.email]));
  expect(new Set(server.mails.map(({ messageId }) => messageId)).size).toBe(1);
});

it('accounts are made and resets asked for while the mail server takes connections and never answers; mails go out once it does', async () => {
  const sockets = new Set<Socket>();
  const frozen = createServer((socket) => void sockets.add(socket.on('error', () => undefined).unref()));
  frozen.unref();
  await new Promise<void>((resolve) => frozen.listen(0, '127.0.0.1', resolve));
  const { port } = frozen.address() as AddressInfo;
  const delivery = smtpDelivery({
    url: `smtp://127.0.0.1:${port}`,
    from: 'shop@shop.example',
    patienceMs: 200,
  });
  await whileMailing(async () => {
    const customer = await service.customer();
    await append(registered(customer.user));
    await service.resets.requestPasswordReset({ email: customer.email });
    await eventually(() => expect(sockets.size).toBeGreaterThan(2));
    await eventually(() => expect(delivery.check()).rejects.toThrow('could not be handed over'));
    await service.client.signIn({ email: customer.email, password: PASSWORD, clientAddress: '' });

    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => frozen.close(resolve));
    const server = await startSmtpServer({ port });
    await eventually(() =>
      expect(server.mails.filter(({ to }) => to.includes(customer.email))).toHaveLength(2),
    );
    await eventually(() => delivery.check());
    await server.close();
  }, delivery);
});

it('an admin sees events and mails that were given up, without what makes a token, and tries them again or drops them', async () => {
  const admin = await service.admin();
  const { operations } = service;
  const letters = (limit: number) =>
    service.as(admin, () => operations.listDeadLetters({ limit, afterId: '', includeTotal: true }));
  const before = await letters(100);
  for (const letter of before.deadLetters)
    await service.as(admin, () => operations.discardDeadLetter({ deadLetterId: letter.id }));

  let refuse = true;
  const server = await startSmtpServer({
    onRecipient: () => {
      if (refuse) throw new Refusal(550, 'no such mailbox here');
    },
  });
  const user = await register();
  const poison = { ...registered(user), key: uuidv7() };
  await append({ ...poison, event: { ...poison.event, data: null } });
  await whileMailing(
    async () => {
      await service.resets.requestPasswordReset({ email: user.email });
      await eventually(async () => expect(await letters(10)).toMatchObject({ more: false, total: 2n }));
      const { deadLetters } = await letters(10);
      const event = deadLetters.find(({ source }) => source === 'mails')!;
      const mail = deadLetters.find(({ source }) => source === 'jobs/password-resets')!;
      expect(event).toMatchObject({ topic: TOPICS.user.name, key: poison.key, eventId: poison.event.id });
      expect(JSON.parse(mail.payload)).toMatchObject({ email: user.email, nonce: '***' });

      refuse = false;
      await service.as(admin, () => operations.requeueDeadLetter({ deadLetterId: mail.id }));
      await service.as(admin, () => operations.discardDeadLetter({ deadLetterId: event.id }));
      await eventually(() => expect(server.mails).toMatchObject([{ to: [user.email] }]));
      await eventually(async () => expect((await letters(10)).deadLetters).toEqual([]));
    },
    smtpDelivery({ url: server.url, from: 'shop@shop.example' }),
  );
  await server.close();
  const { accessToken } = await service.customer();
  await expect(
    service.as(accessToken, () => operations.listDeadLetters({ limit: 1, afterId: '' })),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  expect(await service.as(admin, () => operations.listJobs({ limit: 1, afterId: '' }))).toEqual({
    jobs: [],
    more: false,
  });
});

it('only the newest 1,000 mails stay', async () => {
  await home().execute(sql('test.many')`
    insert into mails (id, recipient, subject, body, kind, created_at)
    select gen_random_uuid(), 'many@shop.example', 's', 't', 'welcome', now() from generate_series(1, 1100)`);
  await trimMails(home(), { markedBefore: new Date(0), limit: 1 });
  expect(await home().row(sql('test.count')`select count(*)::int as count from mails`)).toEqual({
    count: 1_000,
  });
});
