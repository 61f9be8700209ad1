export * from './event-log';
export * from './outbox';
