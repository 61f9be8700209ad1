import { addressOption, adminSignIn, runningPorts, UsageError } from '@headroom/shop-api';
import { extname } from 'node:path';
import { parseArgs } from 'node:util';

/** What can be imported, and as which kinds of file. */
const KINDS = {
  products: { path: '/v1/admin/imports', types: ['application/x-ndjson', 'text/csv'] },
  orders: { path: '/v1/admin/order-imports', types: ['application/x-ndjson'] },
} as const;
const TYPES: Record<string, string> = {
  '.ndjson': 'application/x-ndjson',
  '.jsonl': 'application/x-ndjson',
  '.csv': 'text/csv',
};

export interface ImportOptions {
  kind: keyof typeof KINDS;
  path: string;
  file: string;
  contentType: string;
  gateway: string;
  json: boolean;
  admin: { email: string; password: string };
}

const HELP = `npm run import -- products FILE [options]
npm run import -- orders FILE [options]

Brings a catalogue (NDJSON or CSV) or a sales history (NDJSON) into the running system and shows what became of each line.
Exit code 0: every line was taken, 1: the job failed or lines were rejected, 64: wrong use, 65: the file cannot be read,
69: the system does not answer. The same file again changes nothing.

  products             members or columns sku, name, priceMinor; and, if wanted, description, category, currency, onHand,
                       imageUrl
  orders               lines {externalId, email?, placedAt, items: [{sku, quantity, unitPrice: {amountMinor, currency}}]}
  --type TYPE          ndjson or csv, where the file's name does not say so
  --gateway URL        the shop API (the system that npm start started, or http://127.0.0.1:8080)
  --admin-email, --admin-password
                       the admin sign-in (ADMIN_EMAIL and ADMIN_PASSWORD, or what npm start wrote)
  --data DIR           data directory of npm start (.data)
  --json               the job as JSON on standard output, progress on standard error
  --help               this text
`;

/** Reads the command line; returns the help text where it was asked for. Fails with a UsageError. */
export function readOptions(
  arguments_: readonly string[],
  env: Record<string, string | undefined>,
): ImportOptions | string {
  const { values, positionals } = parse(arguments_);
  if (values.help) return HELP;
  const [kind, file, ...others] = positionals;
  if (kind === undefined || !(kind in KINDS))
    throw new UsageError(`say what to import, products or orders${kind ? `, not ${kind}` : ''}\n\n${HELP}`);
  if (file === undefined) throw new UsageError(`name the file to import\n\n${HELP}`);
  if (others.length > 0) throw new UsageError(`one file at a time, found also ${others.join(', ')}`);
  const { path, types } = KINDS[kind as keyof typeof KINDS];
  const contentType = TYPES[values.type === undefined ? extname(file).toLowerCase() : `.${values.type}`];
  if (contentType === undefined || !(types as readonly string[]).includes(contentType))
    throw new UsageError(
      `${kind} come as ${types.map((type) => (type === 'text/csv' ? 'csv' : 'ndjson')).join(' or ')}: say which with --type`,
    );
  return {
    kind: kind as keyof typeof KINDS,
    path,
    file,
    contentType,
    gateway: addressOption(
      'gateway',
      values.gateway ?? `http://127.0.0.1:${runningPorts(values.data).gateway}`,
    ),
    json: values.json,
    admin: adminSignIn(values, env),
  };
}

function parse(arguments_: readonly string[]) {
  try {
    return parseArgs({
      args: [...arguments_],
      allowPositionals: true,
      options: {
        type: { type: 'string' },
        gateway: { type: 'string' },
        'admin-email': { type: 'string' },
        'admin-password': { type: 'string' },
        data: { type: 'string', default: '.data' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
  }
}
