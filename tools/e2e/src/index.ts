export * from './running-system';
export * from './shop-client';

/** The system that the set-up of this run started. */
export function sharedSystem(): {
  gateway: string;
  payment: string;
  admin: { email: string; password: string };
  ports: Record<string, number>;
  dataDirectory: string;
} {
  return JSON.parse(process.env['E2E_SYSTEM'] ?? fail()) as ReturnType<typeof sharedSystem>;
}

function fail(): never {
  throw new Error('E2E_SYSTEM is not set: run these tests with jest -c tools/e2e/jest.config.js');
}
