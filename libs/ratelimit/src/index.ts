export * from './address-group';
export * from './algorithms';
export * from './headers';
export * from './limiter';
export * from './tiers';
