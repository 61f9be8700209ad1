import { runService } from '@headroom/service';
import { createServer } from 'node:http';

/** A service that, with LEAK=1, keeps 4 KiB of every request for ever. */
const kept: unknown[] = [];

void runService('leaking', {}, async (_config, life) => {
  const leak = process.env['LEAK'];
  const server = createServer((req, res) => {
    if (leak === '1') kept.push(Array.from({ length: 512 }, (_, index) => ({ index, url: req.url })));
    res.end('ok');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.send!({ port: (server.address() as { port: number }).port });
  await life.role('http', () => ({
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  }));
});
