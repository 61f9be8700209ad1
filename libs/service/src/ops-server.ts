import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { scrape } from '@headroom/telemetry';
import type { HealthReport } from './health';

/**
 * The operations port, never public: `/livez` (shallow: this process can still do its work), `/readyz` (it wants
 * traffic), `/health` (deep, with details), `/metrics` (Prometheus).
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
        default:
          return json(404, { status: 'not found', paths: ['/livez', '/readyz', '/health', '/metrics'] });
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
