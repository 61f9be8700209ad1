/** A JSON Schema as it stands in the document. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  format?: string;
  pattern?: string;
  example?: unknown;
  examples?: unknown[];
}

interface Content {
  schema?: Schema;
  example?: unknown;
  examples?: Record<string, { value?: unknown }>;
}

export interface Parameter {
  $ref?: string;
  name: string;
  in: 'path' | 'query' | 'header' | 'cookie';
  required?: boolean;
  schema?: Schema;
}

/** The parts of an OpenAPI 3.1 document that the tests read. */
export interface OpenApiDocument {
  openapi: string;
  paths: Record<string, Record<string, OperationObject>>;
  components?: { schemas?: Record<string, Schema> };
}

interface HeaderObject {
  $ref?: string;
  schema?: Schema;
}

export interface ResponseObject {
  description?: string;
  headers?: Record<string, HeaderObject>;
  content?: Record<string, Content>;
}

interface OperationObject {
  operationId?: string;
  summary?: string;
  security?: unknown[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, Content> };
  responses: Record<string, ResponseObject>;
}

export interface Operation extends OperationObject {
  method: string;
  path: string;
}

/** All operations, in the order of the document. */
export function operationsOf(document: OpenApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    ['get', 'head', 'put', 'post', 'patch', 'delete']
      .filter((method) => method in item)
      .map((method) => ({ ...item[method]!, method: method.toUpperCase(), path })),
  );
}

/** What stands behind a reference within the document; anything else is itself. */
export function resolve<T extends { $ref?: string }>(document: OpenApiDocument, part: T): T {
  if (part.$ref === undefined) return part;
  let found: unknown = document;
  for (const step of part.$ref.replace(/^#\//, '').split('/'))
    found = (found as Record<string, unknown>)[step.replaceAll('~1', '/').replaceAll('~0', '~')];
  return resolve(document, found as T);
}
