import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

/** A mail as a mail server got it. */
export interface ReceivedMail {
  from: string;
  to: string[];
  messageId: string;
  subject: string;
  /** Header and body as they came. */
  raw: string;
}

/** An answer of a mail server (RFC 5321, section 4.2) that refuses. */
export class Refusal extends Error {
  constructor(
    readonly responseCode: number,
    message: string,
  ) {
    super(message);
  }
}

const started: SMTPServer[] = [];

/** Stops what a test that failed has left running. */
export const closeSmtpServers = (): Promise<unknown> =>
  Promise.all(started.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));

/**
 * A real mail server that keeps what it gets. `onRecipient` may throw a Refusal; `onMail` runs when a mail has been taken and
 * before that is acknowledged.
 */
export async function startSmtpServer(
  options: {
    port?: number;
    onRecipient?: (address: string) => void;
    onMail?: (mail: ReceivedMail) => void;
  } = {},
) {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    logger: false,
    closeTimeout: 1_000,
    onRcptTo({ address }, _session, done) {
      try {
        options.onRecipient?.(address);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
    onData(stream, { envelope }, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const raw = Buffer.concat(chunks).toString();
        const header = (name: string) => new RegExp(`^${name}: (.*)\r$`, 'im').exec(raw)?.[1] ?? '';
        const mail = {
          from: envelope.mailFrom ? envelope.mailFrom.address : '',
          to: envelope.rcptTo.map(({ address }) => address),
          messageId: header('Message-ID'),
          subject: header('Subject'),
          raw,
        };
        mails.push(mail);
        options.onMail?.(mail);
        done();
      });
    },
  });
  started.push(server);
  server.on('error', () => undefined); // connections that break
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.server.address() as AddressInfo;
  return {
    mails,
    port,
    /** Cuts every connection, so that what was taken is never acknowledged. */
    dropConnections() {
      for (const connection of server.connections) connection.close();
    },
    url: `smtp://127.0.0.1:${port}`,
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
