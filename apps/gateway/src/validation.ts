import { fault } from '@headroom/contracts';
import type { FieldError } from '@headroom/resilience';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Settings } from 'typebox/system';

/** A response that names every mistake of a large body would be larger than the body: at most this many are named. */
const MOST_ERRORS = 50;
Settings.Set({ maxErrors: 2 * MOST_ERRORS });

/** One error as the schema compiler reports it. */
interface SchemaError {
  keyword: string;
  schemaPath: string;
  instancePath: string;
  params: Record<string, unknown>;
  message: string;
}

/** The mistakes in a value: none when it matches the schema. */
export type Validator = (value: unknown) => FieldError[];

/** Validates JSON bodies: types are taken as they are, unknown members are mistakes. */
export function bodyValidator(schema: TSchema): Validator {
  const compiled = Compile(schema);
  return (value) =>
    compiled.Check(value)
      ? unprintable(value)
      : explain(compiled.Errors(value) as SchemaError[], schema).slice(0, MOST_ERRORS);
}

/**
 * Validates query parameters, which arrive as texts: those that the schema wants as integers or booleans are converted in
 * place first, in their canonical spelling only. Missing ones get their defaults.
 */
export function queryValidator(schema: TSchema): Validator {
  const properties = Object.entries(
    (schema as { properties?: Record<string, { type?: unknown; default?: unknown }> }).properties ?? {},
  );
  const validate = bodyValidator(schema);
  return (value) => {
    const query = value as Record<string, unknown>;
    for (const [name, property] of properties) {
      const found = query[name];
      if (found === undefined) {
        if (property.default !== undefined) query[name] = property.default;
      } else if (typeof found === 'string') {
        if (property.type === 'integer' && /^-?\d{1,15}$/.test(found)) query[name] = Number(found);
        if (property.type === 'boolean' && (found === 'true' || found === 'false'))
          query[name] = found === 'true';
      }
    }
    return validate(query);
  };
}

/** Throws VALIDATION_FAILED that names all mistakes, unless there are none. */
export function assertValid(errors: FieldError[]): void {
  if (errors.length === 0) return;
  const [first] = errors;
  throw fault('VALIDATION_FAILED', {
    detail: `${first!.path === '' ? 'the body' : first!.path} ${first!.message}${errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''}`,
    errors,
  });
}

/** One VALIDATION_FAILED about one member. */
export const invalid = (path: string, message: string) =>
  fault('VALIDATION_FAILED', { detail: `${path} ${message}`, errors: [{ path, message }] });

/** `/items/0/quantity` as `items[0].quantity`. */
function jsonPath(pointer: string, member?: string): string {
  const steps = pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (member !== undefined) steps.push(member);
  return steps.reduce(
    (path, step) => (/^\d+$/.test(step) ? `${path}[${step}]` : path === '' ? step : `${path}.${step}`),
    '',
  );
}

function explain(errors: SchemaError[], schema: TSchema): FieldError[] {
  const found = new Map<string, FieldError>();
  const add = (path: string, message: string) => {
    if (!found.has(path)) found.set(path, { path, message });
  };
  for (const { keyword, instancePath, schemaPath, params, message } of errors) {
    switch (keyword) {
      case 'required':
        for (const member of params['requiredProperties'] as string[])
          add(jsonPath(instancePath, member), 'is required');
        break;
      case 'additionalProperties':
        for (const member of params['additionalProperties'] as string[])
          add(jsonPath(instancePath, member), 'is not known here');
        break;
      case 'boolean': // comes once more as additionalProperties, with the name
        break;
      case 'const':
        if (!schemaPath.includes('/anyOf/'))
          add(jsonPath(instancePath), `must be ${JSON.stringify(params['allowedValue'])}`);
        break;
      case 'enum':
        add(jsonPath(instancePath), `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}`);
        break;
      case 'type':
        add(jsonPath(instancePath), `must be ${[params['type']].flat().join(' or ')}`);
        break;
      case 'pattern':
        add(jsonPath(instancePath), patternMessage(schemaAt(schema, schemaPath)));
        break;
      default:
        add(jsonPath(instancePath), message);
    }
  }
  return [...found.values()];
}

/** A schema with a pattern says in `errorText` what the pattern means, since a reader of an error reads no expressions. */
const patternMessage = (schema: unknown): string =>
  `must be ${(schema as { errorText?: string } | undefined)?.errorText ?? 'of another form'}`;

function schemaAt(schema: TSchema, path: string): unknown {
  return path
    .split('/')
    .slice(1)
    .reduce<unknown>(
      (at, step) => (at as Record<string, unknown> | undefined)?.[step.replaceAll('~1', '/')],
      schema,
    );
}

/** NUL, and surrogates that stand alone. */
const UNSTORABLE = /\0|\p{Surrogate}/u;

/** Texts that no database takes: they would come back as failures of our own. */
function unprintable(value: unknown, path = ''): FieldError[] {
  if (typeof value === 'string')
    return UNSTORABLE.test(value) ? [{ path, message: 'must not contain NUL or half a surrogate pair' }] : [];
  if (Array.isArray(value)) return value.flatMap((each, index) => unprintable(each, `${path}[${index}]`));
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([name, each]) =>
      unprintable(each, path === '' ? name : `${path}.${name}`),
    );
  return [];
}
