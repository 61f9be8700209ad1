import type { DomainEvent, EventDataByType } from '@headroom/contracts';
import type { Jobs, QueueOptions, RunningJob } from '@headroom/jobs';
import type { CloudEvent, ReceivedEvent } from '@headroom/messaging';
import type { Tx } from '@headroom/postgres';
import type { Clock } from '@headroom/resilience';
import type { Logger } from '@headroom/telemetry';
import { currentAdmins, dayBefore, readSales, type SalesReports } from './digest';
import type { AccessTokens } from './access-tokens';
import { MAX_CONNECTIONS, type MailDelivery } from './mail-delivery';
import {
  orderConfirmationMail,
  orderSummary,
  passwordResetMail,
  salesDigestMail,
  welcomeMail,
  type MailText,
  type OrderSummary,
  type SalesSummary,
} from './mail-texts';
import { findUser, markMailed } from './repository';
import type { createResetIssuer, ResetRequest } from './resets';
import type { Shards } from './shards';
import type { User } from './user';

/** A mail to a user, who is looked up when it is sent. */
type MailJob = { userId: string } & (
  | { kind: 'welcome' }
  | { kind: 'order-confirmation'; order: OrderSummary }
  | { kind: 'sales-digest'; sales: SalesSummary }
);

/** Older events send nothing: whoever reads them for the first time brings history in. */
export const MAIL_MAX_AGE_MS = 24 * 3_600_000;

const sending = {
  retryDelaySeconds: 5,
  expireInSeconds: 45, // longer than handing a mail over may take
  concurrency: MAX_CONNECTIONS / 2,
} as const;

/**
 * The queues of the first database. Resets have one of their own, so that nobody who waits for a token stands behind a thousand
 * order confirmations; their tries end before their tokens do, the others' after about a day.
 */
export const MAIL_QUEUES = {
  'password-resets': {
    ...sending,
    retryLimit: 12,
    maxQueued: 10_000,
    hidden: ['nonce'],
  },
  mails: { ...sending, retryLimit: 40, retryDelayMaxSeconds: 3_600, maxQueued: 20_000 },
  'sales-digest': {
    retryLimit: 12,
    retryDelaySeconds: 60,
    retryDelayMaxSeconds: 3_600,
    expireInSeconds: 45,
    maxQueued: 10,
    cron: '0 6 * * *',
  },
} as const satisfies Record<string, QueueOptions>;

/** The mail that an event asks for; none for old ones, imported history, and events of other types. */
export function mailFor(
  event: Pick<CloudEvent, 'type' | 'time' | 'data'>,
  nowMs: number,
): MailJob | undefined {
  const isYoung = nowMs - Date.parse(event.time) <= MAIL_MAX_AGE_MS;
  if (!isYoung) return undefined;
  switch (event.type as DomainEvent['type']) {
    case 'headroom.user.registered': {
      const { id } = event.data as EventDataByType['headroom.user.registered'];
      return { kind: 'welcome', userId: id };
    }
    case 'headroom.order.confirmed': {
      const order = event.data as EventDataByType['headroom.order.confirmed'];
      if (order.userId === null || order.externalId !== null) return undefined;
      return { kind: 'order-confirmation', userId: order.userId, order: orderSummary(order) };
    }
    default:
      return undefined;
  }
}

/**
 * What the consumer group `mails` does with an event: its mail's job exists exactly once, however often the event is read, also
 * by a group that begins anew.
 */
export function enqueueMails(deps: { jobs: Pick<Jobs, 'enqueue'>; clock: Clock }) {
  return async (tx: Tx, { event }: ReceivedEvent): Promise<void> => {
    const mail = mailFor(event, deps.clock.now());
    if (mail && (await markMailed(tx, event.id, new Date(deps.clock.now()))))
      await deps.jobs.enqueue(tx, 'mails', mail);
  };
}

/** Works on the queues of mails. The digest's is left alone where no query service is known. */
export async function workOnMails(deps: {
  jobs: Jobs;
  shards: Shards;
  delivery: MailDelivery;
  issueReset: ReturnType<typeof createResetIssuer>;
  resetTtlSeconds: number;
  digest: { reports: SalesReports; accessTokens: Pick<AccessTokens, 'issue'> } | undefined;
  clock: Clock;
  logger: Logger;
}): Promise<{ close(): Promise<void> }> {
  const { jobs, shards, delivery, digest, clock, logger } = deps;
  const home = shards.all[0]!.db;

  const deliver = async (job: RunningJob<object>, user: User, text: MailText) => {
    const mail = { ...text, to: user.email, key: job.id };
    await delivery.send(mail);
    await home.transaction(async (tx) => {
      await delivery.keep(tx, mail);
      await job.complete(tx);
    });
  };

  const workers = [
    await jobs.work<ResetRequest>('password-resets', async (job) => {
      const issued = await deps.issueReset(job.payload);
      if (issued)
        await deliver(
          job,
          issued.user,
          passwordResetMail(issued.user, { token: issued.token, ttlSeconds: deps.resetTtlSeconds }),
        );
    }),

    await jobs.work<MailJob>('mails', async (job) => {
      const user = await findUser(shards.of(job.payload.userId).db, job.payload.userId);
      if (user) await deliver(job, user, textOf(job.payload, user));
    }),

    await jobs.work<{ day?: string }>('sales-digest', async (job) => {
      const { day } = job.payload;
      // The day is fixed by a step of its own: a later try, after midnight, still means the same day.
      if (day === undefined)
        return home.transaction((tx) => job.continueWith(tx, { day: dayBefore(clock.now()) }));
      const [admin, ...others] = await currentAdmins(shards);
      if (!admin || !digest) {
        logger.info('no sales digest: there is no admin, or QUERY_ADDRESS is not set', { reason: day });
        return;
      }
      const sales = await readSales(day, { ...digest, admin });
      await home.transaction(async (tx) => {
        for (const { id: userId } of [admin, ...others])
          await jobs.enqueue(tx, 'mails', { kind: 'sales-digest', userId, sales } satisfies MailJob);
        await job.complete(tx);
      });
    }),
  ];
  return {
    async close() {
      await Promise.all(workers.map((worker) => worker.close()));
    },
  };
}

function textOf(mail: MailJob, user: User): MailText {
  switch (mail.kind) {
    case 'welcome':
      return welcomeMail(user);
    case 'order-confirmation':
      return orderConfirmationMail(user, mail.order);
    case 'sales-digest':
      return salesDigestMail(mail.sales);
  }
}
