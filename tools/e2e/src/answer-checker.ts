import Ajv2020 from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { resolve, type OpenApiDocument, type Operation, type Schema } from './openapi-document';

/** What is wrong with a value: nothing when its schema allows it. */
export type SchemaValidator = (schema: Schema, value: unknown) => string[];

/** Validates against schemas of the document, which may refer to its other parts. */
export function schemaValidator(document: OpenApiDocument): SchemaValidator {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(document as object, 'openapi');
  const compiled = new Map<Schema, ReturnType<typeof ajv.compile>>();
  return (schema, value) => {
    let validate = compiled.get(schema);
    if (!validate) {
      validate = ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object);
      compiled.set(schema, validate);
    }
    return validate(value)
      ? []
      : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`);
  };
}

/** An answer as far as the document speaks about it. */
export interface CheckedAnswer {
  status: number;
  headers: Headers;
  text: string;
}

/** Headers that an answer has under a condition which its operation and status do not tell. */
const CONDITIONAL = [/^(X-)?RateLimit/, /^Idempotent-Replayed$/, /^Cart-Token$/];

/**
 * Everything that is wrong with an answer by the document: its status, media type, body and headers, and for a problem that
 * it speaks of itself rightly. Nothing when all is right.
 */
export function answerChecker(
  document: OpenApiDocument,
): (operation: Operation, answer: CheckedAnswer) => string[] {
  const validate = schemaValidator(document);
  return ({ responses }, { status, headers, text }) => {
    const described = responses[String(status)];
    if (!described) return [`the status ${status} is not documented: ${text.slice(0, 300)}`];
    const wrong: string[] = [];

    for (const [name, reference] of Object.entries(described.headers ?? {})) {
      const value = headers.get(name);
      const conditional =
        CONDITIONAL.some((pattern) => pattern.test(name)) || (name === 'Retry-After' && status === 409);
      if (value === null) {
        if (!conditional) wrong.push(`the header ${name} is missing`);
        continue;
      }
      const { schema = {} } = resolve(document, reference);
      const typed = schema.type === 'integer' ? Number(value) : value;
      wrong.push(...validate(schema, typed).map((problem) => `the header ${name}${problem}`));
    }

    const types = Object.keys(described.content ?? {});
    const type = headers.get('content-type')?.split(';')[0]!.trim() ?? '';
    if (types.length === 0) {
      if (text !== '') wrong.push(`a body where none is documented: ${text.slice(0, 300)}`);
      return wrong;
    }
    const range = types.find(
      (each) => each === type || (each.endsWith('/*') && type.startsWith(each.slice(0, -1))),
    );
    if (range === undefined) return [...wrong, `the media type is ${type}, not ${types.join(' or ')}`];
    if (!/json$/.test(type)) return wrong;
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      return [...wrong, `no JSON: ${text.slice(0, 300)}`];
    }
    wrong.push(...validate(described.content![range]!.schema ?? {}, body));
    if (type === 'application/problem+json') {
      const problem = body as { status?: unknown; requestId?: unknown };
      if (problem.status !== status) wrong.push('the problem names another status');
      if (problem.requestId !== headers.get('x-request-id')) wrong.push('the problem names another request');
    }
    return wrong;
  };
}
