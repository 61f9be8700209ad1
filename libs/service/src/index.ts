export * from './config';
export * from './health';
export * from './run-service';
