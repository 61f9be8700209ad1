import { PermanentJobError } from '@headroom/jobs';
import type { Tx } from '@headroom/postgres';
import { uuidv7, withTimeout, type Clock } from '@headroom/resilience';
import { counter } from '@headroom/telemetry';
import { createTransport } from 'nodemailer';
import type { MailText } from './mail-texts';
import { keepMail } from './repository';

export interface OutgoingMail extends MailText {
  to: string;
  /** The same for every try of one mail: its Message-ID, by which a receiver can tell a repetition. */
  key: string;
}

/** Where mails go: one of the two steps does nothing. */
export interface MailDelivery {
  /** The step outside: hands the mail to a mail server, at least once. Throws PermanentJobError for what it will never take. */
  send(mail: OutgoingMail): Promise<void>;
  /** The step inside the transaction that completes the job: exactly once. */
  keep(tx: Tx, mail: OutgoingMail): Promise<void>;
  /** Rejects when the last mail could not be handed over. */
  check(): Promise<void>;
  close(): void;
}

/** Connections to the mail server, and so mails at the same time, of one process. */
export const MAX_CONNECTIONS = 4;
/** Of one mail, from the first packet to the server's acceptance. */
const SEND_MS = 30_000;

const countMail = counter({
  name: 'mails_total',
  help: 'Mails by kind and outcome: sent, kept, failed',
  labels: ['kind', 'outcome'],
});

/** Keeps mails for the admin in place of sending them (MAIL_INBOX=1). */
export function mailInbox({ clock }: { clock: Clock }): MailDelivery {
  return {
    send: async () => undefined,
    async keep(tx, { kind, to, subject, text }) {
      const now = clock.now();
      await keepMail(tx, { id: uuidv7(now), kind, to, subject, text, createdAt: new Date(now) });
      tx.afterCommit(() => countMail({ kind, outcome: 'kept' }));
    },
    check: async () => undefined,
    close: () => undefined,
  };
}

/**
 * Hands mails to the server of SMTP_URL (RFC 5321) over a few connections that are used again. Every wait is bounded, so that
 * a server which accepts connections and never answers costs the mails' jobs time and nothing else. A process that dies after
 * the server's acceptance and before the job's completion sends again, under the same Message-ID.
 */
export function smtpDelivery(options: {
  url: string;
  from: string;
  /** For the server to connect, greet and answer, each; default 5,000 ms, and twice that for an answer. */
  patienceMs?: number;
}): MailDelivery {
  const { patienceMs = 5_000 } = options;
  const transport = createTransport({
    url: options.url,
    pool: true,
    maxConnections: MAX_CONNECTIONS,
    maxMessages: 100,
    connectionTimeout: patienceMs,
    dnsTimeout: patienceMs,
    greetingTimeout: patienceMs,
    socketTimeout: 2 * patienceMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  transport.on('error', () => undefined); // of idle connections; a mail's own error reaches its caller
  const domain = options.from.slice(options.from.lastIndexOf('@') + 1);
  let failure: unknown;

  return {
    async send({ to, subject, text, kind, key }) {
      try {
        await withTimeout(
          transport.sendMail({
            // As objects: an address is never parsed, so none can turn into two or into a header.
            from: { name: 'Headroom', address: options.from },
            to: { name: '', address: to },
            subject,
            text,
            messageId: `<${key}@${domain}>`,
            headers: { 'Auto-Submitted': 'auto-generated' }, // RFC 3834: nothing answers it by itself
          }),
          SEND_MS,
          'handing a mail to the mail server',
        );
        failure = undefined;
        countMail({ kind, outcome: 'sent' });
      } catch (error) {
        countMail({ kind, outcome: 'failed' });
        if (isRefused(error))
          throw new PermanentJobError(`the mail server refuses this mail: ${reasonOf(error)}`, {
            cause: error,
          });
        failure = error;
        throw new Error(`the mail was not handed over: ${reasonOf(error)}`, { cause: error });
      }
    },
    keep: async () => undefined,
    async check() {
      if (failure !== undefined)
        throw new Error('the last mail could not be handed over', { cause: failure });
    },
    close: () => transport.close(),
  };
}

/** The sender where none is configured: `no-reply` at the host of the issuer, or at localhost where that is no URL. */
export function noReplyOf(issuer: string): string {
  return `no-reply@${URL.canParse(issuer) ? new URL(issuer).hostname || 'localhost' : 'localhost'}`;
}

/** A permanent answer (5yz) about the recipient or the text; about anything else, the sign-in say, an operator can do something. */
function isRefused(error: unknown): boolean {
  const { code, responseCode } = error as { code?: string; responseCode?: number };
  return (code === 'EENVELOPE' || code === 'EMESSAGE') && (responseCode ?? 0) >= 500;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
