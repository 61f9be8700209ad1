import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(__dirname, '..', '..', '..');
const bin = (name: string) => join(root, 'node_modules', '.bin', name);

/** Where the generated types stand. */
export const API_TYPES = join(__dirname, 'gen', 'api.ts');

/** The OpenAPI document of the gateway as JSON; nothing has to run for it. */
export const apiDocument = (): Promise<string> =>
  inDirectory(async (directory) => {
    const file = join(directory, 'openapi.json');
    await run(bin('tsx'), [join(root, 'apps/gateway/src/openapi/write.ts'), file]);
    return readFile(file, 'utf8');
  });

/**
 * The public API as TypeScript types, from its document: a client that names a path, parameter or member that is not there
 * does not compile. All problems have one type, whatever their status.
 */
export const generateApiTypes = (document: string): Promise<string> =>
  inDirectory(async (directory) => {
    const [documentFile, typesFile] = [join(directory, 'openapi.json'), join(directory, 'api.ts')];
    const api = JSON.parse(document, withoutSelections) as {
      paths: Record<string, Record<string, Responses>>;
    };
    for (const operation of Object.values(api.paths).flatMap((item) => Object.values(item)))
      operation.responses = withOneProblem(operation.responses);
    await writeFile(documentFile, JSON.stringify(api));
    await run(bin('openapi-typescript'), [documentFile, '--output', typesFile]);
    await run(bin('prettier'), ['--write', '--config', join(root, '.prettierrc.json'), typesFile]);
    return readFile(typesFile, 'utf8');
  });

/** What a query with `fields` leaves is for that query's reader to know: the type is that of whole items. */
function withoutSelections(_key: string, value: unknown): unknown {
  const forms = (value as { anyOf?: Array<{ $ref?: string }> } | null)?.anyOf;
  return forms?.length === 2 && forms[1]?.$ref === `${forms[0]?.$ref}Fields` ? forms[0] : value;
}

interface Responses {
  responses: Record<string, unknown>;
}

const withOneProblem = (responses: Record<string, unknown>) => ({
  ...Object.fromEntries(Object.entries(responses).filter(([status]) => status < '400')),
  default: {
    description: 'A problem',
    content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
  },
});

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'headroom-api-'));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}
