/**
 * A service's environment as data: every variable is declared once with its form, and all problems are reported together.
 * `parseConfig` is pure, so tests need no process.
 */
export interface Variable<T> {
  /** What a valid value looks like, for the error and the documentation. */
  expected: string;
  /** Undefined: the variable is required. */
  fallback?: T;
  secret?: boolean;
  /** Returns undefined for an invalid value. */
  parse(text: string): T | undefined;
}

export type ConfigSpec = Record<string, Variable<unknown>>;
export type ConfigOf<S extends ConfigSpec> = { [K in keyof S]: S[K] extends Variable<infer T> ? T : never };

export class ConfigError extends Error {
  constructor(readonly problems: string[]) {
    super(`configuration is not valid:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/** Reads every variable of `spec`; throws one ConfigError that lists all problems. An empty value counts as unset. */
export function parseConfig<S extends ConfigSpec>(
  spec: S,
  env: Record<string, string | undefined>,
): ConfigOf<S> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries(spec)) {
    const text = env[name];
    if (text === undefined || text === '') {
      if ('fallback' in variable) values[name] = variable.fallback;
      else problems.push(`${name}: missing, expected ${variable.expected}`);
      continue;
    }
    const value = variable.parse(text);
    if (value === undefined) {
      const found = variable.secret ? '(a secret value, not shown)' : JSON.stringify(text);
      problems.push(`${name}: found ${found}, expected ${variable.expected}`);
    } else values[name] = value;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return values as ConfigOf<S>;
}

/** The effective values as `NAME=value` lines, secrets masked. */
export function describeConfig<S extends ConfigSpec>(spec: S, values: ConfigOf<S>): string {
  return Object.entries(spec)
    .map(([name, variable]) => {
      const value = values[name as keyof S];
      const shown =
        value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
      return `${name}=${variable.secret && shown !== '' ? '********' : shown}`;
    })
    .join('\n');
}

type Options<T> = { default?: T; secret?: boolean };

function variable<T>(
  expected: string,
  parse: (text: string) => T | undefined,
  options: Options<T>,
): Variable<T> {
  return {
    expected,
    parse,
    ...(options.secret ? { secret: true } : {}),
    ...('default' in options ? { fallback: options.default as T } : {}),
  };
}

/** A whole number within bounds. */
export function integer(options: Options<number> & { min?: number; max?: number } = {}): Variable<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = options;
  const parse = (text: string) => {
    const value = Number(text);
    return /^-?\d+$/.test(text) && value >= min && value <= max ? value : undefined;
  };
  return variable(`a whole number from ${min} to ${max}`, parse, options);
}

/** A port number; 0 lets the system choose. */
export const port = (options: Options<number> = {}): Variable<number> =>
  integer({ ...options, min: 0, max: 65_535 });

export const text = (options: Options<string> = {}): Variable<string> =>
  variable('a text', (value) => value, options);

/** A text that may be left out. */
export const optionalText = (options: { secret?: boolean } = {}): Variable<string | undefined> =>
  variable<string | undefined>('a text', (value) => value, { ...options, default: undefined });

export function choice<const T extends string>(values: readonly T[], options: Options<T> = {}): Variable<T> {
  return variable(`one of ${values.join(', ')}`, (value) => values.find((each) => each === value), options);
}

/** An absolute URL with one of `schemes`. Masked when printed, since it may hold a password. */
export function url(schemes: readonly string[], options: Options<string> = {}): Variable<string> {
  const parse = (value: string) =>
    URL.canParse(value) && schemes.includes(new URL(value).protocol.slice(0, -1)) ? value : undefined;
  return variable(`a URL such as ${schemes[0]}://host:port/...`, parse, { secret: true, ...options });
}

/** A comma-separated list of URLs. */
export function urls(schemes: readonly string[], options: Options<string[]> = {}): Variable<string[]> {
  const one = url(schemes);
  const parse = (value: string) => {
    const items = value.split(',').map((item) => item.trim());
    return items.every((item) => one.parse(item) !== undefined) ? items : undefined;
  };
  return variable(`a comma-separated list of URLs such as ${schemes[0]}://host:port/...`, parse, {
    secret: true,
    ...options,
  });
}

/** A comma-separated list of texts. */
export const list = (options: Options<string[]> = {}): Variable<string[]> =>
  variable(
    'a comma-separated list',
    (value) =>
      value
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    options,
  );

/** `host:port` of another service. */
export const address = (options: Options<string> = {}): Variable<string> =>
  variable(
    'host:port',
    (value) => (/^(dns:\/\/\/)?[^\s:/]+:\d{1,5}$/.test(value) ? value : undefined),
    options,
  );

/** Any form with a parser of its own; `parse` returns undefined for what is not valid. */
export const parsed = <T>(
  expected: string,
  parse: (text: string) => T | undefined,
  options: Options<T> = {},
): Variable<T> => variable(expected, parse, options);
