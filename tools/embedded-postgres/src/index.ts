export * from './server';
export * from './temporary-directory';
