import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { suppressTracing, W3CTraceContextPropagator } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base';

const tracer = trace.getTracer('headroom');
/** True where spans leave the process. */
let exporting = false;

/**
 * Installs the tracer of this process. Spans are always made (log lines carry their ids, `traceparent` travels on); they
 * leave the process only where `OTEL_EXPORTER_OTLP_ENDPOINT` or `exporter` says so. Honours `OTEL_TRACES_SAMPLER_ARG`
 * (share of new traces that are recorded, default 1). `flush` hands over what is finished, `close` also stops.
 */
export async function startTracing(options: {
  service: string;
  otlpEndpoint?: string | undefined;
  sampleRatio?: number | undefined;
  exporter?: SpanExporter;
}): Promise<{ flush(): Promise<void>; close(): Promise<void> }> {
  const processors: SpanProcessor[] = [];
  let exporter = options.exporter;
  if (!exporter && options.otlpEndpoint) {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
    exporter = new OTLPTraceExporter({ url: `${options.otlpEndpoint.replace(/\/$/, '')}/v1/traces` });
  }
  if (exporter) processors.push(new BatchSpanProcessor(exporter, { scheduledDelayMillis: 500 }));
  exporting = exporter !== undefined;
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': options.service, 'service.namespace': 'headroom' }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.sampleRatio ?? 1) }),
    spanProcessors: processors,
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return { flush: () => provider.forceFlush(), close: () => provider.shutdown() };
}

const KINDS = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

/**
 * Runs `work` inside a span. Its parent is the `traceparent` given, else the active span. A thrown error marks the span
 * as failed and is thrown on.
 */
export async function inSpan<T>(
  name: string,
  options: { kind?: keyof typeof KINDS; attributes?: Attributes; traceparent?: string | undefined },
  work: (span: Span) => Promise<T>,
): Promise<T> {
  const parent = options.traceparent === undefined ? context.active() : contextOf(options.traceparent);
  const span = tracer.startSpan(
    name,
    { kind: KINDS[options.kind ?? 'internal'], attributes: options.attributes ?? {} },
    parent,
  );
  try {
    return await context.with(trace.setSpan(parent, span), () => work(span));
  } catch (error) {
    span.setStatus({
      code: SpanStatusCode.ERROR,
      message: error instanceof Error ? error.message : String(error),
    });
    throw error;
  } finally {
    span.end();
  }
}

/** The W3C `traceparent` of the active span, or undefined outside any span. */
export function currentTraceparent(): string | undefined {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier['traceparent'];
}

/**
 * True where the spans of a trace are kept by somebody: its `traceparent` says that it is recorded, and this process hands spans
 * over. For work on many traces at once, which would otherwise make a span for each and throw it away.
 */
export function isRecorded(traceparent: string | null | undefined): traceparent is string {
  return (
    exporting && typeof traceparent === 'string' && (Number.parseInt(traceparent.slice(-2), 16) & 1) === 1
  );
}

function contextOf(traceparent: string): Context {
  return propagation.extract(ROOT_CONTEXT, { traceparent });
}

/**
 * Runs `work` without spans of its own, for loops that look for work many times a second: their statements are no part of
 * any request. A span inside that names its parent by `traceparent` is made all the same.
 */
export function untraced<T>(work: () => Promise<T>): Promise<T> {
  return context.with(suppressTracing(ROOT_CONTEXT), work);
}
