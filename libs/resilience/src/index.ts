export * from './backoff';
export * from './bulkhead';
export * from './clock';
export * from './deadline';
export * from './fault';
export * from './poller';
export * from './uuid';
