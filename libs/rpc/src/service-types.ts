import type { ServiceDefinition } from '@grpc/grpc-js';

/** The types of one method of a generated service definition. */
type RequestOf<M> = M extends { requestDeserialize: (bytes: Buffer) => infer Req } ? Req : never;
type ResponseOf<M> = M extends { responseDeserialize: (bytes: Buffer) => infer Res } ? Res : never;
type Streams<M> = M extends { responseStream: true } ? true : false;

export type AnyService = ServiceDefinition;

/** A handler per method: a promise of the reply, or an async iterable where the reply is a stream. */
export type Handlers<S, Call> = {
  [K in keyof S]: Streams<S[K]> extends true
    ? (request: RequestOf<S[K]>, call: Call) => AsyncIterable<ResponseOf<S[K]>>
    : (request: RequestOf<S[K]>, call: Call) => Promise<ResponseOf<S[K]>>;
};

/** A caller per method, of the same shape as the handlers. */
export type Callers<S, Options> = {
  [K in keyof S]: Streams<S[K]> extends true
    ? (request: RequestOf<S[K]>, options?: Options) => AsyncIterable<ResponseOf<S[K]>>
    : (request: RequestOf<S[K]>, options?: Options) => Promise<ResponseOf<S[K]>>;
};
