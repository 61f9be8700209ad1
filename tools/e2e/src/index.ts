import type { SystemAddresses } from './running-system';

export * from './answer-checker';
export * from './api-types';
export * from './event-stream';
export type { components, paths } from './gen/api';
export * from './jobs';
export * from './odd-requests';
export * from './openapi-document';
export * from './parallel';
export * from './payment-records';
export * from './pictures';
export * from './poison';
export * from './recorded-request';
export * from './running-system';
export * from './shop-client';
export * from './span-receiver';
export * from './system-databases';
export * from './system-processes';

/** The system that the set-up of this run started. */
export function sharedSystem(): SystemAddresses {
  return JSON.parse(process.env['E2E_SYSTEM'] ?? fail()) as SystemAddresses;
}

function fail(): never {
  throw new Error('E2E_SYSTEM is not set: run these tests with jest -c tools/e2e/jest.config.js');
}
