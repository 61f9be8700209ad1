import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { checkUnlimited, UsageError } from './system';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function gateway(headers: Record<string, string>): Promise<string> {
  const server = createServer((_req, res) => res.writeHead(429, headers).end('{}'));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it('refuses to measure a gateway that limits requests, and says how to start one that does not', async () => {
  const limited = await gateway({ 'RateLimit-Policy': '"default";q=600;w=60' });
  const refusal = await checkUnlimited(limited).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(UsageError);
  expect(refusal).toMatchObject({
    exitCode: 69,
    message: expect.stringContaining('RATE_LIMITS=off npm start'),
  });

  const free = await gateway({});
  await checkUnlimited(free);
});
