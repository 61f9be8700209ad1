import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { scrape } from '@headroom/telemetry';
import type { HealthReport } from './health';

/**
 * The operations port, never public: `/livez` (shallow: this process can still do its work), `/readyz` (it wants
 * traffic), `/health` (deep, with details), `/metrics` (Prometheus), and `POST /collected-memory`, which collects all garbage
 * first (the process stands still for some tens of milliseconds) and tells what is left, to look for leaks.
 */
export async function startOpsServer(options: {
  port: number;
  host: string;
  live: () => string | undefined;
  ready: () => string | undefined;
  health: () => Promise<HealthReport>;
}): Promise<{ server: Server; port: number }> {
  const server = createServer((req, res) => {
    const json = (status: number, body: unknown) => {
      res.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      res.end(JSON.stringify(body));
    };
    const shallow = (reason: string | undefined) =>
      reason === undefined ? json(200, { status: 'ok' }) : json(503, { status: 'not ok', reason });
    const answer = async () => {
      switch (new URL(req.url ?? '/', 'http://ops').pathname) {
        case '/livez':
          return shallow(options.live());
        case '/readyz':
          return shallow(options.ready());
        case '/health': {
          const report = await options.health();
          return json(report.status === 'unhealthy' ? 503 : 200, report);
        }
        case '/metrics': {
          const { contentType, body } = await scrape();
          res.writeHead(200, { 'content-type': contentType });
          return res.end(body);
        }
        case '/collected-memory':
          if (req.method !== 'POST') return json(405, { status: 'not allowed', method: 'POST' });
          return json(200, collectedMemory());
        default:
          return json(404, {
            status: 'not found',
            paths: ['/livez', '/readyz', '/health', '/metrics', '/collected-memory'],
          });
      }
    };
    answer().catch((error: unknown) => json(500, { status: 'error', reason: String(error) }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  server.unref();
  return { server, port: (server.address() as AddressInfo).port };
}

/** What is still in use after a full garbage collection. */
export interface CollectedMemory {
  heapBytes: number;
  /** Buffers and other memory outside the heap that objects of it hold. */
  externalBytes: number;
  residentBytes: number;
  /** Sockets, servers, timers and files that are open. */
  handles: number;
}

function collectedMemory(): CollectedMemory {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect(); // what finalizers of the first have let go
  const { heapUsed, external, rss } = process.memoryUsage();
  return {
    heapBytes: heapUsed,
    externalBytes: external,
    residentBytes: rss,
    handles: process.getActiveResourcesInfo().length,
  };
}
