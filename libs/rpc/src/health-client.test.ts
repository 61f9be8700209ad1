import { silentLogger } from '@headroom/telemetry';
import { createHealthClient } from './health-client';
import { serveGrpc } from './server';

test('a server that serves is healthy, one that is gone is unavailable', async () => {
  const server = await serveGrpc({ host: '127.0.0.1', port: 0, services: [], logger: silentLogger });
  const health = createHealthClient({ address: `127.0.0.1:${server.port}` });
  await health.check();
  await server.close();
  await expect(health.check(300)).rejects.toMatchObject({ code: 'DEPENDENCY_UNAVAILABLE' });
  health.close();
});
