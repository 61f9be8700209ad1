import type { operationsV1 } from '@headroom/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Deps } from '../deps';
import { endpoint, raw } from '../endpoint';
import { Job, jobJson } from '../schemas';
import type { Upload } from '../uploads';
import { pathId } from './accounts';
import { tellPositions } from './catalog';

const MIB = 1024 * 1024;

/** How a route answers that queues a job. */
export const jobReply = {
  status: 202,
  schema: Job,
  description: 'The work is queued',
  headers: { Location: 'The job' },
};
const long =
  'The body is read as it comes and may take its time, though not longer than the access token lives; an upload that is cut off leaves no job.';

/** Files that come in: pictures, products, sales history. */
export const importEndpoints = [
  endpoint({
    method: 'PUT',
    path: '/v1/admin/products/:id/image',
    tag: 'Admin: catalog',
    summary: "Set a product's picture",
    description:
      'The content decides what it is. Smaller sizes are made in the background; `imageUrl` then names a file that never changes.',
    access: 'admin',
    cache: 'none',
    body: raw({
      mediaTypes: ['image/jpeg', 'image/png', 'image/webp'],
      limitBytes: 10 * MIB,
      description: 'The file, up to 10 MiB',
    }),
    reply: jobReply,
    faults: ['IMAGE_UNSUPPORTED', 'PRODUCT_ARCHIVED'],
    async handle({ deps, params, body, request, reply }) {
      const subjectId = pathId(params.id);
      return accept(deps, request, reply, {
        service: deps.uploads.catalog,
        kind: 'product-image',
        subjectId,
        limitBytes: 10 * MIB,
        body,
      });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/imports',
    tag: 'Admin: catalog',
    summary: 'Import products',
    description: `Members and columns \`sku,name,description,category,priceMinor,currency,onHand,imageUrl\`; \`sku\`, \`name\` and \`priceMinor\` are required, others may be left out. A known SKU is changed, \`onHand\` apart; the same file again changes nothing. A bad line is reported by the job and does not stop the rest; a line may have 128 KiB. What a line leaves out stays as it is, or gets the default of a new product; in CSV a cell with nothing in it is left out, \`""\` is an empty text. After 1,000,000 lines the job ends \`failed\` and what stood before stays. ${long}`,
    access: 'admin',
    cache: 'none',
    body: raw({
      mediaTypes: ['application/x-ndjson', 'text/csv'],
      limitBytes: 1024 * MIB,
      description: 'Up to 1 GiB and 1,000,000 products',
      examples: {
        'application/x-ndjson': '{"sku":"MUG-BLUE","name":"Blue mug","priceMinor":1999,"onHand":45}\n',
        'text/csv': 'sku,name,priceMinor,onHand\nMUG-BLUE,Blue mug,1999,45\n',
      },
    }),
    reply: jobReply,
    async handle({ deps, body, request, reply }) {
      return accept(deps, request, reply, {
        service: deps.uploads.catalog,
        kind: 'product-import',
        subjectId: '',
        limitBytes: 1024 * MIB,
        body,
      });
    },
  }),

  endpoint({
    method: 'POST',
    path: '/v1/admin/order-imports',
    tag: 'Admin: orders',
    summary: 'Import sales history',
    description: `One order per line: \`{externalId,email?,placedAt,items:[{sku,quantity,unitPrice}]}\`. Each becomes a confirmed order with its own date and prices, of the account that has the e-mail now, else of none; it is not charged, takes no stock, sends no mail and cannot be cancelled. \`placedAt\` is a time of RFC 3339 from 1970 on. The same \`externalId\` again changes nothing, with other content it is rejected (\`EXTERNAL_ID_CONFLICT\`). A bad line is reported by the job and does not stop the rest; behind 1,000,000 orders the job ends \`failed\` and keeps those before. ${long}`,
    access: 'admin',
    cache: 'none',
    body: raw({
      mediaTypes: ['application/x-ndjson'],
      limitBytes: 1024 * MIB,
      description: 'Up to 1 GiB and 1,000,000 orders',
      examples: {
        'application/x-ndjson':
          '{"externalId":"536365","placedAt":"2010-12-01T08:26:00Z","items":[{"sku":"MUG-BLUE","quantity":6,"unitPrice":{"amountMinor":255,"currency":"EUR"}}]}\n',
      },
    }),
    reply: jobReply,
    async handle({ deps, body, request, reply }) {
      return accept(deps, request, reply, {
        service: deps.uploads.order,
        kind: 'order-import',
        subjectId: '',
        limitBytes: 1024 * MIB,
        body,
      });
    },
  }),
];

async function accept(
  deps: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  upload: Omit<Upload, 'contentType'>,
) {
  const contentType = request.headers['content-type']!.split(';')[0]!.trim().toLowerCase();
  return queued(deps, reply, await deps.incoming.accept({ ...upload, contentType }));
}

/** The answer about a job that has just been queued. */
export function queued(deps: Deps, reply: FastifyReply, { job, positions }: operationsV1.UploadAccepted) {
  reply.header('location', `/v1/admin/jobs/${job!.id}`);
  tellPositions(deps, reply, positions);
  return jobJson(job!);
}
