import { createServer } from 'node:net';
import { INTERNAL_PORTS, PORT_OPTIONS, type StartOptions } from './options';

/** Fails with the port and the option that moves it when a port that the system needs is taken. */
export async function checkPorts(ports: StartOptions['ports']): Promise<void> {
  const needed: Array<[port: number, what: keyof typeof PORT_OPTIONS]> = [
    [ports.gateway, 'gateway'],
    [ports.payment, 'payment'],
    [ports.postgres, 'postgres'],
    ...Array.from({ length: INTERNAL_PORTS }, (_, index): [number, 'internal'] => [
      ports.internal + index,
      'internal',
    ]),
  ];
  for (const [port, what] of needed) {
    if (await isFree(port)) continue;
    const names = {
      gateway: 'the gateway',
      payment: 'the payment sandbox',
      postgres: 'the embedded PostgreSQL',
      internal: 'calls between processes',
    };
    throw new Error(
      `port ${port}, needed for ${names[what]}, is taken by another program. Stop that one, or choose another port: npm start -- ${PORT_OPTIONS[what]} ${port + 1000}`,
    );
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
