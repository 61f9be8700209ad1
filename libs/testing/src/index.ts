export * from './eventually';
export * from './manual-clock';
export * from './test-database';
