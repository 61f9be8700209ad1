export * from './event-problems';
export * from './eventually';
export * from './interrupted-database';
export * from './manual-clock';
export * from './next-step';
export * from './test-database';
export * from './foreign-keys';
export * from './s3-server';
