export { readRunning, type Running } from './running';
export { readSecrets } from './secrets';
export { DATABASES, databaseUrl, systemProcesses } from './system';
