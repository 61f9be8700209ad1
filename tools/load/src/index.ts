export * from './open-loop';
export * from './shopping';
