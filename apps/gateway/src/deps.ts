import type {
  catalogImagesV1,
  catalogV1,
  guestCartsV1,
  operationsV1,
  orderV1,
  queryAdminV1,
  queryV1,
  recommendationV1,
  userAdminV1,
  userV1,
} from '@headroom/contracts';
import type { Clock } from '@headroom/resilience';
import type { RpcClient } from '@headroom/rpc';
import type { HealthReport } from '@headroom/service';
import type { Logger } from '@headroom/telemetry';
import type { Sessions } from './auth';
import type { Consistency } from './consistency';
import type { Cursors } from './cursors';
import type { EventStreams } from './event-streams';
import type { Limits } from './limits';
import type { Uploads } from './uploads';

/** The calls of one service, without its connection. */
type Calls<S> = Omit<RpcClient<S>, 'connected' | 'close'>;

export type UserCalls = Calls<typeof userV1.UserServiceService>;
export type CatalogCalls = Calls<typeof catalogV1.CatalogServiceService>;
export type OrderCalls = Calls<typeof orderV1.OrderServiceService>;
export type QueryCalls = Calls<typeof queryV1.QueryServiceService>;
export type OperationsCalls = Calls<typeof operationsV1.OperationsServiceService>;
export type UploadCalls = Calls<typeof operationsV1.UploadServiceService>;

/** What `buildApp` needs from the outside. */
export interface AppOptions {
  user: UserCalls;
  catalog: CatalogCalls;
  order: OrderCalls;
  query: QueryCalls;
  passwordResets: Calls<typeof userAdminV1.PasswordResetServiceService>;
  userAdmin: Calls<typeof userAdminV1.UserAdminServiceService>;
  images: Calls<typeof catalogImagesV1.ImageServiceService>;
  guestCarts: Calls<typeof guestCartsV1.GuestCartServiceService>;
  adminQuery: Calls<typeof queryAdminV1.AdminQueryServiceService>;
  recommendation: Calls<typeof recommendationV1.RecommendationServiceService>;
  /** Of every service that works in the background: their jobs and dead letters are shown as one list. */
  operations: Readonly<Record<string, OperationsCalls>>;
  /** Where files go. */
  uploads: { catalog: UploadCalls; order: UploadCalls };
  sessions: Pick<Sessions, 'authenticate' | 'isActive'>;
  /** Undefined: nobody is limited. */
  limits: Limits | undefined;
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
  incoming: Uploads;
}
