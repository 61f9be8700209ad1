export * from './account';
export * from './background-job';
export * from './http';
export * from './progress';
export * from './system';
export * from './upload';
