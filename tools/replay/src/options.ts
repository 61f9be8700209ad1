import { addressOption, adminSignIn, runningPorts, UsageError } from '@headroom/shop-api';
import { parseArgs } from 'node:util';

export interface ReplayOptions {
  file: string;
  /** As live checkouts rather than as history. */
  live: boolean;
  speed: number;
  concurrency: number;
  currency: string;
  skuPrefix: string;
  run: string;
  gateway: string;
  payment: string;
  settleSeconds: number;
  patienceSeconds: number;
  json: boolean;
  admin: { email: string; password: string };
}

const HELP = `npm run replay -- FILE [options]

Brings a sales history (CSV) into the running system with its own dates and prices: registers its customers, makes the
products that are missing, imports its invoices, then compares invoices, units and revenue of each day with the sales
report. The same file again changes nothing. With --live the invoices are placed as checkouts of today instead, and
orders, units and charges are compared. Exit code 0: no difference, 1: differences or failure, 64: wrong use, 65: the
file cannot be read, 69: the system does not answer, 130: interrupted.

  --currency CODE      the currency of the file's prices (GBP)
  --sku-prefix TEXT    put before each StockCode and invoice number, to keep the file's things apart
  --gateway URL        the shop API (the system that npm start started, or http://127.0.0.1:8080)
  --admin-email, --admin-password
                       the admin sign-in (ADMIN_EMAIL and ADMIN_PASSWORD, or what npm start wrote)
  --data DIR           data directory of npm start (.data)
  --json               the result as JSON on standard output, progress on standard error
  --help               this text
  --patience-seconds N the report follows an import: a difference counts after so long (60)
  --live               as live checkouts; and then:
  --speed N            how many times faster than the file's own pace (500)
  --concurrency N      most checkouts at a time (32)
  --run NAME           name of the run; an interrupted run goes on under its name (made up)
  --payment URL        the payment sandbox (likewise, or http://127.0.0.1:8090)
  --settle-seconds N   stop waiting when no order was confirmed or cancelled for so long (120)
`;

/** Reads the command line; returns the help text where it was asked for. Fails with a UsageError. */
export function readOptions(
  arguments_: readonly string[],
  env: Record<string, string | undefined>,
  makeRunName: () => string,
): ReplayOptions | string {
  const { values, positionals } = parse(arguments_);
  if (values.help) return HELP;
  const [file, ...others] = positionals;
  if (file === undefined) throw new UsageError(`name the file to replay\n\n${HELP}`);
  if (others.length > 0) throw new UsageError(`one file at a time, found also ${others.join(', ')}`);
  const number = (
    name: 'speed' | 'concurrency' | 'settle-seconds' | 'patience-seconds',
    min: number,
    max: number,
  ) => {
    const value = Number(values[name]);
    if (!(value >= min && value <= max))
      throw new UsageError(
        `--${name} takes a number from ${min} to ${max}, found ${JSON.stringify(values[name])}`,
      );
    return value;
  };
  const match = (name: 'currency' | 'sku-prefix' | 'run', value: string, form: RegExp, expected: string) => {
    if (!form.test(value))
      throw new UsageError(`--${name} takes ${expected}, found ${JSON.stringify(value)}`);
    return value;
  };
  const ports = runningPorts(values.data);
  return {
    file,
    live: values.live,
    speed: number('speed', 0.001, 1_000_000),
    concurrency: Math.round(number('concurrency', 1, 1_000)),
    settleSeconds: number('settle-seconds', 1, 86_400),
    patienceSeconds: number('patience-seconds', 0, 86_400),
    currency: match('currency', values.currency, /^[A-Z]{3}$/, 'an ISO 4217 code such as GBP'),
    skuPrefix: match(
      'sku-prefix',
      values['sku-prefix'],
      /^([\x21-\x7e]{1,32})?$/,
      '1 to 32 visible characters',
    ),
    run: match(
      'run',
      values.run ?? makeRunName(),
      /^[A-Za-z0-9._-]{1,64}$/,
      'letters, digits, dots and dashes',
    ),
    gateway: addressOption('gateway', values.gateway ?? `http://127.0.0.1:${ports.gateway}`),
    payment: addressOption('payment', values.payment ?? `http://127.0.0.1:${ports.payment}`),
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
        live: { type: 'boolean', default: false },
        speed: { type: 'string', default: '500' },
        concurrency: { type: 'string', default: '32' },
        currency: { type: 'string', default: 'GBP' },
        'sku-prefix': { type: 'string', default: '' },
        run: { type: 'string' },
        gateway: { type: 'string' },
        payment: { type: 'string' },
        'admin-email': { type: 'string' },
        'admin-password': { type: 'string' },
        data: { type: 'string', default: '.data' },
        'patience-seconds': { type: 'string', default: '60' },
        'settle-seconds': { type: 'string', default: '120' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
  }
}
