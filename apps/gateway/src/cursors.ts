import { fault } from '@headroom/contracts';
import { createHash } from 'node:crypto';
import { Type, type Static, type TSchema } from 'typebox';
import { canonicalJson } from './idempotency';
import { createSigner } from './signing';

/** The query parameters that every list has. */
export const LIST_QUERY = {
  limit: Type.Integer({
    minimum: 1,
    maximum: 100,
    default: 20,
    description: 'Items per page',
    examples: [20],
  }),
  cursor: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 2_000,
      description: 'Where to go on: `page.nextCursor` of the page before, under the same filters and sort',
    }),
  ),
  page: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Instead of a cursor, the number of the page: 1 to 10, deeper only with a cursor',
      examples: [1],
    }),
  ),
  include: Type.Optional(
    Type.Literal('total', { description: '`total` counts the matches', examples: ['total'] }),
  ),
};

/** How far a list goes, beside its items. */
export const PageInfo = Type.Object({
  limit: Type.Integer({ examples: [20] }),
  nextCursor: Type.Unsafe<string | null>({
    type: ['string', 'null'],
    description: 'Null at the end of the list',
    examples: ['WyJhYmMiLCIwMTkzIl0.c2lnbmF0dXJl'],
  }),
  total: Type.Optional(
    Type.Integer({
      description: 'With `include=total`: how many match; exact up to 10,000',
      examples: [1000],
    }),
  ),
  totalIsEstimate: Type.Optional(Type.Boolean({ examples: [false] })),
});

/** The answer of a list of `item`. */
export const listOf = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), page: PageInfo });

/** What a handler needs to know about the page that was asked for. */
export interface PageRequest {
  limit: number;
  /** The position behind which the page starts; empty: from the start. */
  after: string;
  /** 1 to 10 instead of a position; 0: none. */
  page: number;
  includeTotal: boolean;
  /** The `page` member of the answer; `next` is a position, empty at the end. */
  info(next: string, total?: { total?: bigint | undefined; isEstimate?: boolean | undefined }): PageInfo;
}

type PageInfo = Static<typeof PageInfo>;

export interface ListQuery {
  limit: number;
  cursor?: string;
  page?: number;
  include?: 'total';
  [filter: string]: unknown;
}

export interface Cursors {
  /**
   * Reads the page parameters of a list. `scope` says what else tells this list from others (its path, its owner); the
   * filters and the sort are taken from the query itself. Throws CURSOR_INVALID for a cursor of another list or of nobody,
   * PAGE_TOO_DEEP beyond page 10, VALIDATION_FAILED for page and cursor together.
   */
  read(query: ListQuery, scope: readonly string[]): PageRequest;
}

const DEEPEST_PAGE = 10;

/** Cursors hold a position and a digest of the list it belongs to, signed: they cannot be guessed, changed or carried over. */
export function createCursors(secret: string): Cursors {
  const signer = createSigner(secret, 'cursor');
  return {
    read({ limit, cursor, page, include, fields: _fields, ...filters }, scope) {
      const list = createHash('sha256')
        .update(canonicalJson([scope, filters]))
        .digest('base64url')
        .slice(0, 16);
      if (cursor !== undefined && page !== undefined)
        throw fault('VALIDATION_FAILED', {
          detail: 'page and cursor exclude each other',
          errors: [{ path: 'page', message: 'cannot be combined with cursor' }],
        });
      if (page !== undefined && page > DEEPEST_PAGE)
        throw fault('PAGE_TOO_DEEP', {
          detail: `pages end at ${DEEPEST_PAGE}: go on with cursor, whose value is page.nextCursor of the page before`,
        });
      let after = '';
      if (cursor !== undefined) {
        const opened = signer.open(cursor);
        if (opened === undefined) throw fault('CURSOR_INVALID');
        const [ofList = '', position = ''] = JSON.parse(opened) as string[];
        if (ofList !== list)
          throw fault('CURSOR_INVALID', { detail: 'the cursor belongs to another list, filter or sort' });
        after = position;
      }
      return {
        limit,
        after,
        page: page ?? 0,
        includeTotal: include === 'total',
        info: (next, { total, isEstimate } = {}) => ({
          limit,
          nextCursor: next === '' ? null : signer.seal(JSON.stringify([list, next])),
          ...(include === 'total' && total !== undefined
            ? { total: Number(total), totalIsEstimate: isEstimate ?? false }
            : {}),
        }),
      };
    },
  };
}

/**
 * Serves a numbered page of a list that only knows positions, by walking to it: at most ten short steps, and one where a
 * cursor or the first page was asked for. `first` is the answer of the first step, `reply` undefined beyond the end.
 */
export async function walkTo<R>(
  request: Pick<PageRequest, 'page' | 'after'>,
  step: (after: string) => Promise<R>,
  nextOf: (reply: R) => string,
): Promise<{ first: R; reply: R | undefined }> {
  const first = await step(request.after);
  let reply = first;
  for (let at = 1; at < request.page; at += 1) {
    const next = nextOf(reply);
    if (next === '') return { first, reply: undefined };
    reply = await step(next);
  }
  return { first, reply };
}

/** What a service answers about a list that only knows positions. */
interface Counted {
  total?: bigint | undefined;
  totalIsEstimate?: boolean | undefined;
}

/** The whole answer of a list that is served by `walkTo`. */
export async function walkedList<R extends Counted, T>(
  request: PageRequest,
  step: (after: string) => Promise<R>,
  nextOf: (reply: R) => string,
  itemsOf: (reply: R) => T[],
): Promise<{ items: T[]; page: PageInfo }> {
  const { first, reply } = await walkTo(request, step, nextOf);
  return {
    items: reply ? itemsOf(reply) : [],
    page: request.info(reply ? nextOf(reply) : '', { total: first.total, isEstimate: first.totalIsEstimate }),
  };
}

/** The position behind a page that ends with its last item: its id, empty where nothing follows. */
export const afterLast = (items: ReadonlyArray<{ id: string }>, more: boolean): string =>
  more ? (items.at(-1)?.id ?? '') : '';
