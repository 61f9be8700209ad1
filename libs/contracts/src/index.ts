export * from './events';
export * from './fault-codes';
export * from './order-json';
export * from './problem';
export * from './gen/headroom/common/v1/common';
export * as userV1 from './gen/headroom/user/v1/user';
export * as catalogV1 from './gen/headroom/catalog/v1/catalog';
export * as orderV1 from './gen/headroom/order/v1/order';
export * as queryV1 from './gen/headroom/query/v1/query';
