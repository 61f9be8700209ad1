import { FAULT_CODES, type FaultCode } from '@headroom/contracts';
import { FAULT_KINDS } from '@headroom/resilience';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Compile } from 'typebox/compile';
import { startGateway } from '../../test/fakes';
import { faultsOf } from '../endpoint';
import { ENDPOINTS } from '../routes';
import { docsPage } from './docs-page';
import { exampleOf, openApiDocument, statusOf } from './document';
import { errorsPage } from './errors-page';

interface Operation {
  operationId: string;
  summary: string;
  responses: Record<string, { content?: Record<string, { examples?: Record<string, { value: unknown }> }> }>;
}
const document = openApiDocument(ENDPOINTS) as { paths: Record<string, Record<string, Operation>> };
/** Without what a formatter may change: the padding of table cells. */
const unpadded = (text: string) => text.replace(/ +/g, ' ').replace(/-{3,}/g, '---');
const errors = unpadded(readFileSync(join(__dirname, '../../../../docs/errors.md'), 'utf8'));

test('docs/errors.md has a row for every code, with its status and meaning, and no other', () => {
  const rows = [...errors.matchAll(/^\| `(\w+)` \| ([\d, ]+) \| ([^|]+) \|/gm)].map((match) =>
    match.slice(1),
  );
  expect(rows.map(([code]) => code)).toEqual(Object.keys(FAULT_CODES));
  for (const [code, statuses, meaning] of rows) {
    const { kind, title } = FAULT_CODES[code as FaultCode];
    expect([code, meaning?.trim()]).toEqual([code, title]);
    expect([code, statuses?.split(', ')]).toEqual([
      code,
      expect.arrayContaining([String(FAULT_KINDS[kind].http)]) as unknown,
    ]);
  }
});

test('docs/errors.md is what the code writes: npx tsx apps/gateway/src/openapi/write.ts', () => {
  expect(errors).toBe(unpadded(errorsPage(ENDPOINTS)));
});

test('every registered route is in the document, and the document has no other', async () => {
  const gateway = await startGateway();
  const printed = gateway.app.printRoutes({ commonPrefix: false });
  const documented = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => ({
      method: method.toUpperCase() as 'GET',
      url: path.replace(/\{(\w+)\}/g, ':$1'),
    })),
  );
  for (const route of documented) expect([route, gateway.app.hasRoute(route)]).toEqual([route, true]);
  await gateway.close();
  // HEAD goes with GET, and OPTIONS is there for preflights alone.
  const registered = [...printed.matchAll(/\(([A-Z, ]+)\)/g)]
    .flatMap((match) => match[1]!.split(', '))
    .filter((method) => method !== 'HEAD' && method !== 'OPTIONS');
  expect(registered.length).toBe(documented.length);
});

test.each(ENDPOINTS.map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const))(
  '%s: the document lists every code that the route can answer, under its status',
  (_, endpoint) => {
    const operation =
      document.paths[endpoint.path.replace(/:(\w+)/g, '{$1}')]![endpoint.method.toLowerCase()]!;
    for (const code of faultsOf(endpoint)) {
      const content = operation.responses[statusOf(endpoint, code)]?.content?.['application/problem+json'];
      expect([code, content?.examples?.[code]?.value]).toEqual([
        code,
        expect.objectContaining({ code, status: statusOf(endpoint, code) }) as unknown,
      ]);
    }
  },
);

test('operations have names of their own', () => {
  const names = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  expect(new Set(names).size).toBe(names.length);
});

test('every example is valid against its schema', () => {
  for (const { method, path, body, reply, query } of ENDPOINTS)
    for (const schema of [body, reply.schema, ...Object.values(query.properties)]) {
      if (!schema || schema === query.properties['cursor']) continue;
      const compiled = Compile(schema);
      const example = exampleOf(schema);
      expect([`${method} ${path}`, compiled.Check(example) ? [] : compiled.Errors(example)]).toEqual([
        `${method} ${path}`,
        [],
      ]);
    }
});

test('the page of the document loads nothing from elsewhere and its policy allows just its own parts', () => {
  const { html, contentSecurityPolicy } = docsPage();
  expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
  for (const tag of ['script', 'style']) {
    const [, source = ''] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(html)!;
    const digest = createHash('sha256').update(source).digest('base64');
    expect(contentSecurityPolicy).toContain(`${tag}-src 'sha256-${digest}'`);
    if (tag === 'script') expect(() => new Function(source)).not.toThrow();
  }
});
