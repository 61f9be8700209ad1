import { parseArgs } from 'node:util';

export interface StartOptions {
  fresh: boolean;
  products: number;
  seed: number;
  dataDirectory: string;
  ports: { gateway: number; payment: number; postgres: number; internal: number };
}

const HELP = `npm start -- [options]

  --port N             the gateway's port (8080)
  --payment-port N     the payment sandbox's port (8090)
  --postgres-port N    the embedded PostgreSQL's port (5440)
  --internal-ports N   first of 16 ports for gRPC and operations between processes (7100)
  --products N         products of the demo catalogue (1000)
  --seed N             seed of the demo catalogue (1)
  --data DIR           where data and keys are kept (.data)
  --fresh              throw the data away and start over
  --help               this text
`;

/** The option that moves each port, for error messages. */
export const PORT_OPTIONS = {
  gateway: '--port',
  payment: '--payment-port',
  postgres: '--postgres-port',
  internal: '--internal-ports',
} as const;

/** Ports that `internal` stands for: gRPC and operations of each process. */
export const INTERNAL_PORTS = 16;

/** Reads the command line; prints help or what is wrong with it and exits (0 or 64). */
export function readOptions(arguments_: string[]): StartOptions {
  try {
    const { values } = parseArgs({
      args: arguments_,
      options: {
        port: { type: 'string', default: '8080' },
        'payment-port': { type: 'string', default: '8090' },
        'postgres-port': { type: 'string', default: '5440' },
        'internal-ports': { type: 'string', default: '7100' },
        products: { type: 'string', default: '1000' },
        seed: { type: 'string', default: '1' },
        data: { type: 'string', default: '.data' },
        fresh: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    const whole = (name: keyof typeof values, min: number, max: number) => {
      const value = Number(values[name]);
      if (!Number.isInteger(value) || value < min || value > max)
        throw new Error(
          `--${name} takes a whole number from ${min} to ${max}, found ${JSON.stringify(values[name])}`,
        );
      return value;
    };
    return {
      fresh: values.fresh,
      products: whole('products', 0, 1_000_000),
      seed: whole('seed', 0, 2 ** 31),
      dataDirectory: values.data,
      ports: {
        gateway: whole('port', 1, 65_535),
        payment: whole('payment-port', 1, 65_535),
        postgres: whole('postgres-port', 1, 65_535),
        internal: whole('internal-ports', 1, 65_535 - INTERNAL_PORTS),
      },
    };
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    process.exit(64);
  }
}
