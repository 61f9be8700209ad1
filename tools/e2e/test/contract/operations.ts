import { recorded } from '../../src';
import type { OperationCase } from './world';

export const operations = {
  'GET /v1/admin/reports/sales': {
    right: ({ asAdmin }) =>
      recorded((api) =>
        api.GET('/v1/admin/reports/sales', {
          params: { query: { from: '2020-01-01', to: '2027-01-01', by: 'category' } },
          headers: asAdmin,
        }),
      ),
  },
  'POST /v1/admin/reports/sales/exports': {
    right: ({ asAdmin }) =>
      recorded((api) =>
        api.POST('/v1/admin/reports/sales/exports', {
          headers: asAdmin,
          body: { from: '2026-01-01', to: '2026-02-01', by: 'product' },
        }),
      ),
  },
  'GET /v1/admin/reports/sales/exports/{jobId}': {
    right: ({ asAdmin, exportId }) =>
      recorded((api) =>
        api.GET('/v1/admin/reports/sales/exports/{jobId}', {
          params: { path: { jobId: exportId } },
          headers: asAdmin,
          parseAs: 'text',
        }),
      ),
  },
  'GET /v1/admin/jobs': {
    right: ({ asAdmin }) => recorded((api) => api.GET('/v1/admin/jobs', { headers: asAdmin })),
  },
  'GET /v1/admin/jobs/{id}': {
    right: ({ asAdmin, jobId }) =>
      recorded((api) =>
        api.GET('/v1/admin/jobs/{id}', { params: { path: { id: jobId } }, headers: asAdmin }),
      ),
  },
  'GET /v1/admin/dead-letters': {
    right: ({ asAdmin }) => recorded((api) => api.GET('/v1/admin/dead-letters', { headers: asAdmin })),
  },
  'POST /v1/admin/dead-letters/{id}/requeue': {
    async right({ asAdmin, deadLetter }) {
      const id = await deadLetter();
      return recorded((api) =>
        api.POST('/v1/admin/dead-letters/{id}/requeue', { params: { path: { id } }, headers: asAdmin }),
      );
    },
  },
  'DELETE /v1/admin/dead-letters/{id}': {
    async right({ asAdmin, deadLetter }) {
      const id = await deadLetter();
      return recorded((api) =>
        api.DELETE('/v1/admin/dead-letters/{id}', { params: { path: { id } }, headers: asAdmin }),
      );
    },
  },
  'GET /health': { right: () => recorded((api) => api.GET('/health')) },
  'GET /.well-known/jwks.json': { right: () => recorded((api) => api.GET('/.well-known/jwks.json')) },
  'GET /openapi.json': { right: () => recorded((api) => api.GET('/openapi.json')) },
  'GET /docs': { right: () => recorded((api) => api.GET('/docs', { parseAs: 'text' })) },
} satisfies Record<string, OperationCase>;
