export * from './free-port';
export * from './server';
export * from './temporary-directory';
