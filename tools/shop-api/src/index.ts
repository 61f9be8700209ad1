export * from './account';
export * from './http';
export * from './progress';
export * from './system';
