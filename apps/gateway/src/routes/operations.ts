import { Type } from 'typebox';
import { endpoint, type Endpoint } from '../endpoint';
import { docsPage } from '../openapi/docs-page';
import { openApiDocument } from '../openapi/document';

const HealthStatus = Type.Unsafe<'healthy' | 'degraded' | 'unhealthy'>({
  type: 'string',
  enum: ['healthy', 'degraded', 'unhealthy'],
});
const Health = Type.Object(
  {
    status: HealthStatus,
    checks: Type.Record(Type.String(), Type.Object({ status: HealthStatus })),
  },
  { examples: [{ status: 'healthy', checks: { catalog: { status: 'healthy' } } }] },
);

const jwksExample = {
  kty: 'OKP',
  crv: 'Ed25519',
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
  kid: '2026',
};

/**
 * Health, keys and the document of all routes. The document describes these routes too, so it is made when first asked
 * for, from the list that `all` gives.
 */
export function operationEndpoints(all: () => readonly Endpoint[]): Endpoint[] {
  let document: string | undefined;
  const page = docsPage();
  return [
    endpoint({
      method: 'GET',
      path: '/health',
      tag: 'Operations',
      summary: 'Whether the system as a whole works',
      description:
        'Deep: it asks every service. Unhealthy: 503; degraded: something is away that the shop can do without.',
      access: 'open',
      unlimited: true,
      cache: 'none',
      reply: {
        status: 200,
        schema: Health,
        description: 'Healthy or degraded',
        also: { 503: 'Unhealthy, in the same form' },
      },
      async handle({ deps, reply }) {
        const { status, checks } = await deps.health();
        if (status === 'unhealthy') reply.code(503);
        const names = Object.keys(checks).sort();
        return {
          status,
          checks: Object.fromEntries(names.map((name) => [name, { status: checks[name]!.status }])),
        };
      },
    }),

    endpoint({
      method: 'GET',
      path: '/.well-known/jwks.json',
      tag: 'Operations',
      summary: 'The public keys of access tokens (RFC 7517)',
      access: 'open',
      unlimited: true,
      cache: 'static',
      reply: {
        status: 200,
        schema: Type.Object({
          keys: Type.Array(Type.Object({}, { additionalProperties: true, examples: [jwksExample] })),
        }),
        description: 'The key set',
      },
      faults: ['DEPENDENCY_UNAVAILABLE'],
      async handle({ deps }) {
        const { jwksJson } = await deps.user.getJwks({});
        return JSON.parse(jwksJson) as { keys: Array<Record<string, never>> };
      },
    }),

    endpoint({
      method: 'GET',
      path: '/openapi.json',
      tag: 'Operations',
      summary: 'This document (OpenAPI 3.1)',
      access: 'open',
      unlimited: true,
      cache: 'static',
      reply: {
        status: 200,
        schema: Type.Object({}, { additionalProperties: true, examples: [{ openapi: '3.1.0' }] }),
        description: 'The document',
      },
      async handle({ reply }) {
        reply.type('application/json');
        return (document ??= JSON.stringify(openApiDocument(all())));
      },
    }),

    endpoint({
      method: 'GET',
      path: '/docs',
      tag: 'Operations',
      summary: 'This document for people',
      access: 'open',
      cache: 'static',
      reply: {
        status: 200,
        schema: Type.String({ examples: ['<!doctype html>'] }),
        contentType: 'text/html; charset=utf-8',
        description: 'A page that shows the document',
      },
      async handle({ reply }) {
        reply.header('content-security-policy', page.contentSecurityPolicy);
        reply.type('text/html; charset=utf-8');
        return page.html;
      },
    }),
  ];
}
