export * from './consumer';
export * from './event-log';
export * from './lag';
export * from './migrations';
export * from './open-event-log';
export * from './outbox';
export { discardParked, listParked, requeueParked, type ParkedEvent } from './parked';
export * from './postgres-log';
export * from './relay';
