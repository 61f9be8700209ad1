import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { API_TYPES, apiDocument, generateApiTypes } from '@headroom/e2e';

/** Other programs do the work, and start slowly on a busy machine. */
const PATIENCE_MS = 120_000;
const root = join(__dirname, '..', '..', '..');
let document: string;

beforeAll(async () => {
  document = await apiDocument();
}, PATIENCE_MS);

test(
  'the OpenAPI document passes the recommended rules of redocly without a warning',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headroom-openapi-'));
    const file = join(directory, 'openapi.json');
    await writeFile(file, document);
    const linted = await promisify(execFile)(
      join(root, 'node_modules', '.bin', 'redocly'),
      ['lint', file, '--config', join(root, 'redocly.yaml'), '--format', 'json'],
      { env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' } },
    ).catch((error: { stdout?: string; stderr?: string }) => error);
    await rm(directory, { recursive: true });
    const { totals, problems } = JSON.parse(linted.stdout || '{}') as { totals: object; problems: unknown[] };
    expect([problems, linted.stderr]).toEqual([[], expect.stringContaining('valid')]);
    expect(totals).toEqual({ errors: 0, warnings: 0, ignored: 0 });
  },
  PATIENCE_MS,
);

test(
  'the types of the client are those of the document: npx tsx tools/e2e/src/write-api-types.ts',
  async () => {
    expect(await generateApiTypes(document)).toBe(await readFile(API_TYPES, 'utf8'));
  },
  PATIENCE_MS,
);
