export * from './consumer';
export * from './event-log';
export * from './lag';
export * from './migrations';
export * from './open-event-log';
export * from './outbox';
export * from './pace';
export {
  countParked,
  discardParked,
  listParked,
  parkedDeadLetters,
  requeueParked,
  type ParkedEvent,
} from './parked';
export * from './postgres-log';
export * from './relay';
