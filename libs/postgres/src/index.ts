export * from './database';
export * from './list-total';
export * from './migrate';
export * from './sql';
