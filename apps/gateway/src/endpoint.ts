import { FAULT_CODES, type FaultCode } from '@headroom/contracts';
import type { FaultKind } from '@headroom/resilience';
import type { Principal } from '@headroom/rpc';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Readable } from 'node:stream';
import { Type, type Static, type TObject, type TProperties, type TSchema } from 'typebox';
import type { Deps } from './deps';
import type { CachePolicy } from './http-cache';

/**
 * Who may call. `open`: anyone, the Authorization header is not looked at; `optional`: anyone, but a token that is sent
 * must be valid; `user`: who is signed in; `admin`: the role admin.
 */
export type Access = 'open' | 'optional' | 'user' | 'admin';

type Names<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | Names<Rest>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never;

/** A body that is no JSON: passed on as it comes in, never held whole. */
export interface RawBody {
  /** Lower case, without parameters. */
  mediaTypes: readonly string[];
  limitBytes: number;
  /** What it holds, for the document. */
  description: string;
  /** By media type, where there is something to show. */
  examples?: Readonly<Record<string, string>>;
}

/** Declares a body that the handler reads as a stream; size and media type are checked before. */
export const raw = (spec: RawBody): { raw: RawBody } => ({ raw: spec });

/** What a handler is given: everything has passed the checks that the endpoint declares. */
export interface Call<Path extends string, A extends Access, Query, Body> {
  deps: Deps;
  /** As they stand in the path: their form is the handler's to check, since a malformed id is a 404. */
  params: Record<Names<Path>, string>;
  query: Query;
  body: Body;
  principal: A extends 'user' | 'admin' ? Principal : Principal | undefined;
  request: FastifyRequest;
  reply: FastifyReply;
}

type Given<B> = B extends { raw: RawBody } ? Readable : B extends TSchema ? Static<B> : never;

interface Description<Path extends string, A extends Access, R extends TSchema> {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With parameters as `:name`. */
  path: Path;
  tag: string;
  /** One line for the document. */
  summary: string;
  /** More, where a caller needs it. */
  description?: string;
  access: A;
  cache: CachePolicy;
  /** What success looks like; without a schema there is no body. */
  reply: {
    status: number;
    schema?: R;
    description: string;
    /** Other statuses of success, with their meaning. */
    also?: Record<number, string>;
    /** Default application/json. */
    contentType?: string;
    /** Names of headers beside those that every answer has, with their meaning. */
    headers?: Record<string, string>;
  };
  /** Codes that this endpoint can answer beside those that follow from its form. */
  faults?: readonly FaultCode[];
  /** Where a code has another kind here than in the table of codes. */
  faultKinds?: Partial<Record<FaultCode, FaultKind>>;
  /** The request must carry an Idempotency-Key. */
  idempotent?: true;
  /** Whether `If-Match` is looked at, and must be there. */
  ifMatch?: 'optional' | 'required';
  /** A read that takes a Consistency-Token and waits for what it names. */
  consistent?: true;
  /** A write that no view shows: its answer has no Consistency-Token. */
  unseen?: true;
  /** It takes and gives a Cart-Token. */
  cartToken?: true;
  /** The answer is a stream that stays open. */
  streams?: true;
  /** Does not count towards the caller's limit of requests. */
  unlimited?: true;
}

/** One route with everything that is true of it: the checks, the document and the handler come from here alone. */
export interface Endpoint extends Description<string, Access, TSchema> {
  query: TObject;
  /** A JSON body. */
  body?: TObject;
  /** Instead of a JSON body. */
  raw?: RawBody;
  handle(call: Call<string, Access, never, never>): Promise<unknown>;
}

/** Declares a route; the types of query, body and answer follow from the schemas. */
export function endpoint<
  const Path extends string,
  const A extends Access,
  Q extends TProperties = Record<never, never>,
  B extends TObject | { raw: RawBody } = TObject<Record<never, never>>,
  R extends TSchema = TSchema,
>(
  spec: Description<Path, A, R> & {
    query?: Q;
    body?: B;
    handle(
      call: Call<Path, A, Static<TObject<Q>>, Given<B>>,
    ): Promise<Static<R> | Buffer | Readable | string | void>;
  },
): Endpoint {
  const { query, body, ...rest } = spec;
  return {
    ...rest,
    ...(body && ('raw' in body ? body : { body })),
    query: Type.Object(query ?? {}, { additionalProperties: false }),
  } as unknown as Endpoint;
}

/** Every code that an endpoint can answer: those of its form and its own, in the order of the table of codes. */
export function faultsOf(spec: Endpoint): FaultCode[] {
  const codes = new Set<FaultCode>(['INTERNAL', 'VALIDATION_FAILED', ...(spec.faults ?? [])]);
  const add = (...more: FaultCode[]) => more.forEach((code) => codes.add(code));
  const query = spec.query.properties;
  if (spec.method !== 'GET') add('BODY_TOO_LARGE', 'MEDIA_TYPE_UNSUPPORTED', 'BODY_MALFORMED');
  if (!spec.unlimited) add('RATE_LIMITED');
  if (spec.access !== 'open') add('UNAUTHENTICATED', 'DEPENDENCY_UNAVAILABLE');
  if (spec.access === 'admin') add('FORBIDDEN');
  if (spec.path.includes(':')) add('NOT_FOUND');
  if ('cursor' in query) add('CURSOR_INVALID', 'PAGE_TOO_DEEP');
  if (spec.consistent) add('CONSISTENCY_TOKEN_INVALID', 'CONSISTENCY_TIMEOUT');
  if (spec.idempotent) add('IDEMPOTENCY_KEY_REQUIRED', 'IDEMPOTENCY_KEY_INVALID', 'IDEMPOTENCY_IN_FLIGHT');
  if (spec.idempotent && spec.body) add('IDEMPOTENCY_KEY_REUSED'); // a key is its path's: without a body all is the same
  if (spec.ifMatch) add('VERSION_MISMATCH');
  if (spec.ifMatch === 'required') add('IF_MATCH_REQUIRED');
  if (codes.has('DEPENDENCY_UNAVAILABLE')) add('OVERLOADED');
  return (Object.keys(FAULT_CODES) as FaultCode[]).filter((code) => codes.has(code));
}

/** The schema of one item of an endpoint's answer: what `fields` selects from. */
export function itemSchema(spec: Endpoint): TSchema {
  const schema = spec.reply.schema as { properties?: Record<string, { items?: TSchema }> } | undefined;
  const isList = schema?.properties?.['page'] ?? schema?.properties?.['degraded'];
  return isList ? schema!.properties!['items']!.items! : (schema as TSchema);
}
