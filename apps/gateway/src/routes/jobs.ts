import { afterLast, LIST_QUERY, listOf, walkedList } from '../cursors';
import { endpoint } from '../endpoint';
import { askOwner, mergedPage } from '../merged';
import { Job, jobJson } from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';
import { pathId } from './accounts';

/** Background work that somebody asked for, of all services. */
export const jobEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/admin/jobs',
    tag: 'Admin: operations',
    summary: 'Jobs, newest first',
    access: 'admin',
    cache: 'none',
    query: { ...LIST_QUERY, ...FIELDS_QUERY },
    reply: { status: 200, schema: listOf(Job), description: 'Jobs, without their errors' },
    async handle({ deps, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/jobs']);
      const { limit, includeTotal } = list;
      return walkedList(
        list,
        (afterId) =>
          mergedPage(deps, limit, async (service) => {
            const { jobs, ...rest } = await service.listJobs({ limit, afterId, includeTotal });
            return { items: jobs, ...rest };
          }),
        ({ items, more }) => afterLast(items, more),
        ({ items }) => items.map(jobJson),
      );
    },
  }),

  endpoint({
    method: 'GET',
    path: '/v1/admin/jobs/:id',
    tag: 'Admin: operations',
    summary: 'One job with its first errors',
    access: 'admin',
    cache: 'none',
    query: FIELDS_QUERY,
    reply: { status: 200, schema: Job, description: 'The job' },
    async handle({ deps, params }) {
      const jobId = pathId(params.id);
      return jobJson(await askOwner(deps, (service) => service.getJob({ jobId })));
    },
  }),
];
