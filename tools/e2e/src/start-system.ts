import { startSystem, type RunningSystem, type SystemAddresses } from './running-system';

declare global {
  var headroomSystem: RunningSystem | undefined;
}

/** Jest's global set-up: one system for all files that only talk to it over HTTP. */
export default async function globalSetup(): Promise<void> {
  // The throttle would see all tests as one address.
  const system = await startSystem({
    env: { SIGN_IN_LIMITS: 'account=10/15min,address=100000/15min', LOG_LEVEL: 'warn', REPORT_SECONDS: '2' },
  });
  globalThis.headroomSystem = system;
  const { gateway, payment, admin, ports, dataDirectory } = system;
  process.env['E2E_SYSTEM'] = JSON.stringify({
    gateway,
    payment,
    admin,
    ports,
    dataDirectory,
  } satisfies SystemAddresses);
}
