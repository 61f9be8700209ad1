export * from './association';
export * from './blend';
export * from './forward-decay';
