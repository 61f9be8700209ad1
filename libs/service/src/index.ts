export * from './config';
export * from './conventional-variables';
export * from './health';
export * from './run-service';
