import { afterLast, LIST_QUERY, listOf, walkedList } from '../cursors';
import { endpoint } from '../endpoint';
import { askOwner, mergedPage } from '../merged';
import { DeadLetter, deadLetterJson } from '../schemas';
import { FIELDS_QUERY } from '../sparse-fields';
import { pathId } from './accounts';

/** Events and jobs that were given up, of all services. */
export const deadLetterEndpoints = [
  endpoint({
    method: 'GET',
    path: '/v1/admin/dead-letters',
    tag: 'Admin: operations',
    summary: 'Events and jobs that were given up, newest first',
    description: 'What has the same key waits behind the event; anything else goes on.',
    access: 'admin',
    cache: 'none',
    query: { ...LIST_QUERY, ...FIELDS_QUERY },
    reply: { status: 200, schema: listOf(DeadLetter), description: 'Dead letters' },
    async handle({ deps, query }) {
      const list = deps.cursors.read(query, ['/v1/admin/dead-letters']);
      const { limit, includeTotal } = list;
      return walkedList(
        list,
        (afterId) =>
          mergedPage(deps, limit, async (service) => {
            const { deadLetters, ...rest } = await service.listDeadLetters({ limit, afterId, includeTotal });
            return { items: deadLetters, ...rest };
          }),
        ({ items, more }) => afterLast(items, more),
        ({ items }) => items.map(deadLetterJson),
      );
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/dead-letters/:id/requeue',
    tag: 'Admin: operations',
    summary: 'Try a dead letter again, with all that waits behind it',
    access: 'admin',
    cache: 'none',
    unseen: true,
    reply: { status: 202, description: 'It will be tried again' },
    async handle({ deps, params }) {
      const deadLetterId = pathId(params.id);
      await askOwner(deps, (service) => service.requeueDeadLetter({ deadLetterId }));
    },
  }),

  endpoint({
    method: 'DELETE',
    path: '/v1/admin/dead-letters/:id',
    tag: 'Admin: operations',
    summary: 'Drop a dead letter for good',
    description: 'What waits behind it goes on.',
    access: 'admin',
    cache: 'none',
    unseen: true,
    reply: { status: 204, description: 'It is gone' },
    async handle({ deps, params }) {
      const deadLetterId = pathId(params.id);
      await askOwner(deps, (service) => service.discardDeadLetter({ deadLetterId }));
    },
  }),
];
