import type { catalogV1, orderV1, queryV1, userV1 } from '@headroom/contracts';
import type { Clock } from '@headroom/resilience';
import type { RpcClient } from '@headroom/rpc';
import type { HealthReport } from '@headroom/service';
import type { Logger } from '@headroom/telemetry';
import type { Sessions } from './auth';
import type { Consistency } from './consistency';
import type { Cursors } from './cursors';
import type { EventStreams } from './event-streams';

/** The calls of one service, without its connection. */
type Calls<S> = Omit<RpcClient<S>, 'connected' | 'close'>;

export type UserCalls = Calls<typeof userV1.UserServiceService>;
export type CatalogCalls = Calls<typeof catalogV1.CatalogServiceService>;
export type OrderCalls = Calls<typeof orderV1.OrderServiceService>;
export type QueryCalls = Calls<typeof queryV1.QueryServiceService>;

/** What `buildApp` needs from the outside. */
export interface AppOptions {
  user: UserCalls;
  catalog: CatalogCalls;
  order: OrderCalls;
  query: QueryCalls;
  sessions: Pick<Sessions, 'authenticate' | 'isActive'>;
  /** All health checks of this process, as the operations port shows them. */
  health: () => Promise<HealthReport>;
  logger: Logger;
  clock?: Clock;
  signingSecret: string;
  shopCurrency: string;
  /** Origins whose pages may read answers. */
  corsOrigins: readonly string[];
  /** Peers whose `X-Forwarded-For` is believed, as addresses or CIDRs. */
  trustedProxies: readonly string[];
}

/** What a handler works with. */
export interface Deps extends AppOptions {
  clock: Clock;
  cursors: Cursors;
  consistency: Consistency;
  streams: EventStreams;
}
