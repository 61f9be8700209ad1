export * from './access-token';
export * from './call-context';
export * from './client';
export * from './health-client';
export * from './server';
